"""The commands of a fake cluster that is not SLURM: neutral ones, whose answers follow the habits of a dialect.

::

    fake-submit --name=N [--array=1-4] [SCRIPT]   the id of the submission
    fake-list [--name=N ...]                      a line of JSON for each job
    fake-account ID ...                           a line of JSON for each job that was asked for: how it ended
    fake-cancel ID ... | --name=N                 nothing
    fake-limits                                   the partitions, as JSON

Other options of a submit stand in its script, on lines ``#FAKE --walltime=60``, or in a file beside it, which
``--description=FILE`` names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jobpool.model.job import EndingKind
from jobpool.model.site import Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.fake.dialects import Dialect
from jobpool.testing.fake.jobs import LAUNCH_FAILED, Ended, EndingWord, FakeJob, JobQueue, Order, Pending
from jobpool.testing.fake.site import Answer, Asked, BrokenDown, CommandRefused, Site, take_options
from jobpool.testing.fake.submit import partition_of, read_script, reason_to_wait
from jobpool.testing.fake.systems import SystemCommands
from jobpool.testing.fake.variables import neutral_variables

__all__ = ["COMMANDS", "answer", "unreachable"]

UNREACHABLE = 3
"""Exit code of a command that cannot speak with the batch system: nothing was done."""

_STRANGE = {"id": "900000", "name": "my own job: 100 %", "state": "R", "reason": "", "node": "node1"}
"""A job of the user's that no pool has made: a listing of all her jobs shows it, too."""

_KINDS: Mapping[EndingWord, EndingKind] = {
    "COMPLETED": EndingKind.COMPLETED,
    "FAILED": EndingKind.FAILED,
    "CANCELLED": EndingKind.CANCELLED,
    "TIMEOUT": EndingKind.TIMED_OUT,
    "OUT_OF_MEMORY": EndingKind.OUT_OF_MEMORY,
    "PREEMPTED": EndingKind.PREEMPTED,
    "NODE_FAIL": EndingKind.NODE_FAILED,
}


def answer(dialect: Dialect, program: str, site: Site, queue: JobQueue, asked: Asked) -> Answer:
    """Carry out one command and return what it prints. Raises ``BrokenDown``."""
    try:
        return Answer(_COMMANDS[program](dialect, site, queue, asked))
    except CommandRefused as refused:
        words = "".join(f"{program}: error: {line}\n" for line in str(refused).splitlines())
        return Answer(stderr=words, returncode=refused.returncode)


def unreachable(program: str) -> Answer:
    """Return what a command says when it cannot speak with the batch system."""
    return Answer(stderr=f"{program}: cannot connect to the server: connection refused\n", returncode=UNREACHABLE)


# -------------------------------------------------------------------------------------------------------------- submit

_OPTIONS = frozenset(
    {
        *("array", "cores", "description", "directory", "exclude", "gpus", "hold", "memory", "name", "output"),
        *("partition", "threads", "walltime"),
    }
)


