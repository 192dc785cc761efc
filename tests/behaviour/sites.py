"""The places where the behaviour suite runs: this machine, fake clusters, a real SLURM. One face for the tests."""

from __future__ import annotations

import os
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import psutil

from jobpool import JobPoolExecutor
from jobpool.testing import FakeCluster, SlurmLab, wait_until
from jobpool.testing.fake.dialects import DIALECTS, FULL_SUITE, IMITATED, SLURM, Dialect
from jobpool.testing.labs.machine import processes_of

Ending = Literal["cancelled", "timeout", "preempted", "node failed", "killed"]

MARK = "JOBPOOL_SITE"
"""A variable that the processes of a pool inherit, those in jobs too, so that a test finds all of them."""

FAKES: Mapping[str, Dialect] = {
    "fake": SLURM,
    **{f"fake-{name}": dialect for name, dialect in {**DIALECTS, **IMITATED}.items()},
}
"""The dialects of the fake cluster, by the name of the site."""

WHOLE = ("local", f"fake-{FULL_SUITE}", "slurm")
"""The sites where the whole suite runs. Tests with the mark ``every_dialect`` run on the other fakes, too."""

PATIENCE = 60.0
"""Seconds for a thing that must come about: far more than it takes, since other work may fill this machine."""


class Site(ABC):
    """One place. Not a pool of it, but all that pools there need and tests ask."""

    name: str
    is_batch: bool = True
    has_partitions: bool = True
    lists_partitions: bool = True
    """Whether users may know which partitions there are: else the batch system refuses, and not the call."""
    endings: tuple[Ending, ...]
    """How :meth:`end_job` can end a job here."""

    @property
    def keywords(self) -> dict[str, Any]:
        """The keywords of a pool here."""
        return {"scheduler": "slurm", "addresses": ["127.0.0.1"]}

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """The variables by which a pool gets here."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Set these variables in this process."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def make(self, max_workers: int = 2, **keywords: Any) -> JobPoolExecutor:
        """Make a pool here that the test ends itself."""
        return JobPoolExecutor(max_workers, **{**self.keywords, **keywords})

    @contextmanager
    def pool(self, max_workers: int = 2, **keywords: Any) -> Iterator[JobPoolExecutor]:
        """Make a pool here, and see afterwards that nothing of it is left."""
        value = uuid.uuid4().hex
        mark, os.environ[MARK] = f"{MARK}={value}", value
        try:
            made = self.make(max_workers, **keywords)
        finally:
            del os.environ[MARK]
        with made as pool:
            yield pool
        assert self.jobs_in_queue(pool.name) == []
        # The queue may show a job's end a moment before its last process is gone.
        assert wait_until(lambda: not processes_of([mark]), PATIENCE), f"left: {processes_of([mark])}"

    @abstractmethod
    def jobs_in_queue(self, pool: str) -> list[str]:
        """Return the ids of a pool's jobs that have not ended."""

    @abstractmethod
    def submits(self, pool: str) -> int:
        """Return how many submit commands a pool has made that brought jobs."""

    @abstractmethod
    def end_job(self, job: str, how: Ending) -> None:
        """Bring a job to its end, in one of :attr:`endings`."""

    def wait_for_jobs(self, pool: str, count: int) -> list[str]:
        """Wait until a pool has so many jobs in the queue, and return their ids."""
        assert wait_until(lambda: len(self.jobs_in_queue(pool)) == count, PATIENCE), self.jobs_in_queue(pool)
        return self.jobs_in_queue(pool)


class LocalSite(Site):
    """Processes of this machine."""

    name = "local"
    is_batch = False
    endings = ("killed",)

    @property
    def keywords(self) -> dict[str, Any]:
        return {"scheduler": "local"}

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def jobs_in_queue(self, pool: str) -> list[str]:
        return [job for job, _ in agents(f"jp-{pool}-")]

    def submits(self, pool: str) -> int:
        return len({job.rpartition(".")[0] for job, _ in agents(f"jp-{pool}-")})

    def end_job(self, job: str, how: Ending) -> None:
        for id, process in agents(job):
            if id == job:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


