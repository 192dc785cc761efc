"""What a batch system is to jobpool: pairs of pure functions, a command and the parser of its answer.

Nothing here runs anything. ``server.shell`` runs a :class:`~jobpool.model.request.Command` and hands the
:class:`~jobpool.model.request.Completed` to the parser that stands beside the command::

    command = system.submit(script, count=20)
    match system.parse_submit(shell.run(command), count=20):
        case Submitted(ids): ...
        case Refused(words): ...      # the batch system said no: nothing is in the queue
        case Doubtful(words): ...     # it may have said yes: look the name up before trying again

A *submission* is one submit command. It has a unique name (the job name), makes ``count`` jobs, and is how jobs are
found again: by name, in one command for all submissions of a pool, also when the submit command's answer was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = [
    "Answer",
    "BatchSystem",
    "Capabilities",
    "Directive",
    "Doubtful",
    "JobScript",
    "NoAccounting",
    "Refused",
    "SubmitAnswer",
    "Submitted",
    "Unanswered",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What jobs of a batch system can rely on, and what the server must do for them."""

    confines_cores: bool = True
    """A job gets cores of its own, so that its workers may be bound to them."""
    refuses: bool = True
    """There are limits, by which a request may be refused. False: every request is taken."""
    queues: bool = True
    """A job may wait before it starts. False: it starts at once, so that nothing need be tried or estimated first."""
    loopback: bool = False
    """All jobs run on the host of the server, which then listens on the loopback address alone."""
    shares_machine: bool = False
    """Jobs run beside the user's other programs on this machine: what there is of cores and memory is what it has."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One line for the batch system at the head of a job script, with the reason it is there."""

    text: str
    """As the batch system takes it, without the comment mark (``--cpus-per-task=4``)."""
    why: str
    """A sentence for ``explain``: which setting asked for it and why it has this form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobScript:
    """All that a job script is made from."""

    name: str
    """Name of the submission: letters, digits, ``-``; unique; at most 60 characters; begins with a letter."""
    request: Request
    log_directory: Path
    """Exists already. One log file per job goes there, stdout and stderr together: :meth:`BatchSystem.log_path`."""
    working_directory: Path
    argv: tuple[str, ...]
    """The agent's command line. The script appends ``--index N`` (the job's place in its submission, from 0)
    and ``--job-id ID`` (the batch system's id), both from the batch system's variables."""
    environment: Mapping[str, str]
    """Variables to set in the job, beside what the batch system passes on."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The batch system took the submission. ``ids[i]`` is the job with index i."""

    ids: tuple[JobId, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The batch system said no; nothing is in the queue. ``temporary``: a limit on submits, so worth asking again."""

    words: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Doubtful:
    """The command failed in a way that does not tell whether the jobs exist (a time-out, a lost connection)."""

    words: str
    unclear: bool = False
    """The command ended by itself, and its words are neither a yes nor a no, nor those of a lost connection: it is some
    program around it that speaks. Said again and again, and no job found, they are a no."""


SubmitAnswer = Submitted | Refused | Doubtful


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The batch system could not be asked just now. Says nothing about any job."""

    words: str


@dataclass(frozen=True, slots=True)
class NoAccounting:
    """There is no accounting here, and there will be none: do not ask again."""

    words: str


Answer = tuple[Seen, ...]


class BatchSystem(Protocol):
    """One batch system. Implementations are stateless and import nothing that acts."""

    @property
    def name(self) -> str:
        """The word for it in ``scheduler=``: ``slurm``, ``local``, ..."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What its jobs can rely on."""
        ...

    @property
    def commands(self) -> tuple[str, ...]:
        """Programs that must be on the PATH for it to be used; looked for by ``registry.detect``."""
        ...

    @property
    def settle(self) -> float:
        """Seconds that demand should be steady before jobs are asked for: one submit command for a loop of submits."""
        ...

    def directives(self, request: Request) -> tuple[Directive, ...]:
        """Say what the request becomes, in the order of the script, without name, log and working directory."""
        ...

    def script(self, job: JobScript) -> str:
        """Write the whole job script. Every value is quoted; raises ``ConfigError`` for one that cannot be."""
        ...

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        ...

    def submit(self, script: str, *, name: str, count: int, environment: Mapping[str, str]) -> Command:
        """Make one command that submits ``count`` jobs (an array when there is more than one).

        ``environment`` is the caller's; what would mislead the job or the command is left out of the command's.
        """
        ...

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read its answer. Never guesses: what is neither a yes nor a no is :class:`Doubtful`."""
        ...

    def poll(self, names: Sequence[str]) -> Command:
        """Make one command that shows all jobs of these submissions, ended ones too where the queue still knows them.

        It also serves to look up a doubtful submission.
        """
        ...

    def parse_poll(self, done: Completed) -> Answer | Unanswered:
        """Read its answer. A job that is absent from it is just that: absent."""
        ...

    def account(self, names: Sequence[str], ids: Sequence[JobId] = ()) -> Command | None:
        """Make one command that tells how jobs of these submissions ended. None: there is no such command.

        ``ids`` are those of their jobs, as far as they are known: the accounting may tell more of them.
        """
        ...

    def parse_account(self, done: Completed) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
        """Read its answer: how jobs ended, or the state of those that live."""
        ...

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending with what the end of the job's log adds to it."""

    def starts(self, names: Sequence[str]) -> Command | None:
        """Make one command that tells when the pending jobs of these submissions may start. None: there is none."""
        ...

    def parse_starts(self, done: Completed) -> Mapping[JobId, float] | Unanswered:
        """Read its answer: seconds since the epoch, of the jobs for which there is an estimate."""
        ...

    def estimate(self, script: str, *, environment: Mapping[str, str]) -> Command | None:
        """Make one command that tells when such a job would start, and submits nothing. None: there is none."""
        ...

    def parse_estimate(self, done: Completed) -> float | Unanswered:
        """Read its answer: seconds since the epoch."""
        ...

    def cancel(self, names: Sequence[str], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make the commands that cancel all jobs of these submissions and, besides, these single jobs.

        All ids go into one command; a name may cost one of its own (SLURM's scancel takes a single ``--name``), so
        prefer ids where they are known.
        """
        ...

    def parse_cancel(self, done: Completed) -> Unanswered | None:
        """Read the answer of one of them. None: done, or nothing was left to cancel."""
        ...

    def limits(self, user: str) -> tuple[Command, ...]:
        """Make the few commands that tell the site's limits, and what this user may have."""
        ...

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Read their answers, in the same order. What could not be read goes to ``Limits.unknown``."""
        ...
