"""A process that has stood still: what is due in its own time is put off, and put off before it comes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_workers import hold, in_loop
from workerskit import reached_soon, run_workers, value

from jobpool.agent.agent import Agent
from jobpool.agent.job_facts import parse_arguments
from jobpool.model.call_options import CallOptions
from jobpool.model.units import Duration
from jobpool.transport.messages.agent import Suspended, WentOn
from jobpool.transport.messages.base import Message

_STANDS = """
import asyncio
from jobpool.host import standstill

standstill.BEAT, standstill.STILL = 0.05, 0.5

async def main():
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    standstill.Standstill(loop, lambda seconds: print(f"went on {seconds:.1f}", flush=True))
    loop.call_later(0.5, lambda: (print("rings", flush=True), end.set()))
    print("begins", flush=True)
    await end.wait()

asyncio.run(main())
"""


def test_it_is_noticed_before_anything_that_became_due_meanwhile() -> None:
    process = subprocess.Popen([sys.executable, "-c", _STANDS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "begins\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2.0)  # nothing to wait for: this is the fault
        os.kill(process.pid, signal.SIGCONT)
        first, second = process.communicate(timeout=30)[0].splitlines()
    finally:
        process.kill()
        process.wait()
    assert first.startswith("went on ")
    assert 1.0 < float(first.removeprefix("went on ")) < 20.0
    assert second == "rings"


@in_loop
async def test_the_time_in_which_it_stood_still_is_no_part_of_a_timeout(tmp_path: Path) -> None:
    held = tmp_path / "held"
    async with run_workers(tmp_path) as watched:
        (id,) = watched.submit(hold, (str(held),), terms=CallOptions(timeout=Duration(1.0)))
        await reached_soon(held.exists)
        watched.workers.put_off(600.0)
        (slot,) = watched.workers._slots.values()
        assert slot.alarm is not None
        assert slot.alarm.when() > asyncio.get_running_loop().time() + 500
        held.unlink()
        assert value(await watched.outcome(id))
        assert not watched.died


class Recorder:
    """A link that keeps what is sent on it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("by_the_batch_system", [True, False])
@in_loop
async def test_a_suspension_extends_the_walltime_and_a_stop_by_hand_does_not(by_the_batch_system: bool) -> None:
    agent = Agent(
        parse_arguments(["--pool=x", "--submission=jp-x-1", "--index=0", "--job-id=1", "--address=x", "--port=1"])
    )
    link: Any = Recorder()
    agent._link = link
    loop = asyncio.get_running_loop()
    now = loop.time()
    agent._notice, agent._closing_time = 60.0, loop.call_at(now + 540.0, lambda: None)
    if by_the_batch_system:
        agent._suspend()
        assert link.sent.pop() == Suspended()
    agent._go_on(1000.0)
    (word,) = link.sent
    assert isinstance(word, WentOn)
    assert word.left == pytest.approx(1600.0 if by_the_batch_system else 600.0, abs=5.0)
    link.sent.clear()
    agent._go_on(100.0)  # by hand: the suspension before counts once
    assert link.sent[0].left == pytest.approx(word.left, abs=5.0)
