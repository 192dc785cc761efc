"""A node of a real SLURM on which nothing works: its jobs are asked for elsewhere."""

from __future__ import annotations

import pytest
from gates import Gate, running
from sites import PATIENCE, SlurmSite

from jobpool.model.errors import JobsFailed


def where(number: int) -> str:
    import os
    import time

    time.sleep(0.2)
    return os.environ["JOBPOOL_NODE"]


@pytest.mark.slow
def test_a_node_that_eats_jobs_is_avoided(site: SlurmSite) -> None:
    bad = site.lab.nodes[0]  # SLURM fills it first
    setup = [f'if [ "$SLURMD_NODENAME" = {bad} ]; then echo no space left on scratch >&2; exit 3; fi']
    setup.append("export JOBPOOL_NODE=$SLURMD_NODENAME")
    with site.pool(4, setup=setup) as pool:
        futures = [pool.submit(where, number) for number in range(20)]
        nodes = {future.result(PATIENCE) for future in futures}
        assert bad not in nodes
        told = [text for text, warning in pool.status().notices if warning and "new jobs avoid node" in text]
        assert len(told) == 1
        assert bad in told[0]
        assert futures[-1].job is not None
        assert futures[-1].job.node in nodes  # by the batch system's name
        assert site.submits(pool.name) <= 3


@pytest.mark.slow
def test_where_every_node_fails_the_number_of_jobs_is_bounded(site: SlurmSite) -> None:
    with site.pool(4, setup=["exit 3"]) as pool:
        futures = [pool.submit(where, number) for number in range(20)]
        assert all(isinstance(future.exception(PATIENCE), JobsFailed) for future in futures)
        jobs = [job for job, name, _ in site._rows("--states=all") if name.startswith(f"jp-{pool.name}-")]
        assert len(jobs) <= 8


def test_a_node_that_is_drained_finishes_its_calls_and_gets_no_more(site: SlurmSite, gate: Gate) -> None:
    with site.pool(1, idle_timeout=0) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        (drained,) = (node for _, name, node in site._rows() if name.startswith(f"jp-{pool.name}-"))
        site.lab.run("scontrol", "update", f"NodeName={drained}", "State=DRAIN", "Reason=test")
        try:
            gate.open()
            assert held.result(PATIENCE) == "held"
            assert gate.arrived() == 1
            pool.scale(0)
            site.wait_for_jobs(pool.name, 0)
            pool.scale(None)
            later = pool.submit(abs, -1)
            assert later.result(PATIENCE) == 1
            assert later.job is not None
            assert later.job.node != drained
        finally:
            site.lab.node_up(drained)
