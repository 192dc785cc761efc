"""HTCondor, from version 23 on: its commands, each beside the parser of its answer.

::

    JobScript ──description, script──► two files ──► condor_submit -terse  ──► ids | refused | doubtful
              ──environment──► variables, in a file of the pool's directory
                       names ────────► condor_q, one for all               ──► what each job does; held ones, why
                       names ────────► condor_history, one for all         ──► how jobs ended
                       names, ids ───► condor_rm
                             limits: condor_status, condor_config_val      ──► what the pool has and allows

A job that has run never runs a second time: its requirements say so, and it removes itself (``periodic_remove``). One
that is held for its walltime or for memory has ended, and leaves the queue by the same line.

What is said here of HTCondor's behaviour was seen on a real one; ``tests/batch/golden`` holds its words.
"""

from __future__ import annotations

import re
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
    NoCluster,
    Notice,
    Notices,
    Submission,
    SubmitAnswer,
    Tracked,
    Unanswered,
)
from jobpool.batch.htcondor import description as condor_description
from jobpool.batch.htcondor import endings, states
from jobpool.batch.htcondor import limits as condor_limits
from jobpool.batch.htcondor import presence as condor_presence
from jobpool.batch.htcondor import script as condor_script
from jobpool.batch.htcondor import submit as condor_submit
from jobpool.batch.htcondor.environment import command, for_jobs
from jobpool.batch.quoting import check_name
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, JobId, JobState
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = ["HTCondor", "make"]

_CAPABILITIES = Capabilities(confines_cores=False, exit_files=True)

_NOTICE = Notice("TERM", condor_description.VACATE)

_SLACK = 24 * 3600
"""Seconds before a submission in which the history is read, too: it is in the order in which jobs left the queue, and
one that took long to be removed left it long after the time that it shows."""

_IDS_AT_ONCE = 500
"""In one condor_rm: 0.1 s (measured)."""


_NAMES_AT_ONCE = 1000
"""In one constraint: of the longest names, 90 of the 128 KiB that an argument may have."""

_Each = TypeVar("_Each")


def make(directory: Path) -> HTCondor:
    """Return HTCondor, which keeps nothing in a pool's directory but what was submitted."""
    return HTCondor()


@dataclass(frozen=True, slots=True)
class HTCondor:
    """HTCondor as a :class:`~jobpool.batch.base.BatchSystem`."""

    name: str = "htcondor"
    capabilities: Capabilities = _CAPABILITIES
    settle: float = 0.1
    settings: frozenset[str] | None = condor_description.SETTINGS

    def presence(self, machine: Machine) -> NoCluster | None:
        """Say whether this machine can give jobs to a pool."""
        return condor_presence.presence(machine)

    def notices(self, site: Limits) -> Notices:
        """Say what a job is told: TERM, and KILL after what the job itself asks for. A suspension is not announced."""
        return Notices(walltime=_NOTICE, delete=_NOTICE, preemption=_NOTICE)

    def directives(self, request: Request, site: Limits) -> tuple[Directive, ...]:
        """Say what the request becomes."""
        return condor_description.directives(request, site)

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        """Make one condor_submit for all jobs; the description travels on stdin, the others stay files."""
        script, description = f"{check_name(job.name)}.sh", f"{job.name}.sub"
        files = {
            script: condor_script.script(job, self.notices(job.site)),
            environment_file.FILE: for_jobs(environment, job.environment),
            description: condor_description.description(job, script, count=count),
        }
        argv = ("condor_submit", "-terse")
        if job.by_file:
            return Submission(files, command(*argv, str(job.directory / description)))
        return Submission(files, command(*argv, stdin=files[description]))

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read the answer of condor_submit."""
        return condor_submit.parse_submit(done, count=count)

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        return condor_script.log_path(job, id)

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending as it is: HTCondor writes nothing into a job's log."""
        return ending

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one condor_q for all submissions, as long as they are not too many for one command line."""
        attributes = ",".join(endings.ATTRIBUTES)
        return tuple(
            command("condor_q", "-json", "-attributes", attributes, "-constraint", _named(part))
            for part in _parts(submissions, _NAMES_AT_ONCE)
        )

    def find(self, name: str) -> tuple[Command, ...]:
        """Make none: condor_q is asked by name."""
        return ()

    def parse_poll(self, done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
        """Read the answer of condor_q."""
        return states.parse_poll(done, submissions)

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one condor_history for all submissions. It reads a file backwards, and is told where to stop."""
        return tuple(self._history(part) for part in _parts(submissions, _NAMES_AT_ONCE))

    def _history(self, submissions: Sequence[Tracked]) -> Command:
        bounds: list[str] = []
        if all(each.since is not None for each in submissions):
            oldest = min((each.since or 0.0 for each in submissions), default=0.0)
            bounds += ["-since", f"EnteredCurrentStatus < {int(oldest - _SLACK)}"]
        if all(each.count is not None for each in submissions):
            bounds += ["-limit", str(sum(each.count or 0 for each in submissions))]
        attributes = ",".join(endings.ATTRIBUTES)
        argv = ("condor_history", "-json", "-attributes", attributes, *bounds, "-constraint", _named(submissions))
        return command(*argv)

    def parse_account(
        self, done: Sequence[Completed], submissions: Sequence[Tracked]
    ) -> Mapping[JobId, Ending | JobState] | Unanswered:
        """Read the answer of condor_history. Held jobs are not in it: they are in the queue."""
        return endings.parse_account(done, submissions)

    def starts(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make none: HTCondor estimates no start."""
        return ()

    def parse_starts(self, done: Sequence[Completed]) -> Mapping[JobId, float]:
        """Return nothing, since nothing was asked."""
        return {}

    def estimate(self, job: JobScript, *, environment: Mapping[str, str]) -> None:
        """Return None: HTCondor estimates no start."""
        return

    def parse_estimate(self, done: Completed) -> Unanswered:
        """Return that nothing was asked."""
        return Unanswered("HTCondor does not estimate when a job would start")

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make one condor_rm for each name, and one for some hundred ids, of which it leaves out those it lacks.

        A word that is no id names no job, and is left out: condor_rm would take it for a user, all of whose jobs it
        removes, and a number alone for a whole cluster.
        """
        by_name = [command("condor_rm", "-constraint", _named([submission])) for submission in submissions]
        single = [id for id in dict.fromkeys(ids) if re.fullmatch(r"[0-9]+\.[0-9]+", id)]
        return (*(command("condor_rm", *part) for part in _parts(single, _IDS_AT_ONCE)), *by_name)

    def parse_cancel(self, done: Completed) -> Doubtful | None:
        """Read the answer of condor_rm; a job that is gone is as good as cancelled."""
        said = [line for line in done.stderr.splitlines() if line.strip()]
        if done.ok or (said and all(_is_gone(line) for line in said)):
            return None
        return Doubtful(done.words or f"condor_rm ended with {done.returncode} and said nothing")

    def limits(self, user: str) -> tuple[Command, ...]:
        """Make the commands that tell what the pool has and allows."""
        return condor_limits.commands()

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Read their answers."""
        return condor_limits.parse(done)


def _parts(whole: Sequence[_Each], size: int) -> Iterator[Sequence[_Each]]:
    return (whole[start : start + size] for start in range(0, len(whole), size))


def _named(submissions: Sequence[Tracked]) -> str:
    return " || ".join(f'JobBatchName =?= "{check_name(submission.name)}"' for submission in submissions)


def _is_gone(line: str) -> bool:
    return line.startswith("Couldn't find/remove all jobs") or (line.startswith("Job ") and line.endswith(" not found"))
