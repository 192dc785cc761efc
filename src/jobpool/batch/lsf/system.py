"""LSF, from version 10.1 on: its commands, each beside the parser of its answer.

::

    JobScript ──script──► text ──submit──► bsub              ──► ids | refused | doubtful
                          ids ───────────► bjobs, one for all ──states──► what each job does
                          ids ───────────► bhist             ──history──► how jobs ended
                          names, ids ────► bkill
                                   limits: bqueues, bhosts, ...   ──► what the site allows

    the user's environment ─────────── environment ──────────────────► what these commands see of it
    the job's environment ──────────── job_side ─────────────────────► what the agent is told of it

No LSF was at hand. What is said here of its behaviour is in its documentation, in answers of real ones that others have
published, or was seen on an open relative of it; ``tests/batch/golden/lsf`` holds the words, each with its source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from jobpool.batch.lsf import cancel as lsf_cancel
from jobpool.batch.lsf import directives as lsf_directives
from jobpool.batch.lsf import environment as lsf_environment
from jobpool.batch.lsf import history, states
from jobpool.batch.lsf import limits as lsf_limits
from jobpool.batch.lsf import presence as lsf_presence
from jobpool.batch.lsf import script as lsf_script
from jobpool.batch.lsf import submit as lsf_submit
from jobpool.batch.lsf.environment import UNSET, command
from jobpool.batch.lsf.options import options_of_line, words_of
from jobpool.batch.quoting import check_name
from jobpool.model.command import Command, Completed
from jobpool.model.errors import ConfigError
from jobpool.model.job import Ending, JobId, JobState
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = ["Lsf", "make"]

_CAPABILITIES = Capabilities(exit_files=True)
"""The queue forgets a job after CLEAN_PERIOD, an hour by default, and bhist reads the newest of its files."""

_KILL_WAIT = 20.0
"""Seconds from INT to KILL where the site does not say; TERM comes in the middle (JOB_TERMINATE_INTERVAL is 10)."""

_AFTER_WALLTIME = 600.0
"""Seconds from USR2 at the end of a walltime to the kill (bsub(1), -W)."""

_FILES = "4"
"""Of the files with events, so many of the newest are read by bhist: a file may be full after a thousand jobs."""

_SUBMITTING = 100.0
"""Seconds. With one try bsub says at once that the user has as many pending jobs as she may (seen on an open relative
of LSF); should a try be followed by its wait of a minute, it says so after that."""


def make(directory: Path) -> Lsf:
    """Return LSF, which keeps nothing in a pool's directory but what all systems do."""
    return Lsf()


