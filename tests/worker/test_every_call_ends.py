"""Whatever happens in whatever order: each call is reported as over exactly once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from test_workers import in_loop
from workerskit import run_workers

from jobpool.agent.reports import Report
from jobpool.model.call import Outcome
from jobpool.transport.messages.agent import Died, Done, Returned


def ends(reports: list[Report]) -> Counter[int]:
    """How often each call was reported as over."""
    count: Counter[int] = Counter()
    for report in reports:
        match report:
            case Done(outcomes):
                count.update(outcome.call for outcome in outcomes)
            case Returned(ids):
                count.update(ids)
            case Died(int(call), _):
                count[call] += 1
    return count


def anything(what: str) -> str:
    match what:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(0)
        case "raise":
            raise SystemExit(3)
        case "sleep":
            time.sleep(0.01)
        case "large":
            return "x" * 1_000_000
    return what


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("seed", range(4))
@in_loop
async def test_every_call_ends_once(tmp_path: Path, seed: int, limit: int | None) -> None:
    chance = random.Random(seed)
    kinds = ["kill", "exit", "raise", "sleep", "large", *["quick"] * 15]
    ids: list[int] = []
    async with run_workers(tmp_path, size=3, max_tasks_per_child=limit) as watched:

        def mostly_over(count: int) -> bool:
            return len(ends(watched.reports)) > count - 20

        for _ in range(60):
            bundle = [(chance.choice(kinds),) for _ in range(chance.randint(1, 8))]
            ids += watched.submit(anything, *bundle)
            if chance.random() < 0.3:
                watched.workers.retract(chance.sample(ids, min(len(ids), 5)))
            if chance.random() < 0.1:
                await watched.workers.occupy()
                watched.workers.release()
            if chance.random() < 0.05:
                os.kill(watched.workers._lifecycle.server_pid, signal.SIGKILL)
            if chance.random() < 0.3:
                await watched.until(partial(mostly_over, len(ids)))
        await watched.until(lambda: len(ends(watched.reports)) == len(ids))
        outcomes: list[Outcome] = list(watched.outcomes.values())
        assert len(outcomes) > len(ids) / 3
    assert ends(watched.reports) == Counter(ids)
