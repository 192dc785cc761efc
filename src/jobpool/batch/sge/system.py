"""Grid Engine (SGE 6.2 to 8.1, and its descendants): its commands, each beside the parser of its answer.

::

    JobScript ──script──► text ──submit──► qsub -terse            ──► ids | refused | doubtful
              ──environment──► variables, in a file of the pool's directory
                          names ─────────► qstat -xml, one for all    ──states───► what each job does
                          names ─────────► qstat -j,   one for all    ──waiting──► why they wait
                          names ─────────► qacct,      one for all    ──accounts─► how jobs ended, and their exit files
                          names, ids ────► qdel
                                   limits: qconf, qhost, qstat -g c   ──► what the site allows

What is said here of Grid Engine's behaviour was seen on a real one; ``tests/batch/golden/sge`` holds its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

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
from jobpool.batch.quoting import check_name
from jobpool.batch.sge import accounts, states
from jobpool.batch.sge import environment as sge_environment
from jobpool.batch.sge import job_log as sge_log
from jobpool.batch.sge import limits as sge_limits
from jobpool.batch.sge import presence as sge_presence
from jobpool.batch.sge import script as sge_script
from jobpool.batch.sge import submit as sge_submit
from jobpool.batch.sge.environment import UNSET, command
from jobpool.batch.sge.rules import GridEngineRules
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, JobId, JobState
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = ["GridEngine", "make"]

_CAPABILITIES = Capabilities(confines_cores=False, exit_files=True)
"""A slot is a number: a job is not kept to cores unless a site or ``-binding`` does it."""

_NOTIFY = 60.0
"""Seconds from USR2 to KILL where the site does not say: the default of a queue's ``notify``."""

_REASONS_OF = 20
"""Submissions whose reasons are asked for: the last ones, which are those that wait. (Each running element of an array
is a kilobyte of the answer.)"""

_IDS = 1000
"""Ids in one qdel."""

_DONE = re.compile(
    r"has (registered|deleted) .*|has marked .*|.*does not exist|job \S+ is already in deletion"
    r"|there is no job registered for the following users.*",
    re.IGNORECASE,
)


def make(directory: Path) -> GridEngine:
    """Return Grid Engine, which keeps nothing in a pool's directory but what its submissions are made from."""
    return GridEngine()


@dataclass(frozen=True, slots=True)
class GridEngine:
    """Grid Engine as a :class:`~jobpool.batch.base.BatchSystem`."""

    name: str = "sge"
    capabilities: Capabilities = _CAPABILITIES
    settle: float = 0.1
    settings: frozenset[str] | None = sge_script.SETTINGS

    def presence(self, machine: Machine) -> NoCluster | None:
        """Say whether this machine belongs to a cluster."""
        return sge_presence.presence(machine)

    def notices(self, site: Limits) -> Notices:
        """Say what a job is told (``-notify``): USR2, and KILL after the queue's ``notify``; never TERM.

        At the end of the walltime the signal comes then, and not before: the job lives on for that time. USR1 announces
        a suspension.
        """
        notice = Notice("USR2", _NOTIFY if site.kill_wait is None else float(site.kill_wait))
        return Notices(walltime=notice, delete=notice, preemption=None, suspension="USR1")

    def directives(self, request: Request, site: Limits) -> tuple[Directive, ...]:
        """Say what the request becomes."""
        return sge_script.directives(request, _rules(site))

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        """Make one qsub for all jobs; the script travels on stdin, the user's variables in a file beside it."""
        lines = self.directives(job.request, job.site)
        text = sge_script.script(job, lines, self.notices(job.site))
        file = f"{check_name(job.name)}.sh"
        argv = ("qsub", *sge_script.arguments(job, count=count))
        return Submission(
            {file: text, environment_file.FILE: sge_environment.for_jobs(environment, job.environment)},
            Command(
                (*argv, str(job.directory / file)) if job.by_file else argv,
                stdin=None if job.by_file else text,
                environment=tuple(sge_environment.for_commands(environment).items()),
                unset=UNSET,
            ),
        )

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read the answer of qsub."""
        return sge_submit.parse_submit(done, count=count)

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        return sge_script.log_path(job, id)

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending with what the end of the job's log adds to it."""
        return sge_log.read_log(ending, text)

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one qstat for all jobs of the user, and one for the reasons of those that may wait.

        qstat puts in the user's name for ``$user``. Options of a user's ``.sge_qstat`` are overruled.
        """
        names = [check_name(submission.name) for submission in submissions][-_REASONS_OF:]
        listing = command("qstat", "-xml", "-u", "$user", "-s", "prs")
        return (listing, command("qstat", "-xml", "-j", ",".join(names))) if names else (listing,)

    def find(self, name: str) -> tuple[Command, ...]:
        """Make none: the listing shows names."""
        return ()

    def parse_poll(self, done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
        """Read the answers."""
        listing, *told = done
        names = frozenset(submission.name for submission in submissions)
        return states.parse_poll(listing, told[0] if told else None, names)

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one qacct for all submissions."""
        return accounts.commands(submissions)

    def parse_account(
        self, done: Sequence[Completed], submissions: Sequence[Tracked]
    ) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
        """Read the answer of qacct."""
        return accounts.parse(done, submissions)

    def starts(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make none: Grid Engine tells no start times."""
        return ()

    def parse_starts(self, done: Sequence[Completed]) -> Mapping[JobId, float] | Unanswered:
        """Return nothing, since nothing was asked."""
        return {}

    def estimate(self, job: JobScript, *, environment: Mapping[str, str]) -> Submission | None:
        """Return None: nothing tells when a job would start."""
        return None

    def parse_estimate(self, done: Completed) -> float | Unanswered:
        """Return that nothing was asked."""
        return Unanswered("nothing was asked")

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make one qdel for all: it takes names and ids, and does what it can of them.

        Never with ``-f``: for a job on a lost node that hangs for more than a minute (seen).
        """
        what = [*(check_name(submission.name) for submission in submissions), *_ranges(ids)]
        return tuple(command("qdel", *what[start : start + _IDS]) for start in range(0, len(what), _IDS))

    def parse_cancel(self, done: Completed) -> Doubtful | None:
        """Read the answer of qdel; a job that is gone is as good as deleted."""
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        if done.returncode is not None and (done.ok or said) and all(_DONE.search(line) for line in said):
            return None
        return Doubtful(done.words or f"qdel ended with {done.returncode} and said nothing")

    def limits(self, user: str) -> tuple[Command, ...]:
        """Make the few commands that tell the site's limits, and what this user may have."""
        return sge_limits.commands(user)

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Read their answers."""
        return sge_limits.parse(done)


def _rules(site: Limits) -> GridEngineRules:
    return site.rules if isinstance(site.rules, GridEngineRules) else GridEngineRules()


def _ranges(ids: Iterable[JobId]) -> Iterator[str]:
    """Write ids as qdel takes them at once: ``13.1-20``. What is not an id of Grid Engine's names no job."""
    arrays: dict[str, set[int]] = {}
    for id in dict.fromkeys(ids):
        match re.fullmatch(r"([0-9]+)(?:\.([0-9]{1,9}))?", id):
            case re.Match() as found if found[2] is None:
                yield found[1]
            case re.Match() as found:
                arrays.setdefault(found[1], set()).add(int(found[2]))
            case None:
                continue
    for number, tasks in arrays.items():
        for first, last in _runs(sorted(tasks)):
            yield f"{number}.{first}" if first == last else f"{number}.{first}-{last}"


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield run[0], run[-1]
