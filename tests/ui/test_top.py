"""``jobpool top`` as a user drives it, by Textual's own pilot, on a pool that runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from jobpool import JobPoolExecutor
from jobpool.batch.slurm.reasons import explain_reason
from jobpool.cli.ask import ask_now
from jobpool.host.home import PoolDirectory
from jobpool.show.top import Confirm, Top
from jobpool.testing import wait_until
from jobpool.transport.messages.client import Facts

PATIENCE = 60.0


def hold(file: str) -> str:
    while not Path(file).exists():
        time.sleep(0.02)
    return "held"


async def until(pilot: Pilot[None], seen: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < end, head(pilot)
        await pilot.pause(0.05)


def rows(pilot: Pilot[None], table: str) -> list[list[str]]:
    shown: DataTable[Any] = pilot.app.screen_stack[0].query_one(table, DataTable)
    return [[str(cell) for cell in shown.get_row_at(row)] for row in range(shown.row_count)]


def head(pilot: Pilot[None]) -> str:
    return str(pilot.app.screen_stack[0].query_one("#head", Static).render())


def test_a_reason_that_is_longer_than_the_terminal_is_wide_is_read_below(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_text("the agent begins\n")
    about = {"state": "pending", "node": None, "workers": 0, "busy": 0, "age": 5.0, "log": str(log)}
    job = {"id": "7", "key": ["jp-mine-1", 0], "request": "", "reason": "Priority", **about}
    calls = {"waiting": 3, "running": 0, "done": 0, "failed": 0}
    pool = {"name": "mine", "system": "slurm", "host": "login1", "pid": 7, "logs": str(tmp_path), "notices": []}
    known = {"time": 5.0, "phase": "open", "rate": None, "left": None, "held": None}
    answer = {**pool, **known, "calls": calls, "requests": [], "functions": [], "jobs": [job]}
    app = Top(lambda question: Facts(facts=answer), name="mine")

    async def drive() -> None:
        async with app.run_test(size=(60, 24)) as pilot:
            await until(pilot, lambda: len(rows(pilot, "#jobs")) == 1)
            below = str(app.query_one("#log", Static).render())
            assert below.splitlines() == [f"Priority: {explain_reason('Priority')}", "the agent begins"]
            assert len(below.splitlines()[0]) > 60

    asyncio.run(drive())
    app.on_data_table_row_highlighted()  # the table's last message may come when all is closed


def test_a_pool_is_watched_filtered_and_a_job_of_it_cancelled(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with JobPoolExecutor(2, scheduler="local", workers_per_job=1, name="mine") as pool:
        futures = [pool.submit(hold, str(go)) for _ in range(2)]
        assert wait_until(lambda: all(future.running() for future in futures), PATIENCE)
        app = Top(partial(ask_now, PoolDirectory.open("mine")), name="mine")

        async def drive() -> None:
            async with app.run_test(size=(140, 40)) as pilot:
                await until(pilot, lambda: len(rows(pilot, "#jobs")) == 2)
                assert "2 running" in head(pilot)
                assert rows(pilot, "#functions") == [["hold", "0", "2", "0", "0"]]
                assert "begins" in str(app.query_one("#log", Static).render())
                first = rows(pilot, "#jobs")[0][0]

                await pilot.press("slash", *"nothing-like-it")
                await until(pilot, lambda: rows(pilot, "#jobs") == [])
                await pilot.press("escape")
                await until(pilot, lambda: len(rows(pilot, "#jobs")) == 2)

                await pilot.press("c")
                await until(pilot, lambda: isinstance(app.screen, Confirm))
                await pilot.pause(1.5)  # it goes on behind the question
                await pilot.press("n")
                await until(pilot, lambda: not isinstance(app.screen, Confirm))
                await pilot.press("c", "y")
                await until(pilot, lambda: not isinstance(app.screen, Confirm))
                await until(pilot, lambda: first not in [row[0] for row in rows(pilot, "#jobs")])
                await pilot.press("e")
                await until(pilot, lambda: [first, "ended"] in [row[:2] for row in rows(pilot, "#jobs")])
                go.touch()
                await until(pilot, lambda: "2 done" in head(pilot))
                await pilot.press("q")

        asyncio.run(drive())
        assert [future.result(timeout=PATIENCE) for future in futures] == ["held", "held"]
