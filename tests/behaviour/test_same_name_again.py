"""A name that was used a minute ago: the batch system still shows the earlier run's jobs, not taken for ours."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gates import Gate, running
from sites import PATIENCE, FakeSite, Site

from jobpool.model.errors import ConfigError
from jobpool.testing import wait_until

PENDS = 4
"""Seconds that the second run's job waits: longer than the time until the first poll."""


def double(number: int) -> int:
    return 2 * number


@contextmanager
def slow_queue(site: Site) -> Iterator[dict[str, object]]:
    """Let jobs wait a while; yield the keywords of a pool there."""
    if not isinstance(site, FakeSite):
        yield {"job_extra": [f"--begin=now+{PENDS}"]}
        return
    site.cluster.start_delay = PENDS
    try:
        yield {}
    finally:
        site.cluster.start_delay = 0.0


@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)], ids=["array then single", "single then array"])
def test_a_name_used_again_at_once(batch_site: Site, first: int, second: int) -> None:
    with batch_site.pool(first, name="again") as pool:
        assert list(pool.map(double, range(4))) == [0, 2, 4, 6]
    before = batch_site.submits("again")
    with slow_queue(batch_site) as keywords, batch_site.pool(second, name="again", **keywords) as pool:
        futures = [pool.submit(double, number) for number in range(second)]
        assert [future.result(PATIENCE) for future in futures] == [2 * number for number in range(second)]
        assert "new jobs avoid" not in str(pool.status().notices)
        mine = {job.id for job in pool.status().jobs}
        for future in futures:
            assert future.job is not None
            assert future.job.id in mine
            assert future.job.log is not None
            assert future.job.id in future.job.log.read_text()
    assert batch_site.submits("again") - before == 1


def test_a_run_that_failed_says_nothing_of_the_mended_one(batch_site: Site) -> None:
    with batch_site.pool(1, name="mended", setup=["exit 7"]) as pool:
        future = pool.submit(double, 4)
        assert wait_until(lambda: re.search(r"\b7:0\b|exit code 7\b", str(pool.status().jobs)), PATIENCE)
        assert future.cancel()
    before = batch_site.submits("mended")
    with slow_queue(batch_site) as keywords, batch_site.pool(1, name="mended", **keywords) as pool:
        assert pool.submit(double, 4).result(PATIENCE) == 8
        assert "new jobs avoid" not in str(pool.status().notices)
    assert batch_site.submits("mended") - before == 1


def test_two_homes_may_have_pools_of_one_name_at_once(
    site: Site, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As two users' folders on one account, or two hosts whose homes are not shared.
    with site.pool(1, name="both") as pool:
        held = pool.submit(gate.hold(), 1)
        running(held)
        monkeypatch.setenv("JOBPOOL_HOME", str(tmp_path / "other"))
        other = site.make(1, name="both")
        try:
            assert other.submit(double, 2).result(PATIENCE) == 4
            assert held.job is not None
            (job,) = (job.id for job in other.status().jobs)
            assert job != held.job.id
        finally:
            other.shutdown()
        assert len(site.jobs_in_queue("both")) == 1
        gate.open()
        assert held.result(PATIENCE) == 1
    assert gate.arrived() == 1


def test_clearing_up_after_a_dead_server_spares_a_run_of_the_same_name(
    batch_site: Site, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with batch_site.pool(1, name="spared") as pool:
        held = pool.submit(gate.hold(), 1)
        running(held)
        assert held.job is not None
        monkeypatch.setenv("JOBPOOL_HOME", str(tmp_path / "other"))
        other = batch_site.make(1, name="spared")
        assert other.submit(double, 2).result(PATIENCE) == 4
        os.kill(other.status().pid, signal.SIGKILL)
        other.shutdown()  # its client cancels by name what is left of it
        assert wait_until(lambda: batch_site.jobs_in_queue("spared") == [held.job.id], PATIENCE)  # type: ignore[union-attr]
        gate.open()
        assert held.result(PATIENCE) == 1
    assert gate.arrived() == 1


def test_two_hosts_with_one_home_share_no_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.pool(1, name="hosts") as pool:
        assert pool.submit(double, 1).result(PATIENCE) == 2
        with monkeypatch.context() as patched:
            patched.setattr("os.uname", lambda: type("Other", (), {"nodename": "another-host"}))
            with pytest.raises(ConfigError, match="running already"):
                site.make(1, name="hosts")
