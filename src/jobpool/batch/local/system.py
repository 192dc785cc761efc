"""Jobs on this machine, through the same commands and answers as on a cluster: nothing waits, nothing is shared out.

``server.localjobs`` carries the commands out. It enforces the walltime; cores and memory are as many as there are.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobpool.batch.base import (
    Answer,
    Capabilities,
    Directive,
    Doubtful,
    JobScript,
    Refused,
    SubmitAnswer,
    Submitted,
    Unanswered,
)
from jobpool.batch.quoting import check_name, exports, shell_command, shell_lines, single_line
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = ["Local"]


_CAPABILITIES = Capabilities(confines_cores=False, refuses=False, queues=False, loopback=True, shares_machine=True)


@dataclass(frozen=True, slots=True)
class Local:
    """This machine as a :class:`~jobpool.batch.base.BatchSystem`."""

    directory: Path
    """Where the records of its jobs are; one directory per pool."""
    python: str = sys.executable
    name: str = "local"
    commands: tuple[str, ...] = ()
    settle: float = 0.0
    capabilities: Capabilities = _CAPABILITIES

    def directives(self, request: Request) -> tuple[Directive, ...]:
        """Say what the request becomes: a walltime is all that is enforced here."""
        if request.walltime is None:
            return ()
        return (Directive(f"--walltime={float(request.walltime):g}", f"walltime={request.walltime}; in seconds."),)

    def script(self, job: JobScript) -> str:
        """Write the job script."""
        check_name(job.name)
        head = [
            shlex.quote(f"--log-directory={single_line(str(job.log_directory), 'the log directory')}"),
            shlex.quote(f"--working-directory={single_line(str(job.working_directory), 'the working directory')}"),
            *(directive.text for directive in self.directives(job.request)),
        ]
        body = [
            "umask 077",
            *exports(job.environment),
            *shell_lines(job.request.setup),
            f'exec {shell_command(job.argv)} --index "$JOBPOOL_LOCAL_INDEX" --job-id "$JOBPOOL_LOCAL_JOB"',
        ]
        return "\n".join(["#!/bin/bash", *(f"#JOBPOOL {line}" for line in head), "", *body, ""])

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        return job.log_directory / f"{job.name}-{index}.log"

    def submit(self, script: str, *, name: str, count: int, environment: Mapping[str, str]) -> Command:
        """Make one command that starts all jobs, with the caller's environment."""
        argv = self._argv("submit", str(self.directory), check_name(name), str(count))
        return Command(argv, stdin=script, environment=tuple(environment.items()))

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read its answer."""
        match _json(done):
            case {"jobs": [*ids]} if done.ok and len(ids) == count and all(isinstance(id, str) for id in ids):
                return Submitted(tuple(JobId(id) for id in ids))
            case {"refused": str(words)}:
                return Refused(words)
            case _:
                return Doubtful(_words(done))

    def poll(self, names: Sequence[str]) -> Command:
        """Make one command that shows all jobs of these submissions, ended ones for as long as the pool lives."""
        return Command(self._argv("poll", str(self.directory), *map(check_name, names)))

    def parse_poll(self, done: Completed) -> Answer | Unanswered:
        """Read its answer."""
        match _json(done):
            case {"jobs": [*jobs]} if done.ok:
                return tuple(seen for job in jobs if (seen := _seen(job)))
            case _:
                return Unanswered(_words(done))

    def account(self, names: Sequence[str], ids: Sequence[JobId] = ()) -> None:
        """Return None: the poll tells all endings."""
        return

    def parse_account(self, done: Completed) -> Mapping[JobId, Ending | JobState]:
        """Return nothing, since nothing was asked."""
        return {}

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending as it is: nobody writes into a local job's log but the job."""
        return ending

    def starts(self, names: Sequence[str]) -> None:
        """Return None: nothing waits."""
        return

    def parse_starts(self, done: Completed) -> Mapping[JobId, float]:
        """Return nothing, since nothing was asked."""
        return {}

    def estimate(self, script: str, *, environment: Mapping[str, str]) -> None:
        """Return None: it starts at once."""
        return

    def parse_estimate(self, done: Completed) -> Unanswered:
        """Return that nothing was asked."""
        return Unanswered("nothing was asked")

    def cancel(self, names: Sequence[str], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make one command that cancels all: SIGTERM, and SIGKILL ten seconds later."""
        targets = (*map(check_name, names), *ids)
        return (Command(self._argv("cancel", str(self.directory), *targets)),) if targets else ()

    def parse_cancel(self, done: Completed) -> Unanswered | None:
        """Read its answer."""
        return None if done.ok else Unanswered(_words(done))

    def limits(self, user: str) -> tuple[Command, ...]:
        """Ask nothing: what was written for a cluster must run on a laptop too, its calls sharing what is there."""
        return ()

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Know no limits: nothing is refused."""
        return Limits()

    def _argv(self, *words: str) -> tuple[str, ...]:
        # -P: a file in the current directory that is named like a module must not stand in for it.
        return (self.python, "-P", "-m", "jobpool.local_jobs.commands", *words)


def _seen(job: Any) -> Seen | None:
    match job:
        case {"id": str(id), "name": str(name), "index": int(index), "state": str(state)}:
            known = {member.value: member for member in JobState}.get(state, JobState.UNKNOWN)
        case _:
            return None
    ending = _ending(job) if known is JobState.ENDED else None
    return Seen(
        id=JobId(id),
        name=name,
        index=index,
        state=known if ending or known is not JobState.ENDED else JobState.UNKNOWN,
        words=ending.words if ending else state,
        node=_text(job.get("node")),
        ending=ending,
    )


def _ending(job: Mapping[str, Any]) -> Ending | None:
    kind = {member.value: member for member in EndingKind}.get(str(job.get("kind")))
    if kind is None:
        return None
    exit_code, signal = _number(job.get("exit_code")), _number(job.get("signal"))
    told = (
        kind.value,
        _text(job.get("words")),
        None if exit_code is None else f"exit code {exit_code}",
        None if signal is None else f"signal {signal}",
    )
    return Ending(
        kind=kind,
        words=", ".join(word for word in told if word),
        exit_code=exit_code,
        signal=signal,
        node=_text(job.get("node")),
        limit=_text(job.get("limit")),
        source="queue",
    )


def _json(done: Completed) -> Any:
    try:
        return json.loads(done.stdout)
    except (ValueError, RecursionError):
        return None


def _words(done: Completed) -> str:
    return done.words or f"{' '.join(done.command.argv[-3:])}: ended with {done.returncode} and said nothing"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None
