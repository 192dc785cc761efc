"""SLURM, from version 20.11 on: its commands, each beside the parser of its answer.

::

    JobScript ──script──► text ──submit──► sbatch --parsable      ──► ids | refused | doubtful
                          names ─────────► squeue, one for all    ──states──► what each job does
                          names, ids ────► sacct,  one for all    ──states──► how jobs ended
                          names, ids ────► scancel
                                   limits: scontrol, sinfo, ...   ──► what the site allows

    the user's environment ─────────── environment ──────────────────► what these commands see of it
    the job's environment ──────────── job_side ─────────────────────► what the agent is told of it

What is said here of SLURM's behaviour was seen on a real one; ``tests/batch/golden`` holds its words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

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
from jobpool.batch.settings import options_of
from jobpool.batch.slurm import environment as slurm_environment
from jobpool.batch.slurm import job_log, states
from jobpool.batch.slurm import limits as slurm_limits
from jobpool.batch.slurm import presence as slurm_presence
from jobpool.batch.slurm import script as slurm_script
from jobpool.batch.slurm import submit as slurm_submit
from jobpool.batch.slurm.environment import UNSET, command
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, JobId, JobState
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = ["Slurm", "make"]

_ACCOUNTED_SINCE = "now-7days"
"""How far back sacct looks: without a start it shows today's jobs only, and one that ended before midnight is missing.
A job is asked for soon after it left the queue, so a week is far more than enough, and bounds the database's work."""

_MOST_NAMES = 120_000
"""Characters of names in one argument, of the 128 KiB that it may have."""

_CAPABILITIES = Capabilities()

_KILL_WAIT = 30.0
"""Seconds from SIGTERM to SIGKILL where the site does not say: SLURM's default."""


def make(directory: Path) -> Slurm:
    """Return SLURM, which keeps nothing in a pool's directory."""
    return Slurm()


