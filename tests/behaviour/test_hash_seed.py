"""Hashes of texts are the same in all workers of a pool, and with them the orders of sets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gates import Gate
from sites import PATIENCE, LocalSite, Site

NAMES = tuple(f"name {number}" for number in range(100))


def hashes() -> tuple[int, list[str], str]:
    """Return a hash, the order of a set, and the hash in a Python that the call starts."""
    program = [sys.executable, "-c", "print(hash('foo'))"]
    started = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    return hash("foo"), list(set(NAMES)), started.strip()


def in_two_jobs(site: Site, gate: Gate) -> list[tuple[int, list[str], str]]:
    wait = gate.hold()

    def hold() -> tuple[int, tuple[int, list[str], str]]:
        wait()
        return os.getppid(), hashes()  # its fork-server, of which each job has its own

    with site.pool(2, workers_per_job=1) as pool:
        futures = [pool.submit(hold) for _ in range(2)]
        gate.wait_for(2)
        gate.open()
        answers = [future.result(PATIENCE) for future in futures]
    assert len({job for job, _ in answers}) == 2
    return [found for _, found in answers]


def test_they_are_the_same_in_two_jobs(site: Site, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    one, two = in_two_jobs(site, gate)
    assert one == two
    assert one[2] == str(one[0])


def test_they_are_those_of_the_users_own_seed(site: Site, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    program = [sys.executable, "-c", "print(hash('foo'))"]
    expected = subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip()
    assert [str(found[0]) for found in in_two_jobs(site, gate)] == [expected, expected]


def test_dasks_tasks_have_them_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    with LocalSite().pool(2, workers_per_job=1) as pool:
        in_agent = pool.client.submit(lambda: hash("foo")).result(PATIENCE)
        in_call = pool.submit(hash, "foo").result(PATIENCE)
    assert in_agent == in_call
