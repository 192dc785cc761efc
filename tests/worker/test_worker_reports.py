"""When a job's workers tell what happens to their calls: at once, or together with more of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from test_worker_rows import results, submit_rows
from test_workers import hold, in_loop, pid
from workerskit import reached_soon, run_workers, value

from jobpool.agent import reports
from jobpool.agent.reports import HOLD
from jobpool.transport.messages.agent import Done, Started


@in_loop
async def test_a_bundle_runs_in_order_on_one_worker_and_costs_no_report_per_call(tmp_path: Path) -> None:
    async with run_workers(tmp_path, size=2) as watched:
        ids = watched.submit(pid, *[()] * 2000)
        await watched.until(lambda: len(watched.outcomes) == 2000)
        assert len({value(outcome) for outcome in watched.outcomes.values()}) == 1
        assert list(watched.outcomes) == ids
        started = [report for report in watched.reports if isinstance(report, Started)]
        assert len(started) < 200


@in_loop
async def test_a_result_goes_out_while_the_next_call_of_the_bundle_runs(tmp_path: Path) -> None:
    file = tmp_path / "held"

    def either(path: str | None) -> None:
        if path:
            hold(path)

    async with run_workers(tmp_path) as watched:
        first, second = watched.submit(either, (None,), (str(file),))
        await watched.outcome(first)
        await watched.until(lambda: second in watched.started)
        assert second not in watched.outcomes
        file.unlink()
        await watched.outcome(second)


@in_loop
async def test_what_waits_to_be_told_is_told_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "HOLD", 3600.0)
    file = tmp_path / "held"

    def either(path: str | None) -> None:
        if path:
            hold(path)

    async with run_workers(tmp_path) as watched:
        first, *_ = watched.submit(either, (None,), (str(file),), (None,))
        await reached_soon(file.exists)
        assert first not in watched.outcomes

        def flushed() -> bool:
            watched.workers.flush()
            return first in watched.outcomes

        await reached_soon(flushed)
        file.unlink()


@in_loop
async def test_a_large_result_waits_for_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "HOLD", 3600.0)
    file = tmp_path / "held"

    def either(size: int, path: str | None) -> bytes:
        if path:
            hold(path)
        return bytes(size)

    async with run_workers(tmp_path) as watched:
        small, large, *_ = watched.submit(either, (1, None), (reports.LARGE, None), (1, str(file)), (1, None))
        assert len(value(await watched.outcome(large))) == reports.LARGE
        assert small in watched.outcomes  # it goes with it
        await reached_soon(file.exists)
        file.unlink()


@in_loop
@pytest.mark.parametrize("as_rows", [False, True])
async def test_short_calls_with_others_behind_them_cost_a_report_each_tenth_of_a_second(
    tmp_path: Path, *, as_rows: bool
) -> None:
    async with run_workers(tmp_path) as watched:
        begin = time.monotonic()
        if as_rows:
            submit_rows(watched, time.sleep, *[0.005] * 40)
        else:
            for _ in range(4):
                watched.submit(time.sleep, *[(0.005,)] * 10)
        await watched.until(lambda: len(results(watched) if as_rows else watched.outcomes) == 40)
        told = [report for report in watched.reports if isinstance(report, Done)]
        assert len(told) <= (time.monotonic() - begin) / HOLD + 3  # those of the last two calls come at once
