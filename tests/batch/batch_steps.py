"""What the tests of the batch systems share: run a command as the server does, and wait for what it shows."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jobpool.batch.base import BatchSystem, JobScript, Submission, Submitted, Tracked
from jobpool.commands import shell
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId, JobState, Seen
from jobpool.model.request import Request


def run(command: Command) -> Completed:
    return asyncio.run(shell.run(command))


def run_all(commands: Sequence[Command]) -> list[Completed]:
    return asyncio.run(shell.run_all(commands))


def prepare(
    system: BatchSystem, job: JobScript, count: int = 1, environment: Mapping[str, str] | None = None
) -> Submission:
    return system.prepare(job, count=count, environment=os.environ if environment is None else environment)


def tracked(*names: str, ids: Sequence[JobId] = ()) -> list[Tracked]:
    """Submissions to ask about; the ids are those of the first."""
    known = dict(enumerate(ids))
    return [Tracked(name, {} if number else known) for number, name in enumerate(names)]


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
        directory=directory,
        log_directory=directory,
        working_directory=directory,
        argv=tuple(argv),
        environment=environment or {},
    )


def submit(system: BatchSystem, job: JobScript, count: int = 1) -> tuple[JobId, ...]:
    answer = system.parse_submit(run(prepare(system, job, count).command), count=count)
    assert isinstance(answer, Submitted), answer
    assert len(answer.ids) == count
    return answer.ids


def look(system: BatchSystem, *names: str) -> dict[int, Seen]:
    """Poll once; the jobs by their index (of the last name)."""
    submissions = tracked(*names)
    answer = system.parse_poll(run_all(system.poll(submissions)), submissions)
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
