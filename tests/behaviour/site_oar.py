"""A real OAR as a site: the lab that root brought up (``.ci/with-oar``), used by an ordinary user, as OAR wants it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest
from sites import Ending, Site, ours

from jobpool.testing.labs.machine import processes_of
from jobpool.testing.labs.oar import OarLab

LAB = os.environ.get("JOBPOOL_OAR_LAB")
"""Where the lab is. Read now: tests run without the variables of jobpool's."""


def attached() -> OarLab:
    """Return the lab, or skip; on CI, fail."""
    if not LAB or os.geteuid() == 0:
        reason = "no real OAR here: .ci/with-oar brings one up, in a chroot with OAR's packages, for an ordinary user"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return OarLab.attach(LAB)


@contextmanager
def site() -> Iterator[Site]:
    lab = attached()
    yield OarSite(lab)
    lab.cancel_jobs()


class OarSite(Site):
    """A real OAR."""

    name = "oar"
    lists_partitions = False
    endings = ("cancelled", "killed")

    def __init__(self, lab: OarLab) -> None:
        self.lab = lab

    @property
    def keywords(self) -> dict[str, Any]:
        return {**super().keywords, "scheduler": "oar"}

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def jobs_in_queue(self, pool: str) -> list[str]:
        return sorted(self._jobs(pool, "AND state NOT IN ('Terminated', 'Error')"), key=int)

    def submits(self, pool: str) -> int:
        return len({job["array_id"] for job in self._jobs(pool).values()})

    def end_job(self, job: str, how: Ending) -> None:
        match how:
            case "cancelled":
                self.lab.run("oardel", job)
            case "killed":
                for process in ours(processes_of([f"OAR_JOB_ID={job}"])):
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGKILL)
            case _:
                raise NotImplementedError(how)

    def _jobs(self, pool: str, which: str = "") -> dict[str, Any]:
        done = self.lab.run("oarstat", "-J", "--sql", f"job_name LIKE 'jp-{pool}-%' {which}")
        return dict(json.loads(done.stdout)) if done.stdout.strip() else {}
