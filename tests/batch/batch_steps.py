"""What the tests of the batch systems share: run a command as the server does, and wait for what it shows."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jobpool.batch.base import BatchSystem, JobScript, Submitted
from jobpool.commands import shell
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId, JobState, Seen
from jobpool.model.request import Request


def run(command: Command) -> Completed:
    return asyncio.run(shell.run(command))


def job_script(
    directory: Path,
    argv: Sequence[str],
    *,
    name: str = "test",
    request: Request | None = None,
    environment: Mapping[str, str] | None = None,
) -> JobScript:
    return JobScript(
        name=name,
        request=request or Request(),
        log_directory=directory,
        working_directory=directory,
        argv=tuple(argv),
        environment=environment or {},
    )


def submit(system: BatchSystem, job: JobScript, count: int = 1) -> tuple[JobId, ...]:
    text = system.script(job)
    answer = system.parse_submit(
        run(system.submit(text, name=job.name, count=count, environment=os.environ)), count=count
    )
    assert isinstance(answer, Submitted), answer
    assert len(answer.ids) == count
    return answer.ids


def look(system: BatchSystem, *names: str) -> dict[int, Seen]:
    """Poll once; the jobs by their index (of the last name)."""
    answer = system.parse_poll(run(system.poll(names)))
    assert isinstance(answer, tuple), answer
    return {seen.index: seen for seen in answer}


def wait_for(
    system: BatchSystem, name: str, condition: Callable[[dict[int, Seen]], bool], *, timeout: float = 30
) -> dict[int, Seen]:
    deadline = time.monotonic() + timeout
    while not condition(seen := look(system, name)):
        assert time.monotonic() < deadline, f"not so after {timeout} s: {seen}"
        time.sleep(0.05)
    return seen


def ended(count: int) -> Callable[[dict[int, Seen]], bool]:
    return lambda seen: sum(job.state is JobState.ENDED for job in seen.values()) == count


def until(condition: Callable[[], object], *, timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout} s"
        time.sleep(0.02)