def _submit(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    options, operands = take_options(asked.arguments, _OPTIONS, "fake-submit")
    script = read_script(operands, asked)
    text = (asked.directory / options["description"]).read_text() if dialect.described else script
    lines = re.findall(r"^--.*$" if dialect.described else r"(?<=^#FAKE )--.*$", text, re.MULTILINE)
    given, _ = take_options(lines, _OPTIONS, "fake-submit")
    order = _order(dialect, site, queue, asked, script, {**given, **options})
    queue.add(order, asked.now)
    jobs = [job for job in queue.jobs if job.order is order]
    if order.elements and dialect.array:
        return f"{dialect.array.format(base=order.base)}\n"
    return "".join(f"{job.id}\n" for job in jobs)


def _order(
    dialect: Dialect, site: Site, queue: JobQueue, asked: Asked, script: str, options: Mapping[str, str]
) -> Order:
    partition = partition_of(site, options.get("partition"))
    memory = Memory(int(options.get("memory", 2**30)))
    walltime = Duration(int(options["walltime"])) if "walltime" in options else partition.default_time
    if walltime and partition.max_time and walltime > partition.max_time:
        raise CommandRefused("the job violates the partition's limits: walltime")
    held = reason_to_wait(
        partition,
        memory=memory,
        cpus=int(options.get("cores", "1")) * int(options.get("threads", "1")),
        gpus=int(options.get("gpus", "0")),
        one_thread=options.get("threads") == "1",
    )
    return Order(
        dialect=dialect,
        base=queue.next_id(),
        name=options.get("name", "STDIN"),
        partition=partition.name,
        script=script,
        output=options.get("output", "%i.log"),
        append=False,
        requeue=True,
        directory=asked.directory / options.get("directory", "."),
        umask=asked.umask,
        environment=asked.environment,
        elements=tuple(_elements(dialect, site, options.get("array"))),
        walltime=walltime,
        memory=memory,
        held="held by its user" if "hold" in options else held,
    )


def _elements(dialect: Dialect, site: Site, text: str | None) -> Sequence[int]:
    if text is None:
        return ()
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if match is None or int(match[1]) != dialect.first or int(match[2]) < int(match[1]):
        raise CommandRefused(f"illegal array: {text}")
    elements = range(int(match[1]), int(match[2]) + 1)
    if len(elements) == 1 and not dialect.array_of_one:
        raise CommandRefused(f"an array of one job is refused: {text}")
    if len(elements) >= site.max_array_size:
        raise CommandRefused("the array is too large")
    return elements


# --------------------------------------------------------------------------------------------------- the jobs that are


def _list(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    names = _names(asked.arguments, "fake-list")
    if names and dialect.lists_all:
        raise CommandRefused("jobs cannot be chosen by name here: all are shown", 2)
    shown = [job for job in queue.jobs if dialect.shows_ended or not isinstance(job.phase, Ended)]
    rows = [_row(dialect, job) for job in shown if not names or job.name in names]
    return _lines([_STRANGE, *rows] if dialect.lists_all else rows)


def _row(dialect: Dialect, job: FakeJob) -> dict[str, Any]:
    row: dict[str, Any] = {"id": job.id, "name": job.name, "state": _letter(job), "reason": "", "node": job.node}
    if isinstance(job.phase, Pending):
        row["reason"] = "" if job.phase.reason == "None" else job.phase.reason
    if job.index is not None and dialect.number_of(job.id) is None:
        row["number"] = job.index
    if isinstance(job.phase, Ended):
        row |= _ending(job.phase)
    return row


def _letter(job: FakeJob) -> str:
    if isinstance(job.phase, Pending):
        return "H" if job.phase.held else "Q"
    return {"RUNNING": "R", "SUSPENDED": "S", "COMPLETING": "E"}.get(job.word, "F")


def _ending(phase: Ended) -> dict[str, Any]:
    if phase.status == LAUNCH_FAILED:
        return {"kind": EndingKind.LAUNCH_FAILED.value}
    told: dict[str, Any] = {"kind": _KINDS[phase.word].value}
    if phase.word in ("FAILED", "COMPLETED"):
        signal = phase.status & 0x7F
        told["signal" if signal else "exit_code"] = signal or phase.status >> 8
    return told


def _account(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    if not (dialect.accounting and site.accounting):
        raise CommandRefused("there is no accounting here", 4)
    _, ids = take_options(asked.arguments, frozenset(), "fake-account")
    rows = [_row(dialect, job) for job in queue.jobs if job.id in ids]
    # Of a job that was cancelled while it was pending there is no record (Grid Engine).
    return _lines(row for row in rows if row["state"] != "F" or row["node"] is not None)


def _cancel(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    names = _names(asked.arguments, "fake-cancel")
    if names and not dialect.finds_names:
        raise CommandRefused("jobs cannot be cancelled by name here", 2)
    _, ids = take_options(asked.arguments, frozenset({"name"}), "fake-cancel")
    if dialect.ids_per_cancel is not None and len(ids) > dialect.ids_per_cancel:
        raise BrokenDown(f"{len(ids)} ids in one cancel")
    jobs = [job for job in queue.jobs if job.name in names or job.id in ids]
    gone = [id for id in ids if id not in {job.id for job in jobs}]
    for job in jobs:
        queue.end(job, "CANCELLED", status=0)
    if gone:
        raise CommandRefused("\n".join(f"unknown job {id}" for id in gone))
    return ""


def _names(words: Iterable[str], program: str) -> set[str]:
    names = {word.removeprefix("--name=") for word in words if word.startswith("--name=")}
    take_options([word for word in words if word not in names], frozenset({"name"}), program)
    return names


# ---------------------------------------------------------------------------------------------------------- the limits


def _limits(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    partitions = [_partition(partition) for partition in site.partitions]
    return json.dumps({"max_array_size": site.max_array_size - 1, "partitions": partitions})


def _partition(partition: Partition) -> dict[str, Any]:
    return {
        "name": partition.name,
        "default": partition.default,
        "max_time": partition.max_time,
        "default_time": partition.default_time,
        "allow_groups": partition.allow_groups,
        "nodes": [
            {
                "count": node.count,
                "cores": node.cores,
                "threads_per_core": node.threads_per_core,
                "memory": node.memory,
                "gpus": node.gpus,
            }
            for node in partition.nodes
        ],
    }


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


_COMMANDS: Mapping[str, Callable[[Dialect, Site, JobQueue, Asked], str]] = {
    "fake-submit": _submit,
    "fake-list": _list,
    "fake-account": _account,
    "fake-cancel": _cancel,
    "fake-limits": _limits,
}


COMMANDS = SystemCommands(
    answer=answer,
    refused=lambda program, words: Answer(stderr=f"{program}: error: {words}\n", returncode=1),
    unreachable=unreachable,
    lost=unreachable,
    lists=lambda program, arguments: program == "fake-list",
    stands_alone=lambda program, arguments: program == "fake-account",
    variables=neutral_variables,
    log_names=lambda job: {"%i": job.id, "%%": "%"},
)
