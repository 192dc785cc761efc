"""Python as a command, and pools whose Python runs in a container: Charliecloud, which needs no daemon and no root.

The image is an empty folder with this host's own files bound into it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from gates import Gate
from sites import Site

from jobpool import CallCrashed, ConfigError, JobPoolExecutor

HOSTS = [f"--bind={folder}" for folder in ("/usr", "/bin", "/lib", "/lib64", "/etc") if os.path.isdir(folder)]  # noqa: PTH112


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "image"
    own = ("/proc", "/sys", "/dev", "/etc", "/usr", "/bin", "/lib", "/lib64", "/tmp", "/home")
    for folder in (*own, sys.prefix, sys.base_prefix, *filter(None, sys.path)):
        (place / Path(folder).absolute().parts[1]).mkdir(parents=True, exist_ok=True)
    for file in ("passwd", "group"):
        (place / "etc" / file).touch()  # on which ch-run puts its own
    (place / "of-the-image").touch()
    monkeypatch.delenv("USER", raising=False)
    if reason := _missing(place):
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(f"NOT TESTED: a pool in a container; {reason}")
    return place


def _missing(image: Path) -> str:
    if not shutil.which("ch-run"):
        return "ch-run is missing; on Debian: apt-get install --no-install-recommends charliecloud-runtime"
    done = subprocess.run(
        ["ch-run", *HOSTS, str(image), "--", "true"],
        env={**os.environ, "USER": "me"},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"ch-run cannot work here: {done.stderr.strip()}" if done.returncode else ""


def in_container(site: Site, image: Path, workers: int = 2, **more: Any) -> AbstractContextManager[JobPoolExecutor]:
    """Make a pool in the container; nothing of it is left afterwards."""
    options = {"container": f"charliecloud://{image}", "container_options": HOSTS}
    return site.pool(workers, **{**options, "workers_per_job": workers, **more})


def seen() -> dict[str, Any]:
    return {
        "image": Path("/of-the-image").exists(),
        "mark": os.environ.get("X_MARK"),
        "setup": os.environ.get("X_SETUP"),
        "cpus": os.sched_getaffinity(0),
        "directory": os.getcwd(),  # noqa: PTH109
        "node": os.uname().nodename,
        "user": os.geteuid(),
    }


def test_calls_run_in_the_container_and_see_what_calls_see(
    site: Site, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outside = tmp_path / "setup-ran"
    more: dict[str, Any] = {
        "environment": {"X_MARK": "1"},
        "setup": [f"touch {outside}", "export X_SETUP=2", "ls /of-the-image"],
    }
    with in_container(site, image, **more) as pool:
        first, second = pool.submit(seen), pool.submit(seen)
        found = first.result(60)
        assert second.result(60)["image"]
        assert found["image"]
        assert (found["mark"], found["setup"], found["directory"]) == ("1", "2", str(tmp_path))
        assert found["user"] == os.geteuid()
        assert outside.exists()
        assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))
        assert pool.submit(print, "said in the container").result(60) is None
        assert "cannot access '/of-the-image'" in pool.logs(first.job.id if first.job else None)
        with pytest.raises(CallCrashed):
            pool.submit(os.abort).result(60)


def test_a_cancelled_job_ends_in_its_container_and_its_call_runs_again(
    batch_site: Site, image: Path, gate: Gate
) -> None:
    with in_container(batch_site, image, 1) as pool:
        future = pool.submit(gate.hold(), 5)
        gate.wait_for(1)
        (job,) = batch_site.wait_for_jobs(pool.name, 1)
        batch_site.end_job(job, "cancelled")
        gate.wait_for(2)
        gate.open()
        assert future.result(60) == 5


@pytest.mark.parametrize("command", [["env", "X_MARK=1", sys.executable], f"env X_MARK=1 {sys.executable}"])
def test_python_may_be_a_command(site: Site, command: list[str] | str) -> None:
    with JobPoolExecutor(1, **site.keywords, python=command) as pool:
        assert pool.submit(os.getenv, "X_MARK").result(60) == "1"


def test_a_container_that_nothing_here_can_run_is_refused_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="it needs apptainer or singularity") as caught:
        JobPoolExecutor(1, scheduler="local", container="/x/image.sif")
    assert "container='apptainer:///x/image.sif'" in str(caught.value)