class FakeSite(Site):
    """A fake cluster, whose commands are programs and whose jobs are processes."""

    endings = ("cancelled", "timeout", "preempted", "node failed", "killed")

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.name = next(name for name, dialect in FAKES.items() if dialect == cluster.dialect)

    @property
    def keywords(self) -> dict[str, Any]:
        return {**super().keywords, "scheduler": self.cluster.dialect.scheduler}

    @property
    def environment(self) -> Mapping[str, str]:
        return self.cluster.environment

    def jobs_in_queue(self, pool: str) -> list[str]:
        return [job for job in self.cluster.queue if self.cluster.name_of(job).startswith(f"jp-{pool}-")]

    def submits(self, pool: str) -> int:
        names = {self.cluster.name_of(job) for job in self.cluster.jobs}
        return sum(name.startswith(f"jp-{pool}-") for name in names)

    def end_job(self, job: str, how: Ending) -> None:
        match how:
            case "cancelled":
                self.cluster.end(job, "CANCELLED")
            case "timeout":
                self.cluster.end(job, "TIMEOUT")
            case "preempted":
                self.cluster.end(job, "PREEMPTED", requeue=True)
            case "node failed":
                self.cluster.end(job, "NODE_FAIL")
            case "killed":
                for process in self.cluster.processes_of(job):
                    with suppress(psutil.NoSuchProcess):  # it ended with the one before it
                        process.kill()


class SlurmSite(Site):
    """A real SLURM."""

    name = "slurm"
    endings = ("cancelled", "preempted", "node failed", "killed")

    def __init__(self, lab: SlurmLab) -> None:
        self.lab = lab

    @property
    def environment(self) -> Mapping[str, str]:
        return self.lab.environment

    def jobs_in_queue(self, pool: str) -> list[str]:
        return [job for job, name, _ in self._rows() if name.startswith(f"jp-{pool}-")]

    def submits(self, pool: str) -> int:
        rows = self._rows("--states=all")
        return len({job.partition("_")[0] for job, name, _ in rows if name.startswith(f"jp-{pool}-")})

    def end_job(self, job: str, how: Ending) -> None:
        match how:
            case "cancelled":
                self.lab.run("scancel", job)
            case "preempted":
                self.lab.run("scontrol", "requeue", job)
            case "node failed":
                node = next(node for id, _, node in self._rows() if id == job)
                self.lab.node_down(node)
                self.lab.node_up(node)
            case "killed":
                raw = self.lab.run("squeue", "--noheader", f"--jobs={job}", "--Format=JobID").stdout.strip()
                for process in ours(processes_of([f"SLURM_JOB_ID={raw}"])):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            case "timeout":
                raise NotImplementedError("takes a minute: walltimes are whole minutes")

    def _rows(self, *select: str) -> list[tuple[str, str, str]]:
        form = "--Format=JobArrayID:|,Name:|,BatchHost:|"
        lines = self.lab.run("squeue", "--noheader", "--array", form, *select).stdout.splitlines()
        return [tuple(line.strip("|").split("|")) for line in lines]  # type: ignore[misc]


def ours(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those that this pytest has started: another beside it has pools and jobs of the same names and ids."""
    started = set(_all_ours())
    return [process for process in processes if process in started]


def agents(prefix: str) -> list[tuple[str, psutil.Process]]:
    """Return our agents whose job's id begins so."""
    found = []
    for process in _all_ours():
        with suppress(psutil.Error, ValueError):
            words = process.cmdline()
            if "jobpool.agent" in words and (job := words[words.index("--job-id") + 1]).startswith(prefix):
                found.append((job, process))
    return found


def _all_ours() -> list[psutil.Process]:
    return processes_of([f"TESTS_OF={os.environ['TESTS_OF']}"])


def script_environment(site: Site, home: Path, mark: str) -> dict[str, str]:
    """Return the variables for a script that makes pools at a site, whose processes bear a mark (``NAME=value``)."""
    name, value = mark.split("=")
    batch = {"JOBPOOL_ADDRESSES": "127.0.0.1"} if site.is_batch else {}
    return {
        **os.environ,
        **site.environment,
        **batch,
        name: value,
        "HOME": str(home),
        "JOBPOOL_SCHEDULER": str(site.keywords["scheduler"]),
        "PYTHONUNBUFFERED": "1",
    }


PYTHON = sys.executable
