"""A jobs' Python that does not fit the client's is told at the start, and nothing runs on it."""

from __future__ import annotations

import pytest

from jobpool import JobPoolExecutor, PoolBroken
from jobpool.executor import executor
from jobpool.host.versions import versions


def test_another_python_ends_all_calls_with_both_versions_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "versions", lambda: {**versions(), "python": "3.99.1"})
    with JobPoolExecutor(max_workers=1, scheduler="local") as pool:
        futures = [pool.submit(abs, -1) for _ in range(3)]
        for future in futures:
            with pytest.raises(PoolBroken, match=r"python is 3\.99\.1 here and 3\.\d+\.\d+ in the jobs") as caught:
                future.result(timeout=60)
        assert "same environment" in str(caught.value)
        with pytest.raises(PoolBroken):
            pool.submit(abs, -1).result(timeout=60)


def test_a_package_of_another_version_is_warned_of_once_and_calls_run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(executor, "versions", lambda: {**versions(), "cloudpickle": "0.1"})
    with JobPoolExecutor(max_workers=2, workers_per_job=1, scheduler="local") as pool:
        assert sorted(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]
    assert capfd.readouterr().err.count("cloudpickle is 0.1 here") == 1
