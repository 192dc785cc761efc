"""PBS Pro and OpenPBS: their commands, each beside the parser of its answer.

::

    JobScript ──script──► text ──submit──► qsub                     ──► id | refused | doubtful
              ──environment──► variables, in a file of the pool's directory
                          ids, names ────► qstat -f -F json -t, qselect ──states──► what each job does
                          ids ───────────► qstat -x -f -F json -t   ──endings──► how they ended
                          ids ───────────► qdel, one id each
                                   limits: qstat -Qf, -Bf, pbsnodes ──► what the site allows

Most sites keep no job history: then a job that has ended is just absent, and its exit file tells its end
(:mod:`jobpool.batch.exit_file`).

What is said here of PBS's behaviour was seen on a real one, OpenPBS 23.06.06; ``tests/batch/golden/pbs`` holds its
words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from jobpool.batch.pbs import directives as pbs_directives
from jobpool.batch.pbs import environment as pbs_environment
from jobpool.batch.pbs import ids as pbs_ids
from jobpool.batch.pbs import job_log, states
from jobpool.batch.pbs import limits as pbs_limits
from jobpool.batch.pbs import presence as pbs_presence
from jobpool.batch.pbs import script as pbs_script
from jobpool.batch.pbs import submit as pbs_submit
from jobpool.batch.pbs.answers import BY_NAME
from jobpool.batch.pbs.environment import UNSET, command
from jobpool.batch.quoting import check_name
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, JobId, JobState
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = ["Pbs", "make"]

_CAPABILITIES = Capabilities(exit_files=True)

_KILL_DELAY = 10.0
"""Seconds from SIGTERM to SIGKILL: PBS's default (``kill_delay`` of a queue); 11 to 12 were seen."""

_MOST_ASKED = 50
"""Submissions that are asked for one by one, 10 to 20 ms each. Of more, all jobs of the site are shown at once: 1.7 kB
for each, of which a large site has tens of thousands, and the server does nothing else meanwhile."""


def make(directory: Path) -> Pbs:
    """Return PBS, which keeps nothing in a pool's directory but the jobs' exit files."""
    return Pbs()


@dataclass(frozen=True, slots=True)
class Pbs:
    """PBS as a :class:`~jobpool.batch.base.BatchSystem`."""

    name: str = "pbs"
    capabilities: Capabilities = _CAPABILITIES
    settle: float = 0.1
    settings: frozenset[str] = pbs_directives.SETTINGS

    def presence(self, machine: Machine) -> NoCluster | None:
        """Say whether this machine belongs to a cluster."""
        return pbs_presence.presence(machine)

    def notices(self, site: Limits) -> Notices:
        """Say what a job is told: TERM, and KILL some ten seconds later. A suspension is not announced."""
        last = Notice("TERM", _KILL_DELAY if site.kill_wait is None else float(site.kill_wait))
        return Notices(walltime=last, delete=last, preemption=last)

    def directives(self, request: Request, site: Limits) -> tuple[Directive, ...]:
        """Say what the request becomes."""
        return pbs_directives.directives(request)

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        """Make one qsub for all jobs, its script on stdin. One job is no array: PBS refuses an array of one.

        ``-f``: without it qsub leaves a process behind, which serves the next ones for a minute.
        """
        file = f"{check_name(job.name)}.sh"
        text = pbs_script.script(
            job,
            self.directives(job.request, job.site),
            self.notices(job.site),
        )
        several = ("-J", f"0-{count - 1}") if count > 1 else ()
        argv = ("qsub", "-f", "-N", job.name, *several, "-o", pbs_script.log_pattern(job, count=count))
        return Submission(
            {file: text, environment_file.FILE: pbs_environment.for_jobs(environment, job.environment)},
            Command(
                (*argv, str(job.directory / file)) if job.by_file else argv,
                stdin=None if job.by_file else text,
                environment=tuple(pbs_environment.for_commands(environment).items()),
                unset=UNSET,
            ),
        )

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read the answer of qsub."""
        return pbs_submit.parse_submit(done, count=count)

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        return pbs_script.log_path(job, index)

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending with what the end of the job's log adds to it."""
        return job_log.read_log(ending, text)

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one qstat for each submission, by its name where no id is known; or one for all jobs of the site, where
        there are many.

        Several ids in one command are no way: some versions show the first of them alone, and say nothing of it (seen).
        """
        if len(submissions) > _MOST_ASKED:
            return (command("qstat", "-f", "-F", "json", "-t"),)
        return tuple(map(_shown, submissions))

    def find(self, name: str) -> tuple[Command, ...]:
        """Make none: :meth:`poll` finds jobs by their names as long as no id is known."""
        return ()

    def parse_poll(self, done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
        """Read the answers of qstat."""
        return states.parse_poll(done, submissions)

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one qstat for each submission whose id is known, for the site's job history."""
        whole = dict.fromkeys(id for submission in submissions if (id := _whole(submission)) is not None)
        return tuple(command("qstat", "-x", "-f", "-F", "json", "-t", id) for id in whole)

    def parse_account(
        self, done: Sequence[Completed], submissions: Sequence[Tracked]
    ) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
        """Read the answers of qstat."""
        return states.parse_account(done)

    def starts(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make the commands of :meth:`poll`: a site that has PBS look ahead has the start times in the same rows."""
        return self.poll(submissions)

    def parse_starts(self, done: Sequence[Completed]) -> Mapping[JobId, float] | Unanswered:
        """Read the answers of qstat."""
        return states.parse_starts(done)

    def estimate(self, job: JobScript, *, environment: Mapping[str, str]) -> None:
        """Return None: nothing tells when a job would start that is not submitted."""
        return

    def parse_estimate(self, done: Completed) -> Unanswered:
        """Return that nothing was asked."""
        return Unanswered("nothing was asked")

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make one qdel for each id, or row of elements: several ids in one can kill the server (seen).

        An array is cancelled by its own id, and with it what of it is not known here.
        """
        whole = [id for submission in submissions if (id := _whole(submission)) is not None]
        return tuple(command("qdel", id) for id in dict.fromkeys((*whole, *pbs_ids.ranges(ids))))

    def parse_cancel(self, done: Completed) -> Doubtful | None:
        """Read the answer of qdel; a job that is gone, or is being ended, is as good as cancelled."""
        said = [line.lower() for line in done.stderr.splitlines() if line.strip()]
        if done.ok or (said and all(any(phrase in line for phrase in _GONE) for line in said)):
            return None
        return Doubtful(pbs_submit.words_of(done))

    def limits(self, user: str) -> tuple[Command, ...]:
        """Make the few commands that tell the site's limits, and what this user may have."""
        return pbs_limits.commands(user)

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Read their answers."""
        return pbs_limits.parse(done)


_GONE = (
    "unknown job id",
    "job has finished",
    "request invalid for finished array subjob",
    "invalid request",  # of an element that the array does not have
    "request invalid for state of job",
)


def _shown(submission: Tracked) -> Command:
    if (whole := _whole(submission)) is not None:
        return command("qstat", "-f", "-F", "json", "-t", whole)
    return command("sh", "-c", BY_NAME, "sh", check_name(submission.name))


def _whole(submission: Tracked) -> str | None:
    """Return the id of all of a submission. None: it is not known."""
    return next(_wholes(submission), None)


def _wholes(submission: Tracked) -> Iterator[str]:
    for id in submission.ids.values():
        if (parsed := pbs_ids.parse(id)) is not None:
            yield parsed.whole
