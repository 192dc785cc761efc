"""A real HTCondor pool, as a site of the behaviour suite."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from sites import Ending, Site, agents

from jobpool.testing.labs.htcondor import HTCondorLab, htcondor_missing

__all__ = ["HTCondorSite", "lab_or_skip", "site"]


class HTCondorSite(Site):
    """A real HTCondor pool."""

    name = "htcondor"
    has_partitions = False
    endings: tuple[Ending, ...] = ("cancelled", "preempted", "node failed", "killed")

    def __init__(self, lab: HTCondorLab) -> None:
        self.lab = lab

    @property
    def keywords(self) -> dict[str, Any]:
        return {**super().keywords, "scheduler": "htcondor"}

    @property
    def environment(self) -> Mapping[str, str]:
        return self.lab.environment

    def jobs_in_queue(self, pool: str) -> list[str]:
        return [job for job, name in self._rows() if name.startswith(f"jp-{pool}-")]

    def submits(self, pool: str) -> int:
        told = self.lab.run("condor_history", "-af", "ClusterId", "JobBatchName").stdout.splitlines()
        ended = {line.split()[0] for line in told if line.split()[1].startswith(f"jp-{pool}-")}
        return len(ended | {job.partition(".")[0] for job in self.jobs_in_queue(pool)})

    def end_job(self, job: str, how: Ending) -> None:
        match how:
            case "cancelled":
                self.lab.run("condor_rm", job)
            case "preempted":
                self.lab.run("condor_vacate_job", "-fast", job)
            case "node failed":
                [node] = self.lab.run("condor_q", job, "-af", "RemoteHost").stdout.split()
                self.lab.node_down(node.partition("@")[2])
                self.lab.node_up(node.partition("@")[2])
            case "killed":
                for id, process in agents(job):
                    if id == job:
                        with suppress(psutil.NoSuchProcess):
                            process.kill()
            case _:
                raise NotImplementedError(how)

    def _rows(self) -> list[tuple[str, str]]:
        lines = self.lab.run("condor_q", "-af", "ClusterId", "ProcId", "JobBatchName").stdout.splitlines()
        return [(f"{cluster}.{proc}", name) for cluster, proc, name in (line.split(" ", 2) for line in lines)]


def lab_or_skip(directory: Path, **options: Any) -> HTCondorLab:
    """Make a lab that is not up yet; skip where it cannot be had, and fail on CI."""
    reason = ""
    if missing := htcondor_missing():
        reason = f"no real HTCondor here, missing: {', '.join(missing)}"
    elif os.geteuid() == 0:
        reason = "HTCondor takes no jobs from root"
    if reason and os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)
    return HTCondorLab(directory, **options)


@contextmanager
def site() -> Iterator[HTCondorSite]:
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as place, lab_or_skip(Path(place) / "pool") as lab:
        yield HTCondorSite(lab)
