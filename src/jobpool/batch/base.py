"""What a batch system is to jobpool: pairs of pure functions, commands and the parser of their answers.

Nothing here runs anything. ``commands.shell`` runs a :class:`~jobpool.model.command.Command` and hands the
:class:`~jobpool.model.command.Completed` to the parser that stands beside the command::

    submission = system.prepare(job, count=20, environment=os.environ)
    ...                                   # the server writes submission.files into job.directory
    match system.parse_submit(shell.run(submission.command), count=20):
        case Submitted(ids): ...
        case Refused(words): ...          # the batch system said no: nothing is in the queue
        case Doubtful(words): ...         # it may have said yes: look the name up before trying again

One submit command makes the ``count`` jobs of a *submission* under its name, which is unique: the jobs are found again
by name, also when the submit command's answer was lost. Ids are opaque texts; which job has which id, the answer to the
submit command tells, or a poll (:attr:`~jobpool.model.job.Seen.index`).

Each command may be *doubtful*, not the submit command alone: what was killed at its time-out may have been done. A poll
or an account that has no answer says nothing about any job; a cancel is repeated while a poll shows the job.

A new batch system is a folder beside ``slurm``, with a class that has these methods, and a line in ``registry``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    "Machine",
    "NoAccounting",
    "NoCluster",
    "Notice",
    "Notices",
    "Refused",
    "Submission",
    "SubmitAnswer",
    "Submitted",
    "Tracked",
    "Unanswered",
]

# ------------------------------------------------------------------------------------------- what a system is like


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
    exit_files: bool = False
    """Job scripts write exit files (:mod:`.exit_file`): the server reads one when a job is absent from the queue and
    the accounting does not know it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a job is told before it is killed. None in its place: it is killed at once."""

    signal: str
    """Its name as ``kill`` takes it (``TERM``, ``USR2``)."""
    seconds: float
    """From the signal to the kill. ``math.inf``: it depends on what nobody tells, and may be long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """What a job is told by the batch system, by the cause."""

    walltime: Notice | None
    """At the end of its walltime (its own agent takes its leave before)."""
    delete: Notice | None
    """When it is cancelled."""
    preemption: Notice | None = None
    suspension: str | None = None
    """The signal that announces a suspension (``TSTP``). None: there is none."""

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of all signals after which the job is killed."""
        told = (self.walltime, self.delete, self.preemption)
        return tuple(dict.fromkeys(notice.signal for notice in told if notice is not None))

    @property
    def longest(self) -> float:
        """Seconds between a signal and the kill at most; 0 where a job is always killed at once."""
        told = (self.walltime, self.delete, self.preemption)
        return max((notice.seconds for notice in told if notice is not None), default=0.0)

    @property
    def after_delete(self) -> float:
        """Seconds from a cancel until the job is killed, as far as that is known."""
        seconds = 0.0 if self.delete is None else self.delete.seconds
        return 0.0 if math.isinf(seconds) else seconds


@dataclass(frozen=True, slots=True)
class Machine:
    """What may be known of the machine that this runs on. The defaults know no more than which programs there are."""

    which: Callable[[str], str | None] = shutil.which
    """Finds a program."""
    run: Callable[[Command], Completed] | None = None
    """Runs a command. Without it, a batch system's programs count as a cluster."""
    environment: Mapping[str, str] = field(default_factory=dict)
    is_there: Callable[[str], bool] = bool
    """Says whether there is such a file."""


@dataclass(frozen=True, slots=True)
class NoCluster:
    """The batch system's programs are on a machine that belongs to no cluster of it."""

    why: str
    """The end of a sentence (``its commands find no configuration``)."""
    words: str
    """What a command said."""
    advice: str


# --------------------------------------------------------------------------------------------------------- submitting


@dataclass(frozen=True, slots=True)
class Directive:
    """One line for the batch system at the head of a job script, with the reason it is there."""

    text: str
    """As the batch system takes it, without the comment mark (``--cpus-per-task=4``)."""
    why: str
    """A sentence for ``explain``: which setting asked for it and why it has this form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobScript:
    """All that a submission is made from."""

    name: str
    """Name of the submission: letters, digits, ``-``; unique; at most 60 characters; begins with a letter."""
    request: Request
    site: Limits = field(default_factory=Limits)
    """What the site has and allows, as far as it is known: what it calls things, and in which units it counts."""
    directory: Path
    """The pool's. The server writes :attr:`Submission.files` into it; exit files are in a directory of it."""
    log_directory: Path
    """Exists already. One log file per job goes there, stdout and stderr together: :meth:`BatchSystem.log_path`."""
    working_directory: Path
    argv: tuple[str, ...]
    """The agent's command line. The script appends what only the job's own environment tells: the job's place in its
    submission, its id, and more (:mod:`.job_side`)."""
    environment: Mapping[str, str]
    """Variables to set in the job, beside what the batch system passes on."""
    by_file: bool = False
    """The submit command is a site's own program that is given the script as a file, since it reads no stdin."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission that is ready to be made."""

    files: Mapping[str, str]
    """Texts by name, to be written into :attr:`JobScript.directory` before the command runs. They stay there, for
    whoever asks what was submitted; but the one with variables of the user's (:mod:`.environment_file`) is deleted with
    the pool's keys."""
    command: Command


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
    """Nobody knows whether the command was carried out (a time-out, a lost connection)."""

    words: str
    unclear: bool = False
    """The command ended by itself, and its words are neither a yes nor a no, nor those of a lost connection: it is some
    program around it that speaks. Said again and again, and no job found, they are a no."""


