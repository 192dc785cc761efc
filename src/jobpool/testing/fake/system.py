"""A fake cluster that is not SLURM, as jobpool knows batch systems: ``scheduler="fake"``.

The registry names this module, and loads it for those pools alone. It is as a system of ``batch/`` would be, but for
the dialect, which the environment names: :attr:`jobpool.testing.FakeCluster.environment`.
"""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobpool.batch import exit_file
from jobpool.batch.base import (
    Answer,
    Capabilities,
    Directive,
    Doubtful,
    JobScript,
    Machine,
    NoAccounting,
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
from jobpool.batch.settings import refuse_others
from jobpool.model.command import Command, Completed
from jobpool.model.errors import BatchSystemUnavailable
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.fake.dialects import DIALECTS, VARIABLE, Dialect
from jobpool.testing.fake.jobs import FAILED_STARTS

__all__ = ["Fake", "make"]

_STATES = {
    "Q": JobState.PENDING,
    "H": JobState.PENDING,
    "R": JobState.RUNNING,
    "S": JobState.SUSPENDED,
    "E": JobState.COMPLETING,
    "F": JobState.ENDED,
}

_KINDS = {kind.value: kind for kind in EndingKind}


def _dialect() -> Dialect:
    name = os.environ.get(VARIABLE, "")
    if name not in DIALECTS:
        raise BatchSystemUnavailable(f"there is no fake cluster here: {VARIABLE} is {name!r}")
    return DIALECTS[name]


def make(directory: Path) -> Fake:
    """Return the fake cluster that the environment leads to. Raises ``BatchSystemUnavailable`` where there is none."""
    return Fake(directory)


@dataclass(frozen=True, slots=True)
class Fake:
    """A fake cluster as a :class:`~jobpool.batch.base.BatchSystem`."""

    directory: Path
    dialect: Dialect = field(default_factory=_dialect)
    name: str = "fake"
    settle: float = 0.1
    settings: frozenset[str] = frozenset({"exclude", "gpus", "job_extra", "job_skip", "partition"})

    @property
    def capabilities(self) -> Capabilities:
        """Say that jobs share the cores of this machine, and that their ends are read from files without accounting."""
        return Capabilities(confines_cores=False, exit_files=not self.dialect.accounting)

    def presence(self, machine: Machine) -> None:
        """Say that its commands have a cluster behind them."""
        return

    def notices(self, site: Limits) -> Notices:
        """Say what a job is told before it is killed."""
        notice = None
        if self.dialect.notice is not None:
            name = signal.Signals(self.dialect.notice).name.removeprefix("SIG")
            notice = Notice(name, self.dialect.kill_wait)
        return Notices(walltime=notice, delete=notice, preemption=notice)

    # ------------------------------------------------------------------------------------------------- submitting

    def directives(self, request: Request, site: Limits) -> tuple[Directive, ...]:
        """Say what the request becomes."""
        refuse_others(request, self.settings, title="the fake cluster")
        lines: dict[str, tuple[object, str]] = {
            "cores": (request.job_cores, f"cores={request.cores}, workers_per_job={request.workers_per_job}."),
            "threads": (request.threads_per_core, f"threads_per_core={request.threads_per_core}."),
        }
        if (memory := request.job_memory) is not None:
            lines["memory"] = (
                int(memory),
                f"memory={request.memory} for each worker, and the agent's share; in bytes.",
            )
        if request.walltime is not None:
            lines["walltime"] = (math.ceil(request.walltime), f"walltime={request.walltime}; in seconds.")
        if request.gpus:
            lines["gpus"] = (request.job_gpus, f"gpus={request.gpus} for each worker.")
        if request.partition is not None:
            lines["partition"] = (single_line(request.partition, "partition"), f"partition={request.partition}.")
        if request.exclude:
            lines["exclude"] = (",".join(request.exclude), f"exclude={list(request.exclude)}.")
        written = [Directive(f"--{option}={value}", why) for option, (value, why) in lines.items()]
        kept = [directive for directive in written if not directive.text.startswith(request.job_skip or ("\0",))]
        return (*kept, *(Directive(single_line(line, "job_extra"), "job_extra.") for line in request.job_extra))

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        """Make one command that submits all jobs, its script on stdin."""
        script, description = f"{job.name}.sh", f"{job.name}.submit"
        options = [
            f"--output={single_line(str(job.log_directory), 'the log directory')}/{job.name}-%i.log",
            f"--directory={single_line(str(job.working_directory), 'the working directory')}",
            *(directive.text for directive in self.directives(job.request, job.site)),
        ]
        head = [] if self.dialect.described else [f"#FAKE {option}" for option in options]
        files = {script: "\n".join(["#!/bin/bash", *head, "", *self._body(job), ""])}
        argv = ["fake-submit", f"--name={check_name(job.name)}"]
        if count > 1 or self.dialect.array_of_one:
            argv.append(f"--array={self.dialect.first}-{self.dialect.first + count - 1}")
        if self.dialect.described:
            files[description] = "\n".join([*options, ""])
            argv.append(f"--description={job.directory / description}")
        if job.by_file:
            argv.append(str(job.directory / script))
        stdin = None if job.by_file else files[script]
        return Submission(files, self._command(*argv, stdin=stdin, environment=environment))

    def _body(self, job: JobScript) -> Iterator[str]:
        first, notices = self.dialect.first, self.notices(job.site)
        index = f"$((${{FAKE_NUMBER:-{first}}} - {first}))"
        side = JobSide(index=f'"{index}"', id='"$FAKE_JOB"', node='"$FAKE_NODE"', ends='"${FAKE_END:-}"')
        line = agent_line(job.argv, side, notices)
        setup = shell_lines(job.request.setup)
        yield "umask 077"
        yield from exports(job.environment)
        if self.capabilities.exit_files:
            yield from exit_file.script_lines(
                line,
                pool=job.directory,
                submission=job.name,
                index=index,
                signals=notices.signals,
                before=setup,
            )
        else:
            yield from (*setup, f"exec {line}")

    def parse_submit(self, done: Completed, *, count: int) -> SubmitAnswer:
        """Read the answer: the id of a job or of an array, or those of all elements."""
        if done.returncode == 1 and "fake-submit: error:" in done.stderr:
            return Refused(done.words)
        told = done.stdout.split()
        if done.ok and len(told) == count and (count > 1 or not self.dialect.array_of_one or not self.dialect.array):
            return Submitted(tuple(map(JobId, told)))
        if done.ok and len(told) == 1 and (base := self.dialect.base_of(told[0])) is not None:
            numbers = range(self.dialect.first, self.dialect.first + count)
            return Submitted(tuple(self.dialect.id_of(base, number, 0) for number in numbers))
        return Doubtful(_words(done))

    def log_path(self, job: JobScript, id: JobId, index: int) -> Path:
        """Say where the log of this job will be."""
        return job.log_directory / f"{job.name}-{id}.log"

    def read_log(self, ending: Ending, text: str) -> Ending:
        """Return the ending as it is: nobody writes into a job's log but the job."""
        return ending

    # ----------------------------------------------------------------------------------------------------- asking

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one command, for all jobs of the user or for those of these names."""
        return (self._list() if self.dialect.lists_all else self._list(*(each.name for each in submissions)),)

    def find(self, name: str) -> tuple[Command, ...]:
        """Make no command: the listing shows all jobs."""
        return ()

    def parse_poll(self, done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
        """Read the listing; jobs of others are left out."""
        if (rows := _rows(done)) is None:
            return Unanswered(" ".join(map(_words, done)))
        wanted = {each.name for each in submissions}
        return tuple(self._seen(row) for row in rows if row["name"] in wanted)

    def _list(self, *names: str) -> Command:
        return self._command("fake-list", *(f"--name={check_name(name)}" for name in names))

    def _seen(self, row: Mapping[str, Any]) -> Seen:
        id, reason = JobId(row["id"]), str(row["reason"])
        number = row.get("number", self.dialect.number_of(id))
        advice = "remove it" if reason == FAILED_STARTS else "its user can release it"
        return Seen(
            id=id,
            name=row["name"],
            index=0 if number is None else number - self.dialect.first,
            state=_STATES.get(row["state"], JobState.UNKNOWN),
            message=f"{row['state']} {reason}".strip(),
            reason=reason,
            hold=Hold(advice, hopeless=reason == FAILED_STARTS) if row["state"] == "H" else None,
            node=row["node"],
            ending=_ending(row, "queue") if row["state"] == "F" else None,
        )

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make one command for all jobs whose ids are known, where there is an accounting."""
        ids = [id for each in submissions for id in each.ids.values()]
        return (self._command("fake-account", *ids),) if ids and self.dialect.accounting else ()

    def parse_account(
        self, done: Sequence[Completed], submissions: Sequence[Tracked]
    ) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
        """Read the records."""
        if any("there is no accounting here" in each.stderr for each in done):
            return NoAccounting(" ".join(map(_words, done)))
        if (rows := _rows(done)) is None:
            return Unanswered(" ".join(map(_words, done)))
        return {
            JobId(row["id"]): _ending(row, "accounting") if row["state"] == "F" else _STATES[row["state"]]
            for row in rows
        }

    def starts(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        """Make no command: nothing tells when jobs may start."""
        return ()

    def parse_starts(self, done: Sequence[Completed]) -> Mapping[JobId, float]:
        """Return nothing, since nothing was asked."""
        return {}

    def estimate(self, job: JobScript, *, environment: Mapping[str, str]) -> None:
        """Return None: nothing tells when a job would start."""
        return

    def parse_estimate(self, done: Completed) -> Unanswered:
        """Return that nothing was asked."""
        return Unanswered("nothing was asked")

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        """Make the commands that cancel: by name where that can be, and so many ids in one as it bears."""
        commands, single = [], list(ids)
        for each in submissions:
            if self.dialect.finds_names:
                commands.append(self._command("fake-cancel", f"--name={check_name(each.name)}"))
            else:
                single += each.ids.values()
        single = list(dict.fromkeys(single))
        most = self.dialect.ids_per_cancel or len(single) or 1
        parts = [single[start : start + most] for start in range(0, len(single), most)]
        return (*commands, *(self._command("fake-cancel", *part) for part in parts))

    def parse_cancel(self, done: Completed) -> Doubtful | None:
        """Read the answer; a job that is gone is as good as cancelled."""
        said = done.stderr.splitlines()
        if done.ok or (said and all("unknown job" in line for line in said)):
            return None
        return Doubtful(_words(done))

    # ----------------------------------------------------------------------------------------------- what it says

    def limits(self, user: str) -> tuple[Command, ...]:
        """Make one command that tells the partitions."""
        return (self._command("fake-limits"),)

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        """Read them."""
        try:
            told = json.loads(done[0].stdout)
        except ValueError:
            return Limits(unknown=(f"partitions: {_words(done[0])}",))
        partitions = tuple(map(_partition, told["partitions"]))
        return Limits(partitions=partitions, max_array_size=told["max_array_size"], confined=False)

    def _command(self, *argv: str, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> Command:
        variables = None if environment is None else tuple(environment.items())
        return Command(argv, stdin=stdin, timeout=self.dialect.patience, environment=variables)


def _rows(done: Sequence[Completed]) -> list[Any] | None:
    """Return the jobs that commands told; None unless all have answered."""
    if not all(each.ok for each in done):
        return None
    return [json.loads(line) for each in done for line in each.stdout.splitlines()]


def _ending(row: Mapping[str, Any], source: str) -> Ending:
    kind, exit_code, number = row["kind"], row.get("exit_code"), row.get("signal")
    return Ending(
        kind=_KINDS[kind],
        message=" ".join(str(word) for word in (kind, exit_code, number) if word is not None),
        exit_code=exit_code,
        signal=number,
        node=row["node"],
        source=source,
    )


def _partition(told: Mapping[str, Any]) -> Partition:
    return Partition(
        name=told["name"],
        default=told["default"],
        max_time=_duration(told["max_time"]),
        default_time=_duration(told["default_time"]),
        allow_groups=tuple(told["allow_groups"]),
        nodes=tuple(NodeShape(**{**node, "memory": Memory(node["memory"])}) for node in told["nodes"]),
    )


def _duration(seconds: float | None) -> Duration | None:
    return None if seconds is None else Duration(seconds)


def _words(done: Completed) -> str:
    return done.words or f"{done.command.argv[0]} ended with {done.returncode} and said nothing"
