"""What a function was before the script has changed a variable goes from its worker when no call needs it."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

from workerskit import Watched, run_workers, value


class Table:
    """A variable that each version of a function brings."""

    def __init__(self, number: int) -> None:
        self.number, self.rows = number, bytes(600_000)


table = Table(0)


def tables() -> tuple[int, int]:
    """Return which one is seen here, and how many there are in this process."""
    return table.number, sum(type(thing).__name__ == "Table" for thing in gc.get_objects())


def submit(watched: Watched, number: int) -> int:
    global table
    table = Table(number)
    [id] = watched.submit(tables, ())
    return id


def test_large_versions_are_few(tmp_path: Path) -> None:
    async def run() -> None:
        async with run_workers(tmp_path) as watched:
            seen = [value(await watched.outcome(submit(watched, number))) for number in range(8)]
        assert [number for number, _ in seen] == list(range(8))
        assert max(count for _, count in seen) <= 4

    asyncio.run(run())


def test_one_that_was_dropped_is_sent_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with run_workers(tmp_path) as watched:
            for _ in range(2):
                ids = [submit(watched, number) for number in range(6)]
                assert [value(await watched.outcome(id))[0] for id in ids] == list(range(6))

    asyncio.run(run())