@dataclass(frozen=True, slots=True)
class Lsf:
    """LSF as a :class:`~jobpool.batch.base.BatchSystem`."""

    name: str = "lsf"
    capabilities: Capabilities = _CAPABILITIES
    settle: float = 0.2
    settings: frozenset[str] | None = lsf_directives.SETTINGS

    def presence(self, machine: Machine) -> NoCluster | None:
        """Say whether this machine belongs to a cluster."""
        return lsf_presence.presence(machine)

    def notices(self, site: Limits) -> Notices:
        """Say what a job is told: USR2 at the end of its walltime; INT, TERM, KILL when it is cancelled or preempted.

        A job of several slots may be killed at once (LSB_USE_SEQUENTIAL_SIGNAL), and the queue may send other signals.
        """
        wait = _KILL_WAIT if site.kill_wait is None else float(site.kill_wait)
        return Notices(
            walltime=Notice("USR2", _AFTER_WALLTIME), delete=Notice("INT", wait), preemption=Notice("TERM", wait / 2)
        )

    def directives(self, request: Request, site: Limits) -> tuple[Directive, ...]:
        """Say what the request becomes."""
        return lsf_directives.directives(request, site)

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        """Make one bsub for all jobs; the script travels on stdin, so no file of it need be there on the nodes."""
        head = [directive.text for directive in self.directives(job.request, job.site)]
        text = lsf_script.script(job, head, self.notices(job.site))
        file = f"{check_name(job.name)}.sh"
        name = f"{job.name}[1-{count}]" if count > 1 else job.name
        stated = {option for line in head for option, _ in options_of_line(line)}
        argv: tuple[str, ...] = ("bsub", "-J", name)
        if job.by_file:
            # bsub does not look into a script that it is given as a command, so the directives go on its command line.
            words = (word for line in head for word in words_of(line))
            argv = (*argv, *words, "/bin/bash", _plain(job.directory / file))
        cleaned = lsf_environment.for_jobs(environment, stated)
        return Submission(
            {file: text},
            Command(
                argv,
                stdin=None if job.by_file else text,
                timeout=_SUBMITTING,
                environment=tuple(cleaned.items()),
                unset=UNSET,
            ),
        )

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read the answer of bsub."""
        return lsf_submit.parse_submit(done, count=count)

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        return lsf_script.log_path(job, id)

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending as it is: LSF's report goes where nobody reads it, and the queue tells the same."""
        return ending

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one bjobs for all jobs whose ids are known, an array by its one id, and one for each other name."""
        known = [id for each in submissions for id in each.ids.values() if each.complete]
        bases = dict.fromkeys(id.partition("[")[0] for id in known if re.fullmatch(r"[1-9]\d*(\[\d+\])?", id))
        return (_listing(*bases),) if bases else ()

    def find(self, name: str) -> tuple[Command, ...]:
        """Make one bjobs for the name: it takes one name, and ``*`` in it would be more than one."""
        return (_listing("-J", check_name(name)),)

    def parse_poll(self, done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
        """Read the answers of bjobs."""
        return states.parse_poll(done, frozenset(each.name for each in submissions))

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one bhist for all jobs whose ids are known."""
        ids = (id for each in submissions for id in each.ids.values())
        bases = dict.fromkeys(id.partition("[")[0] for id in ids if re.fullmatch(r"[1-9]\d*(\[\d+\])?", id))
        return (command("bhist", "-n", _FILES, "-l", *bases),) if bases else ()

    def parse_account(
        self, done: Sequence[Completed], submissions: Sequence[Tracked]
    ) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
        """Read the answer of bhist."""
        return history.parse_history(done[0]) if done else {}

    def starts(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make no command: the estimates of LSF, where a site has them, are printed without a year."""
        return ()

    def parse_starts(self, done: Sequence[Completed]) -> Mapping[JobId, float] | Unanswered:
        """Return nothing, since nothing was asked."""
        return {}

    def estimate(self, job: JobScript, *, environment: Mapping[str, str]) -> None:
        """Return None: nothing tells when a job would start that is not submitted."""
        return

    def parse_estimate(self, done: Completed) -> float | Unanswered:
        """Return that nothing was asked."""
        return Unanswered("nothing was asked")

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make the commands that cancel all jobs of these names, and these single jobs."""
        return lsf_cancel.cancel(submissions, ids)

    def parse_cancel(self, done: Completed) -> Doubtful | None:
        """Read the answer of bkill."""
        return lsf_cancel.parse_cancel(done)

    def limits(self, user: str) -> tuple[Command, ...]:
        """Make the few commands that tell the site's limits, and what this user may have."""
        return lsf_limits.commands(user)

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Read their answers."""
        return lsf_limits.parse(done)


def _listing(*which: str) -> Command:
    return command("bjobs", "-a", "-json", "-o", states.FIELDS, *which)


def _plain(path: Path) -> str:
    """Return a path that a shell reads as it is: bsub hands its words to one. Raises ``ConfigError`` for others."""
    if re.fullmatch(r"[\w./@%+=:,-]+", str(path)):
        return str(path)
    raise ConfigError(
        f"submit_by='file' cannot be used with the directory {str(path)!r}: bsub gives the path to a shell",
        advice="use a directory whose path has letters, digits and '-_./' only, or leave submit_by out",
    )