SubmitAnswer = Submitted | Refused | Doubtful

# ------------------------------------------------------------------------------------------------------------- asking


@dataclass(frozen=True, slots=True)
class Tracked:
    """A submission as it is asked about."""

    name: str
    ids: Mapping[int, JobId] = field(default_factory=dict)
    """The ids of its jobs by index, as far as they are known. None is known of a submission whose answer was lost, or
    that another process made, until its jobs are seen."""
    count: int | None = None
    """How many jobs it has. None: not known."""
    since: float | None = None
    """Seconds since the epoch: it was not made before. None: not known. It bounds the work of an accounting."""

    @property
    def complete(self) -> bool:
        """Whether the ids of all its jobs are known."""
        return len(self.ids) >= (self.count or 1)


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
    """One batch system. Implementations are stateless and import nothing that acts.

    The module that ``registry`` names for it has a function ``make(directory)``, which returns one; ``directory`` is
    that of the pool.
    """

    @property
    def name(self) -> str:
        """The word for it in ``scheduler=``: ``slurm``, ``local``, ..."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What its jobs can rely on."""
        ...

    @property
    def settle(self) -> float:
        """Seconds that demand should be steady before jobs are asked for: one submit command for a loop of submits."""
        ...

    @property
    def settings(self) -> frozenset[str] | None:
        """The fields of a request, of those in ``settings.OPTIONAL``, for which it has a word. None: it takes all.

        :meth:`directives` raises ``ConfigError`` for a value of another one (``settings.refuse_others``).
        """
        ...

    def presence(self, machine: Machine) -> NoCluster | None:
        """Say whether its commands, which are on the PATH, have a cluster behind them. None: they have, or may have.

        Raises ``BatchSystemUnavailable`` where there is one that cannot be reached since the way to it is lost.
        """
        ...

    def notices(self, site: Limits) -> Notices:
        """Say what a job is told before it is killed or stopped."""
        ...

    # ------------------------------------------------------------------------------------------------- submitting

    def directives(self, request: Request, site: Limits) -> tuple[Directive, ...]:
        """Say what the request becomes, in the order of the script, without name, log and working directory.

        Raises ``ConfigError`` for a value that cannot stand in a directive, and for a setting that it does not have.
        """
        ...

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        """Make all that submits ``count`` jobs: the script, other files, and one command.

        ``environment`` is the caller's; what would mislead the jobs or the command is left out of the command's. Every
        value is quoted; raises ``ConfigError`` for one that cannot be.
        """
        ...

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read the answer. Never guesses: what is neither a yes nor a no is :class:`Doubtful`."""
        ...

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        ...

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending with what the end of the job's log adds to it."""
        ...

    # ----------------------------------------------------------------------------------------------------- asking

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make the commands that show all jobs of these submissions, ended ones too where the queue still knows them.

        They may show more, everything of this user. They run at the same time.
        """
        ...

    def find(self, name: str) -> tuple[Command, ...]:
        """Make the commands that look up a submission of which not all ids are known.

        Empty: :meth:`poll` finds it by name.

        It is asked more than once: a submit command that was killed may be carried out late. They run with those of
        :meth:`poll`, whose parser reads their answers behind the others.
        """
        ...

    def parse_poll(self, done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
        """Read the answers, in the order of the commands. A job that is absent from them is just that: absent.

        :class:`Unanswered` unless all have answered: of what one would have shown nothing is known.
        """
        ...

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make the commands that tell how jobs of these submissions ended.

        Empty: there is nothing to ask of these submissions as they are known now, for example since an accounting takes
        only ids. The server asks again; that there is none at all, :meth:`parse_account` says (:class:`NoAccounting`),
        or no command is ever made.
        """
        ...

    def parse_account(
        self, done: Sequence[Completed], submissions: Sequence[Tracked]
    ) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
        """Read the answers: how jobs ended, or the state of those that live."""
        ...

    def starts(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make the commands that tell when the pending jobs of these submissions may start. Empty: nothing tells."""
        ...

    def parse_starts(self, done: Sequence[Completed]) -> Mapping[JobId, float] | Unanswered:
        """Read the answers: seconds since the epoch, of the jobs for which there is an estimate."""
        ...

    def estimate(self, job: JobScript, *, environment: Mapping[str, str]) -> Submission | None:
        """Make what tells when such a job would start, and submits nothing. None: nothing tells."""
        ...

    def parse_estimate(self, done: Completed) -> float | Unanswered:
        """Read the answer: seconds since the epoch."""
        ...

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make the commands that cancel all jobs of these submissions and, besides, these single jobs.

        Each is safe by itself: where several ids in one command do harm, each id has its own. Where jobs cannot be
        cancelled by name, only what is known by its id is cancelled, and the caller cancels what a poll shows.
        """
        ...

    def parse_cancel(self, done: Completed) -> Doubtful | None:
        """Read the answer of one of them. None: done, or nothing was left to cancel."""
        ...

    # ----------------------------------------------------------------------------------------------- what it says

    def limits(self, user: str) -> tuple[Command, ...]:
        """Make the few commands that tell the site's limits, and what this user may have."""
        ...

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Read their answers, in the same order. What could not be read goes to ``Limits.unknown``."""
        ...