@dataclass(frozen=True, slots=True)
class Slurm:
    """SLURM as a :class:`~jobpool.batch.base.BatchSystem`."""

    name: str = "slurm"
    capabilities: Capabilities = _CAPABILITIES
    settle: float = 0.1
    settings: frozenset[str] | None = None

    def presence(self, machine: Machine) -> NoCluster | None:
        """Say whether this machine belongs to a cluster."""
        return slurm_presence.presence(machine)

    def notices(self, site: Limits) -> Notices:
        """Say what a job is told: TERM, and KILL after the site's KillWait; before a preemption GraceTime comes first.

        The partition's or the QoS's GraceTime may be minutes. TSTP comes two seconds before a suspension.
        """
        last = Notice("TERM", _KILL_WAIT if site.kill_wait is None else float(site.kill_wait))
        return Notices(walltime=last, delete=last, preemption=Notice("TERM", math.inf), suspension="TSTP")

    def directives(self, request: Request, site: Limits) -> tuple[Directive, ...]:
        """Say what the request becomes."""
        options_of(request, {}, title="SLURM")
        return slurm_script.directives(request)

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        """Make one sbatch for all jobs; the script travels on stdin, so no file of it need be there on the nodes."""
        head = slurm_script.head(job, count=count)
        text = slurm_script.script(job, head, self.notices(job.site))
        several = (f"--array=0-{count - 1}",) if count > 1 else ()
        file = f"{check_name(job.name)}.sh"
        argv = ("sbatch", "--parsable", f"--job-name={job.name}", *several)
        cleaned = slurm_environment.for_jobs(environment, slurm_script.stated_options(head))
        return Submission(
            {file: text},
            Command(
                (*argv, str(job.directory / file)) if job.by_file else argv,
                stdin=None if job.by_file else text,
                environment=tuple(cleaned.items()),
                unset=UNSET,
            ),
        )

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read the answer of sbatch."""
        return slurm_submit.parse_submit(done, count=count)

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        return slurm_script.log_path(job, id)

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending with what the end of the job's log adds to it."""
        return job_log.read_log(ending, text)

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one squeue for all submissions; ``--me`` spares the controller a list of everybody's jobs."""
        return (
            command(
                "squeue", "--me", "--all", "--array", "--states=all", "--noheader",
                *_named(submissions), f"--Format={states.POLL_FORMAT}",
            ),
        )  # fmt: skip

    def find(self, name: str) -> tuple[Command, ...]:
        """Make none: squeue is asked by name."""
        return ()

    def parse_poll(self, done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
        """Read the answer of squeue."""
        (answer,) = done
        return states.parse_poll(answer, {submission.name: submission.ids for submission in submissions})

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one sacct for all submissions. Of a requeued job it tells the last run (``--duplicates`` all).

        Asked by id it knows held jobs and those whose time has not come, too; by name those that may start (seen). An
        array has one id. The names stay beside: ids begin anew when a controller has lost its state.
        """
        ids = (id for submission in submissions for id in submission.ids.values())
        arrays = dict.fromkeys(id.partition("_")[0] for id in ids if re.fullmatch(r"[0-9]+(_[0-9]+)?", id))
        which = f"--jobs={','.join(arrays)}" if arrays else f"--starttime={_ACCOUNTED_SINCE}"
        return (
            command(
                "sacct", "--allocations", "--parsable2", "--noheader", which,
                *_named(submissions), f"--format={states.ACCOUNT_FORMAT}",
            ),
        )  # fmt: skip

    def parse_account(
        self, done: Sequence[Completed], submissions: Sequence[Tracked]
    ) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
        """Read the answer of sacct."""
        (answer,) = done
        return states.parse_account(answer)

    def starts(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one squeue for the start times that the scheduler has planned; it plans some jobs ahead, not all."""
        return (
            command(
                "squeue", "--me", "--all", "--array", "--states=PENDING", "--noheader",
                *_named(submissions), f"--Format={states.STARTS_FORMAT}",
            ),
        )  # fmt: skip

    def parse_starts(self, done: Sequence[Completed]) -> Mapping[JobId, float] | Unanswered:
        """Read the answer of squeue."""
        (answer,) = done
        return states.parse_starts(answer)

    def estimate(self, job: JobScript, *, environment: Mapping[str, str]) -> Submission:
        """Make one sbatch that only asks. It takes a time limit above the partition's: check the request before."""
        made = self.prepare(job, count=1, environment=environment)
        argv = ("sbatch", "--test-only", *made.command.argv[2:])
        files = made.files if job.by_file else {}
        return replace(made, files=files, command=replace(made.command, argv=argv))

    def parse_estimate(self, done: Completed) -> float | Unanswered:
        """Read what sbatch says on stderr."""
        return slurm_submit.parse_estimate(done)

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make one scancel for all ids, and one for each name.

        Of several ``--name`` scancel takes the last one, and a name beside ids is a filter on them. A plain scancel
        ends the script's whole process tree: CONT, TERM, and KILL after the site's KillWait; no ``--full`` is needed.
        """
        by_name = tuple(command("scancel", f"--name={check_name(submission.name)}") for submission in submissions)
        ranges = tuple(_ranges(ids))
        return (command("scancel", *ranges), *by_name) if ranges else by_name

    def parse_cancel(self, done: Completed) -> Doubtful | None:
        """Read the answer of scancel, which is silent about jobs that are gone."""
        gone = ("already completing or completed", "invalid job id specified")
        said = [line for line in done.stderr.splitlines() if line.strip()]
        if done.ok or (said and all(any(word in line.lower() for word in gone) for line in said)):
            return None
        return Doubtful(done.words or f"scancel ended with {done.returncode} and said nothing")

    def limits(self, user: str) -> tuple[Command, ...]:
        """Make the few commands that tell the site's limits, and what this user may have."""
        return slurm_limits.commands(user)

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Read their answers."""
        return slurm_limits.parse(done)


def _named(submissions: Sequence[Tracked]) -> tuple[str, ...]:
    """Return the option for these names. None for thousands: no argument may be so long; then more is shown."""
    names = ",".join(check_name(submission.name) for submission in submissions)
    return () if len(names) > _MOST_NAMES else (f"--name={names}",)


def _ranges(ids: Iterable[JobId]) -> Iterator[str]:
    """Write ids as scancel takes them at once: ``1343_[0-99,107]`` costs one message, a hundred ids a hundred.

    What is not an id of SLURM's names no job, and is left out.
    """
    arrays: dict[str, set[int]] = {}
    for id in dict.fromkeys(ids):
        match re.fullmatch(r"([0-9]+)(?:_([0-9]{1,9}))?", id):
            case re.Match() as found if found[2] is None:
                yield found[1]
            case re.Match() as found:
                arrays.setdefault(found[1], set()).add(int(found[2]))
            case None:
                continue
    for base, indices in arrays.items():
        yield f"{base}_[{','.join(_runs(sorted(indices)))}]"


def _runs(indices: Sequence[int]) -> Iterator[str]:
    for _, group in groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0]):
        run = [index for _, index in group]
        yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
