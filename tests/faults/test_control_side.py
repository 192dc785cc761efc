"""The batch system's daemons die, freeze and come back on a real SLURM: no job twice, none lost, and patience."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from gates import Gate, running
from sites import PATIENCE, SlurmSite

from jobpool import JobPoolExecutor
from jobpool.testing import wait_until

LONG = 2 * PATIENCE
"""Seconds: SLURM's commands take ten to give up on a frozen controller, and are tried again."""


@contextmanager
def frozen(site: SlurmSite) -> Iterator[None]:
    """Let the controller answer nobody for a while."""
    site.lab.slurmctld.freeze()
    try:
        yield
    finally:
        site.lab.slurmctld.thaw()


def leave_a_trace(directory: str, number: int) -> int:
    import os
    import uuid
    from pathlib import Path

    Path(directory, f"{number}-{os.getpid()}-{uuid.uuid4().hex}").touch()
    return number


def each_ran_once(directory: Path, count: int) -> bool:
    return sorted(int(path.name.partition("-")[0]) for path in directory.iterdir()) == list(range(count))


def notices(pool: JobPoolExecutor) -> str:
    return " ".join(text for text, _ in pool.status().notices)


def jobs_of(site: SlurmSite, pool: str) -> list[str]:
    """Return all jobs of a pool that the controller knows, ended ones too."""
    return [job for job, name, _ in site._rows("--states=all") if name.startswith(f"jp-{pool}-")]


@pytest.mark.slow
def test_a_controller_that_freezes_during_the_submit_makes_no_job_twice(site: SlurmSite, tmp_path: Path) -> None:
    with site.pool(2) as pool:
        with frozen(site):
            futures = [pool.submit(leave_a_trace, str(tmp_path), number) for number in range(6)]
            # The command gives up after ten seconds, and nobody knows what became of it.
            assert wait_until(lambda: "SubmitDoubtful" in log(pool) or "rc=1" in log(pool), LONG)
        assert [future.result(LONG) for future in futures] == list(range(6))
        assert each_ran_once(tmp_path, 6)
        assert len(jobs_of(site, pool.name)) == 2


def log(pool: JobPoolExecutor) -> str:
    return pool._directory.server_log.read_text()


@pytest.mark.slow
def test_a_controller_that_is_down_while_calls_run_costs_nothing(site: SlurmSite, gate: Gate) -> None:
    with site.pool(2) as pool:
        held = [pool.submit(gate.hold(number), number) for number in range(2)]
        for number, future in enumerate(held):
            gate.wait_for(1, number)
            running(future)
        site.lab.slurmctld.stop()
        try:
            more = [pool.submit(abs, -number) for number in range(4)]
            # Told after three polls without an answer, and nothing else happens.
            assert wait_until(lambda: "does not answer" in notices(pool), LONG)
            gate.open()
            assert [future.result(PATIENCE) for future in held] == [0, 1]
            assert [future.result(PATIENCE) for future in more] == [0, 1, 2, 3]
        finally:
            site.lab.slurmctld.start()
        site.lab.wait_until_answering()
        assert pool.submit(abs, -9).result(PATIENCE) == 9
        assert (gate.arrived(0), gate.arrived(1)) == (1, 1)
        assert len(jobs_of(site, pool.name)) == 2


@pytest.mark.slow
def test_a_controller_that_freezes_during_the_cancel_keeps_no_job(site: SlurmSite, gate: Gate) -> None:
    pool = site.make(2)
    held = [pool.submit(gate.hold(number), number) for number in range(2)]
    for number in range(2):
        gate.wait_for(1, number)
    with frozen(site):
        pool.shutdown(wait=False)
        gate.open()
        assert [future.result(PATIENCE) for future in held] == [0, 1]
        # Its agents end by themselves: told so by the server, which needs no batch system for it.
        assert wait_until(lambda: "cancel=" in log(pool) and "unanswered" in log(pool), LONG)
    pool._connection.wait()
    assert pool._connection.left == ()
    assert wait_until(lambda: site.jobs_in_queue(pool.name) == [], PATIENCE)


@pytest.mark.slow
def test_a_node_whose_daemon_stopped_is_no_reason_to_run_a_call_twice(site: SlurmSite, gate: Gate) -> None:
    """Its processes live on and answer; SLURM counts the node as failed and requeues the job."""
    with site.pool(1) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        (node,) = (node for _, name, node in site._rows() if name.startswith(f"jp-{pool.name}-"))
        site.lab.slurmd(node).kill()
        try:
            assert wait_until(lambda: "down" in site.lab.node_states()[node].lower(), LONG)
            gate.open()
            assert held.result(PATIENCE) == "held"
            assert gate.arrived() == 1
        finally:
            site.lab.slurmd(node).start()
            assert wait_until(lambda: "down" not in site.lab.node_states()[node].lower(), PATIENCE)


@pytest.mark.slow
def test_the_first_run_of_a_job_ends_when_its_second_begins(site: SlurmSite, gate: Gate) -> None:
    """A node that does not answer: SLURM requeues its job, whose processes live on."""
    with site.pool(1) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        (first,) = agents_of(pool)
        (node,) = (node for _, name, node in site._rows() if name.startswith(f"jp-{pool.name}-"))
        site.lab.slurmd(node).freeze()
        try:
            site.lab.node_down(node)
            gate.wait_for(2)
            assert wait_until(lambda: agents_of(pool) and first not in agents_of(pool), PATIENCE), "both work"
            gate.open()
            assert held.result(PATIENCE) == "held"
            assert gate.arrived() == 2
        finally:
            site.lab.slurmd(node).thaw()
            site.lab.node_up(node)


def agents_of(pool: JobPoolExecutor) -> list[int]:
    """Return the process ids of a pool's agents that live."""
    agents = psutil.process_iter(["cmdline"])
    return [
        agent.pid
        for agent in agents
        if {"jobpool.agent", str(pool._directory.path)} <= set(agent.info["cmdline"] or ())
    ]


@pytest.mark.slow
def test_without_the_database_a_pool_works(site_with_accounting: SlurmSite, gate: Gate) -> None:
    lab = site_with_accounting.lab
    with site_with_accounting.pool(2) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        lab.slurmdbd.stop()
        try:
            site_with_accounting.end_job(held.job.id, "cancelled")  # type: ignore[union-attr]
            gate.wait_for(2, seconds=LONG)
            gate.open()
            assert held.result(PATIENCE) == "held"
            assert [pool.submit(abs, -number).result(PATIENCE) for number in range(3)] == [0, 1, 2]
        finally:
            lab.slurmdbd.start()


@pytest.mark.slow
def test_a_limit_on_submits_makes_a_backlog_and_no_failure(site_with_accounting: SlurmSite, tmp_path: Path) -> None:
    with site_with_accounting.pool(8, qos="maxsubmit") as pool:  # three jobs at once
        futures = [pool.submit(leave_a_trace, str(tmp_path), number) for number in range(40)]
        assert [future.result(LONG) for future in futures] == list(range(40))
        assert "no jobs are requested in the next" in notices(pool)
        assert "QOSMaxSubmitJobPerUserLimit" in notices(pool)
    assert each_ran_once(tmp_path, 40)
