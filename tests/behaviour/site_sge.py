"""A real Grid Engine, as a site of the behaviour suite."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest
from sites import Ending, Site, agents

from jobpool.testing.labs.machine import missing_advice
from jobpool.testing.labs.sge import GridEngineLab, sge_missing

__all__ = ["GridEngineSite", "lab_or_skip", "site"]


class GridEngineSite(Site):
    """A real Grid Engine."""

    name = "sge"
    endings: tuple[Ending, ...] = ("cancelled", "killed")

    def __init__(self, lab: GridEngineLab) -> None:
        self.lab = lab

    @property
    def keywords(self) -> dict[str, Any]:
        return {**super().keywords, "scheduler": "sge"}

    @property
    def environment(self) -> Mapping[str, str]:
        return self.lab.environment

    def jobs_in_queue(self, pool: str) -> list[str]:
        jobs = {job: state for job, name, state in self.rows() if name.startswith(f"jp-{pool}-")}
        # One that is being deleted is listed for a moment after its script has ended.
        return [job for job, state in jobs.items() if "d" not in state or any(id == job for id, _ in agents(job))]

    def submits(self, pool: str) -> int:
        return len({job.partition(".")[0] for job in {*self._accounted(pool), *self.jobs_in_queue(pool)}})

    def _accounted(self, pool: str) -> set[str]:
        told = self.lab.run("qacct", "-j", f"jp-{pool}-*", check=False).stdout
        found = re.findall(r"^jobnumber +(\d+) *\ntaskid +(\S+)", told, re.MULTILINE)
        return {number if task == "undefined" else f"{number}.{task}" for number, task in found}

    def end_job(self, job: str, how: Ending) -> None:
        match how:
            case "cancelled":
                self.lab.run("qdel", job)
            case "killed":
                for id, process in agents(job):
                    if id == job:
                        with suppress(psutil.NoSuchProcess):
                            process.kill()
            case _:
                raise NotImplementedError(how)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the ids, names and states of all jobs."""
        found = []
        for row in ElementTree.fromstring(self.lab.run("qstat", "-xml", "-g", "d", "-u", "*").stdout).iter("job_list"):
            task = row.findtext("tasks")
            number = row.findtext("JB_job_number", "")
            found.append(
                (f"{number}.{task}" if task else number, row.findtext("JB_name", ""), row.findtext("state", ""))
            )
        return found


def lab_or_skip(directory: Path) -> GridEngineLab:
    """Make a lab that is not up yet; skip where it cannot be had, and fail on CI as root."""
    reason = ""
    if missing := sge_missing():
        reason = f"no real Grid Engine here, missing: {', '.join(missing)}; {missing_advice(missing)}"
    elif os.geteuid() != 0:
        reason = "NOT TESTED: a real Grid Engine; its lab needs root"
    if reason and os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)
    return GridEngineLab(directory)


@contextmanager
def site() -> Iterator[GridEngineSite]:
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as place, lab_or_skip(Path(place) / "sge") as lab:
        yield GridEngineSite(lab)
