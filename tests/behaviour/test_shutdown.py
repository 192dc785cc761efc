"""The end of a pool: what shutdown lets end, cancels and tells, and what ends everything at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
from gates import Gate, running
from sites import PATIENCE, Site

from jobpool import JobPoolExecutor
from jobpool.testing import wait_until


@pytest.mark.every_dialect
def test_shutdown_finishes_what_was_submitted(site: Site) -> None:
    with site.pool(2) as pool:
        futures = [pool.submit(str, number) for number in range(20)]
        pool.shutdown()
        assert [future.result(0) for future in futures] == [str(number) for number in range(20)]
        with pytest.raises(RuntimeError, match="shutdown"):
            pool.submit(str, 1)
        with pytest.raises(RuntimeError, match="shutdown"):
            pool.map(str, [1])
        pool.shutdown()  # once more does no harm


@pytest.mark.alone
def test_shutdown_without_waiting_and_with_cancelled_futures(site: Site, gate: Gate) -> None:
    with site.pool(1) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        waiting = [pool.submit(gate.hold("never")) for _ in range(5)]
        begin = time.monotonic()
        pool.shutdown(wait=False, cancel_futures=True)
        assert time.monotonic() - begin < 1
        assert all(future.cancelled() for future in waiting)
        assert not held.done()
        assert wait_until(lambda: pool.status().calls.waiting == 0, PATIENCE)  # the server has heard of it
        gate.open()
        assert held.result(PATIENCE) == "held"
    assert gate.arrived("never") == 0


def test_a_shutdown_that_waits_for_calls_that_run_says_so(
    site: Site, gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    with site.pool(2) as pool:
        held = [pool.submit(gate.hold(), number) for number in range(2)]
        gate.wait_for(2)
        for future in held:
            running(future)
        waiting = pool.submit(gate.hold("never"))
        ending = threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True})
        ending.start()
        told: list[str] = []

        def tells_of_calls_that_run() -> bool:
            told.append(capfd.readouterr().err)
            return "let end" in "".join(told)

        assert wait_until(tells_of_calls_that_run, PATIENCE)
        gate.open()
        ending.join(PATIENCE)
        assert not ending.is_alive()
    assert waiting.cancelled()
    assert [future.result(0) for future in held] == [0, 1]
    assert "2 calls that have begun are let end" in "".join(told)
    assert "terminate_workers()" in "".join(told)


@pytest.mark.alone
def test_a_pool_that_ran_nothing_ends_at_once(site: Site) -> None:
    with site.pool(3) as pool:
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    assert site.submits(pool.name) == 0


@pytest.mark.every_dialect
def test_an_exception_in_the_with_block_ends_the_running_calls(site: Site, gate: Gate) -> None:
    class Oops(Exception):
        pass

    futures: list[Future[Any]] = []
    with pytest.raises(Oops), site.pool(1) as pool:  # noqa: PT012 - what goes on inside is the point
        futures += [pool.submit(gate.hold("held")), pool.submit(gate.hold("never"))]
        gate.wait_for(1, "held")
        raise Oops
    assert all(future.done() for future in futures)
    assert gate.arrived("never") == 0
    assert wait_until(lambda: site.jobs_in_queue(pool.name) == [], PATIENCE)


@pytest.mark.parametrize("end", [JobPoolExecutor.terminate_workers, JobPoolExecutor.kill_workers])
def test_terminated_workers_end_their_calls(site: Site, gate: Gate, end: Callable[[JobPoolExecutor], None]) -> None:
    with site.pool(1) as pool:
        held, waiting = pool.submit(gate.hold("held")), pool.submit(gate.hold("never"))
        gate.wait_for(1, "held")
        running(held)
        end(pool)
        assert isinstance(held.exception(0), BrokenProcessPool)
        assert waiting.cancelled()
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(str, 1)
    assert gate.arrived("never") == 0
