"""A pool on a real SLURM where everything is killed and disturbed at random: each call ends, once, and nothing is left.

By default for a minute, always in the same order (which says little: what a kill hits is a matter of milliseconds). For
longer, or otherwise: ``CHAOS_SECONDS=600 CHAOS_SEED=random``. A failure shows the seed and all that was done.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from monkey import Monkey
from sites import MARK, SlurmSite

from jobpool import JobPoolExecutor
from jobpool.executor.connection import Connection
from jobpool.model.errors import CallCrashed, CallFailed, JobLost
from jobpool.testing import SlurmLab, wait_until
from jobpool.testing.labs.machine import processes_of

SECONDS = 60.0

ALLOWED = (CallCrashed, JobLost)
"""How a call may end that was killed more often than it may be run again."""

PATIENCE = 420.0
"""Seconds for the rest, when all is well again: after many losses a pool waits up to five minutes before it asks for
more jobs."""

WORKERS, OPEN = 6, 40


def work(directory: str, number: int, seconds: float) -> tuple[int, str]:
    """Take so long, leave a line, and return what stands in it."""
    import os
    import time
    import uuid

    time.sleep(seconds)
    attempt = uuid.uuid4().hex
    with open(f"{directory}/{number}", "a") as file:  # noqa: PTH123 - one write of one line
        file.write(f"{attempt} {os.environ['SLURM_JOB_ID']}\n")
    return number, attempt


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, slurm_lab: SlurmLab, home: Path) -> Iterator[SlurmSite]:
    """A SLURM of this test's own; the one of all tests says, or fails, where there is none."""
    with SlurmLab(tmp_path_factory.mktemp("lab-chaos"), nodes=4, gpus=0) as lab:
        site = SlurmSite(lab)
        with site.entered():
            yield site


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often the server told the end of each call."""
    told: Counter[int] = Counter()
    hear = Connection._hear

    def listening(self: Connection, link: Any, message: Any) -> None:
        match message:
            case ("done", _, items):
                for id, _, _, _, _, rows in items:
                    told.update(range(id, id + (rows or 1)))
            case ("failed", _, ids):
                told.update(ids)
        hear(self, link, message)

    monkeypatch.setattr(Connection, "_hear", listening)
    return told


class Load:
    """Calls of mixed length, as many as the pool can take, until it is enough."""

    def __init__(self, pool: JobPoolExecutor, directory: Path, seed: int) -> None:
        self._pool, self._directory = pool, directory
        self._random = random.Random(seed)
        self._enough = threading.Event()
        self.futures: dict[int, Future[tuple[int, str]]] = {}
        self.mapped: list[tuple[int, str]] = []
        self.failed_maps: list[CallFailed] = []
        self.threads = [threading.Thread(target=self._submit), threading.Thread(target=self._map)]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self._enough.set()

    def _submit(self) -> None:
        number = 0
        while not self._enough.wait(0.1):
            while sum(not future.done() for future in self.futures.values()) < OPEN:
                seconds = self._random.choice([0.0, 0.01, 0.05, 0.05, 0.5, 1.0, 2.0, 6.0])
                self.futures[number] = self._pool.submit(work, str(self._directory), number, seconds)
                number += 1

    def _map(self) -> None:
        first = 1_000_000
        while not self._enough.is_set():
            numbers = range(first, first + 100)
            first += 100
            lengths = [self._random.choice([0.001, 0.01, 0.2]) for _ in numbers]
            try:
                # One by one: an item that fails ends the map, and those before it count.
                for result in self._pool.map(work, [str(self._directory)] * 100, numbers, lengths):
                    self.mapped.append(result)
            except CallFailed as error:
                self.failed_maps.append(error)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whatever_is_killed_each_call_ends_once(site: SlurmSite, ends: Counter[int], tmp_path: Path) -> None:
    chosen = os.environ.get("CHAOS_SEED", "0")
    seed = random.randrange(10**9) if chosen == "random" else int(chosen)
    seconds = float(os.environ.get("CHAOS_SECONDS", SECONDS))
    print(f"seed {seed}, {seconds:.0f} s")
    effects = tmp_path / "effects"
    effects.mkdir()
    with told_what_happened(site), pool_that_leaves_nothing(site) as pool:
        pool.submit(abs, -1).result(PATIENCE)
        monkey, load = Monkey(site.lab, pool._directory.path, seed), Load(pool, effects, seed)
        try:
            with monkey.well_afterwards():
                load.start()
                monkey.disturb(seconds)
        finally:
            load.stop()
        print(f"{monkey.count} disturbances, {len(load.futures)} calls, {len(load.mapped)} items of maps", flush=True)
        failed = each_ends(load)
        directory = pool._directory.path
    look_at_effects(load, effects)
    print(f"failed: {Counter(type(error).__name__ for error in failed)}")
    assert all(isinstance(error, ALLOWED) for error in failed), failed
    assert not [id for id, count in ends.items() if count > 1], "ended twice"
    assert not list(directory.glob("*.pem"))
    assert not (directory / "connection.json").exists()


@contextmanager
def told_what_happened(site: SlurmSite) -> Iterator[None]:
    """Print what the queue and the server say, when something is wrong."""
    try:
        yield
    except BaseException:
        print(site.lab.run("squeue", "--array", "--states=all", "--format=%i %j %T %r %M %N", check=False).stdout)
        for log in Path.home().glob(".jobpool/*/server.log"):
            print(log.read_text())
        raise


@contextmanager
def pool_that_leaves_nothing(site: SlurmSite) -> Iterator[JobPoolExecutor]:
    """Make a pool, and see afterwards that nothing of it is left.

    Not at once: a controller that was killed may bring back a job that had ended, and is told again to cancel it.
    """
    value = uuid.uuid4().hex
    os.environ[MARK] = value
    try:
        made = site.make(WORKERS, workers_per_job=2)
    finally:
        del os.environ[MARK]
    with made as pool:
        yield pool
    assert wait_until(lambda: not site.jobs_in_queue(pool.name), 60), f"left: {site.jobs_in_queue(pool.name)}"
    left = [f"{MARK}={value}"]
    assert wait_until(lambda: not processes_of(left), 60), f"left: {processes_of(left)}"


def each_ends(load: Load) -> list[BaseException]:
    """Wait for the end of all calls, and return the exceptions of those that failed."""
    end = time.monotonic() + PATIENCE
    failed: list[BaseException] = []
    for future in load.futures.values():
        if (error := future.exception(max(1.0, end - time.monotonic()))) is not None:
            failed.append(error)
    for thread in load.threads:
        thread.join(max(1.0, end - time.monotonic()))
        assert not thread.is_alive(), "a map does not end"
    return [*failed, *load.failed_maps]


def look_at_effects(load: Load, directory: Path) -> None:
    """See that each result stands for a line that its call has written."""
    results = [future.result() for future in load.futures.values() if future.exception() is None]
    for number, attempt in [*results, *load.mapped]:
        lines = (directory / str(number)).read_text().splitlines()
        assert attempt in {line.split()[0] for line in lines}, (number, attempt, lines)
        assert all(len(line.split()) == 2 for line in lines)
