"""OAR, version 2.5 and 2.6: its commands, each beside the parser of its answer.

::

    JobScript ──script──► a file in the pool's directory, and oarsub ... "exec bash FILE" ──► ids | refused | doubtful
                          names ─────────► oarstat, one for all   ──states──► what each job does, and how it ended
                          names, ids ────► oardel
                                   limits: oarnodes, oarstat      ──► what the site has

    the user's environment ─────────── environment ──────────────────► what the job script sets: OAR hands on nothing
    the job's environment ──────────── job_side ─────────────────────► what the agent is told of it

What is said here of OAR's behaviour was seen on a real one, 2.6.1; ``tests/batch/golden/oar`` holds its words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jobpool.batch import environment_file
from jobpool.batch.base import (
    Answer,
    Capabilities,
    Directive,
    Doubtful,
    JobScript,
    Machine,
    NoAccounting,
    NoCluster,
    Notice,
    Notices,
    Submission,
    SubmitAnswer,
    Tracked,
    Unanswered,
)
from jobpool.batch.oar import environment as oar_environment
from jobpool.batch.oar import limits as oar_limits
from jobpool.batch.oar import presence as oar_presence
from jobpool.batch.oar import script as oar_script
from jobpool.batch.oar import states
from jobpool.batch.oar import submit as oar_submit
from jobpool.batch.oar.environment import command
from jobpool.batch.quoting import check_name
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, JobId, JobState
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = ["Oar", "make"]

_CAPABILITIES = Capabilities()

_NOT_ENDED = "state NOT IN ('Terminated', 'Error')"


_AT_ONCE = 1000
"""Names, or ids, in one condition: of the longest names, 64 of the 128 KiB that an argument may have."""

_Each = TypeVar("_Each")


def make(directory: Path) -> Oar:
    """Return OAR, which keeps nothing but scripts in a pool's directory."""
    return Oar()


@dataclass(frozen=True, slots=True)
class Oar:
    """OAR as a :class:`~jobpool.batch.base.BatchSystem`."""

    name: str = "oar"
    capabilities: Capabilities = _CAPABILITIES
    # Each oarsub takes a third of a second, and starts the scheduler.
    settle: float = 0.2
    settings: frozenset[str] | None = oar_script.SETTINGS

    def presence(self, machine: Machine) -> NoCluster | None:
        """Say whether this machine belongs to a cluster."""
        return oar_presence.presence(machine)

    def notices(self, site: Limits) -> Notices:
        """Say that at a delete and at its walltime OAR sends SIGKILL at once (seen).

        A besteffort job is asked for with a signal before it is killed for another.
        """
        return Notices(walltime=None, delete=None, preemption=Notice("USR2", float(oar_script.NOTICE)))

    def directives(self, request: Request, site: Limits) -> tuple[Directive, ...]:
        """Say what the request becomes."""
        return oar_script.directives(request, site)

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        """Make one oarsub for all jobs. It reads no script on stdin: the file must be there on the nodes."""
        file = f"{check_name(job.name)}.sh"
        return Submission(
            {
                file: oar_script.script(job, self.notices(job.site)),
                environment_file.FILE: environment_file.text(
                    environment_file.handed_on(oar_environment.handed_on(environment)), job.environment
                ),
            },
            Command(
                oar_script.submit_argv(job, count=count, script_file=job.directory / file),
                environment=tuple(oar_environment.for_commands(environment).items()),
                unset=oar_environment.UNSET,
            ),
        )

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read the answer of oarsub."""
        return oar_submit.parse_submit(done, count=count)

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        return oar_script.log_path(job, id)

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending as it is: what OAR writes there, its events say too."""
        return ending

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one oarstat for all submissions. It knows jobs that have ended, for as long as the database has them."""
        return tuple(_oarstat(_of(part)) for part in _parts(submissions))

    def find(self, name: str) -> tuple[Command, ...]:
        """Make none: oarstat is asked by name."""
        return ()

    def parse_poll(self, done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
        """Read the answer of oarstat."""
        return states.parse_poll(done, [submission.name for submission in submissions])

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one oarstat: the database that the poll asks is the accounting, too."""
        return self.poll(submissions)

    def parse_account(
        self, done: Sequence[Completed], submissions: Sequence[Tracked]
    ) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
        """Read the answer of oarstat."""
        return states.parse_account(done)

    def starts(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one oarstat for the start times that the scheduler has planned."""
        return tuple(_oarstat(f"{_of(part)} AND state = 'Waiting'") for part in _parts(submissions))

    def parse_starts(self, done: Sequence[Completed]) -> Mapping[JobId, float] | Unanswered:
        """Read the answer of oarstat."""
        return states.parse_starts(done)

    def estimate(self, job: JobScript, *, environment: Mapping[str, str]) -> None:
        """Return None: OAR plans only jobs that are submitted."""
        return

    def parse_estimate(self, done: Completed) -> Unanswered:
        """Return that nothing was asked."""
        return Unanswered("nothing was asked")

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make one oardel for all names and ids: of several jobs, those that cannot be deleted keep no other."""
        known = [id for id in dict.fromkeys(ids) if id.isdecimal()]
        which = [_of(part) for part in _parts(submissions)]
        which += [f"job_id IN ({', '.join(part)})" for part in _parts(known)]
        if len(submissions) + len(known) <= _AT_ONCE and which:
            which = [" OR ".join(which)]
        return tuple(command("oardel", "--sql", f"({each}) AND {_NOT_ENDED}") for each in which)

    def parse_cancel(self, done: Completed) -> Doubtful | None:
        """Read the answer of oardel, which complains of jobs that are gone.

        With the server stopped it notes the delete in the database and fails: it is told again later.
        """
        said = [line for line in done.stderr.splitlines() if line.startswith("Cannot frag ")]
        gone = ("already killed", "not the right user")  # the latter is said of ids that there are not, too
        if done.ok or (done.returncode in (1, 6) and said and all(any(word in line for word in gone) for line in said)):
            return None
        return Doubtful(done.words or f"oardel ended with {done.returncode} and said nothing")

    def limits(self, user: str) -> tuple[Command, ...]:
        """Make the commands that tell what the site has."""
        return oar_limits.commands()

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Read their answers."""
        return oar_limits.parse(done)


def _oarstat(where: str) -> Command:
    return command("oarstat", "-J", "--sql", where)


def _parts(whole: Sequence[_Each]) -> Iterator[Sequence[_Each]]:
    return (whole[start : start + _AT_ONCE] for start in range(0, len(whole), _AT_ONCE))


def _of(submissions: Sequence[Tracked]) -> str:
    return f"job_name IN ({', '.join(repr(check_name(submission.name)) for submission in submissions)})"
