"""Jobs on this machine, through the same commands and answers as on a cluster: nothing waits, nothing is shared out.

``local_jobs`` carries the commands out. It enforces the walltime; cores and memory are as many as there are.
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
    Machine,
    Notice,
    Notices,
    Refused,
    Submission,
    SubmitAnswer,
    Submitted,
    Tracked,
    Unanswered,
)
from jobpool.batch.job_side import JobSide, agent_line
from jobpool.batch.quoting import check_name, exports, shell_lines, single_line
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = ["Local", "make"]

_JOB_SIDE = JobSide(index='"$JOBPOOL_LOCAL_INDEX"', id='"$JOBPOOL_LOCAL_JOB"')

_CAPABILITIES = Capabilities(
    confines_cores=False,  # other pools and programs run on the same cores
    refuses=False,
    queues=False,
    loopback=True,
    shares_machine=True,
)

_NOTICE = Notice("TERM", 10.0)
"""An agent ends in one or two seconds; a checkpoint may take some more."""


def make(directory: Path) -> Local:
    """Return this machine as a batch system, with its records in the directory of the pool."""
    return Local(directory / "local")


@dataclass(frozen=True, slots=True)
class Local:
    """This machine as a :class:`~jobpool.batch.base.BatchSystem`."""

    directory: Path
    """Where the records of its jobs are; one directory per pool."""
    python: str = sys.executable
    name: str = "local"
    capabilities: Capabilities = _CAPABILITIES
    settle: float = 0.0
    settings: frozenset[str] | None = None
    """What was written for a cluster must run here, too."""

    def presence(self, machine: Machine) -> None:
        """Return None: it is always there."""
        return

    def notices(self, site: Limits) -> Notices:
        """Say what a job is told: SIGTERM."""
        return Notices(walltime=_NOTICE, delete=_NOTICE)

    def directives(self, request: Request, site: Limits) -> tuple[Directive, ...]:
        """Say what the request becomes: a walltime is all that is enforced here."""
        if request.walltime is None:
            return ()
        return (Directive(f"--walltime={float(request.walltime):g}", f"walltime={request.walltime}; in seconds."),)

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        """Make one command that starts all jobs, with the caller's environment."""
        argv = self._argv("submit", str(self.directory), check_name(job.name), str(count))
        text = self._script(job)
        return Submission({f"{job.name}.sh": text}, Command(argv, stdin=text, environment=tuple(environment.items())))

    def _script(self, job: JobScript) -> str:
        notices = self.notices(job.site)
        head = [
            shlex.quote(f"--log-directory={single_line(str(job.log_directory), 'the log directory')}"),
            shlex.quote(f"--working-directory={single_line(str(job.working_directory), 'the working directory')}"),
            f"--notice={notices.after_delete:g}",
            *(directive.text for directive in self.directives(job.request, job.site)),
        ]
        body = [
            "umask 077",
            *exports(job.environment),
            *shell_lines(job.request.setup),
            f"exec {agent_line(job.argv, _JOB_SIDE, notices)}",
        ]
        return "\n".join(["#!/bin/bash", *(f"#JOBPOOL {line}" for line in head), "", *body, ""])

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        return job.log_directory / f"{job.name}-{index}.log"

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read its answer."""
        match _json(done):
            case {"jobs": [*ids]} if done.ok and len(ids) == count and all(isinstance(id, str) for id in ids):
                return Submitted(tuple(JobId(id) for id in ids))
            case {"refused": str(words)}:
                return Refused(words)
            case _:
                return Doubtful(_words(done))

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one command that shows all jobs of these submissions, ended ones for as long as the pool lives."""
        return (Command(self._argv("poll", str(self.directory), *_names(submissions))),)

    def find(self, name: str) -> tuple[Command, ...]:
        """Make none: the poll finds by name."""
        return ()

    def parse_poll(self, done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
        """Read its answer."""
        (answer,) = done
        match _json(answer):
            case {"jobs": [*jobs]} if answer.ok:
                return tuple(seen for job in jobs if (seen := _seen(job)))
            case _:
                return Unanswered(_words(answer))

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make none, ever: the poll tells all endings."""
        return ()

    def parse_account(
        self, done: Sequence[Completed], submissions: Sequence[Tracked]
    ) -> Mapping[JobId, Ending | JobState]:
        """Return nothing, since nothing was asked."""
        return {}

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending as it is: nobody writes into a local job's log but the job."""
        return ending

    def starts(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make none: nothing waits."""
        return ()

    def parse_starts(self, done: Sequence[Completed]) -> Mapping[JobId, float]:
        """Return nothing, since nothing was asked."""
        return {}

    def estimate(self, job: JobScript, *, environment: Mapping[str, str]) -> None:
        """Return None: it starts at once."""
        return

    def parse_estimate(self, done: Completed) -> Unanswered:
        """Return that nothing was asked."""
        return Unanswered("nothing was asked")

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make one command that cancels all."""
        targets = (*_names(submissions), *ids)
        return (Command(self._argv("cancel", str(self.directory), *targets)),) if targets else ()

    def parse_cancel(self, done: Completed) -> Doubtful | None:
        """Read its answer."""
        return None if done.ok else Doubtful(_words(done))

    def limits(self, user: str) -> tuple[Command, ...]:
        """Ask nothing: what was written for a cluster must run on a laptop too, its calls sharing what is there."""
        return ()

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Know no limits: nothing is refused."""
        return Limits()

    def _argv(self, *words: str) -> tuple[str, ...]:
        # -P: a file in the current directory that is named like a module must not stand in for it.
        return (self.python, "-P", "-m", "jobpool.local_jobs.commands", *words)


def _names(submissions: Sequence[Tracked]) -> tuple[str, ...]:
    return tuple(check_name(submission.name) for submission in submissions)


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
        message=ending.message if ending else state,
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
        message=", ".join(word for word in told if word),
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
