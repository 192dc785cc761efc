"""What a fake cluster answers to LSF's commands: the words of its documentation, and of answers that others published.

Options are taken as jobpool writes them. One that is not known is refused, so that a slip in a directive does not go
unnoticed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from jobpool.model.site import NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.fake.dialects import IMITATED, Dialect
from jobpool.testing.fake.jobs import Ended, EndingWord, FakeJob, JobQueue, Order, Pending
from jobpool.testing.fake.site import Answer, Asked, CommandRefused, Site
from jobpool.testing.fake.systems import SystemCommands

__all__ = ["COMMANDS"]

_FAILED = 255
"""Exit code of every command that does not do all that it was asked for."""

_NO_HOST = "Job's resource requirements not satisfied: 5 hosts;"

_WAITING = {
    "None": "New job is waiting for scheduling;",
    "Resources": "Not enough job slot(s): 5 hosts;",
    "Priority": "Not enough job slot(s): 5 hosts;",
    "JobArrayTaskLimit": "The job array has reached its job slot limit;",
    "BeginTime": "Requeued job is waiting for rescheduling;",
}
"""Reasons of the queue's, in LSF's words. Others are told as they are."""

_EXITS: Mapping[EndingWord, tuple[str, str]] = {
    "CANCELLED": ("130", "TERM_OWNER: job killed by owner"),
    "TIMEOUT": ("140", "TERM_RUNLIMIT: job killed after reaching LSF run time limit"),
    "OUT_OF_MEMORY": ("137", "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit"),
    "PREEMPTED": ("137", "TERM_PREEMPT: job killed after preemption"),
    "NODE_FAIL": ("", "TERM_REMOVE_HUNG_JOB: job removed from the LSF system"),
}
"""Exit code and reason of a job that was ended."""

_VALUED = frozenset(
    {"-J", "-M", "-P", "-R", "-U", "-W", "-G", "-app", "-g", "-gpu", "-n", "-o", "-q", "-sla", "-sp", "-u"}
)
_ALONE = frozenset({"-B", "-H", "-N", "-rn", "-x"})


def _answer(dialect: Dialect, program: str, site: Site, queue: JobQueue, asked: Asked) -> Answer:
    try:
        return _COMMANDS[program](site, queue, asked)
    except CommandRefused as refused:
        return Answer(stderr=f"{refused}\n", returncode=refused.returncode)


def _refused(program: str, words: str) -> Answer:
    return Answer(stderr=f"{words}. Job not submitted.\n", returncode=_FAILED)


def _unreachable(program: str) -> Answer:
    words = "Failed in an LSF library call: LIM is down; try later"
    return _refused(program, words) if program == "bsub" else Answer(stderr=f"{words}\n", returncode=_FAILED)


# ---------------------------------------------------------------------------------------------------------------- bsub


def _bsub(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    options, requirements, operands = _options(asked.arguments)
    script = (asked.directory / operands[-1]).read_text() if operands else asked.stdin
    for line in re.findall(r"^#BSUB[ \t]+(.*)$", script, re.MULTILINE):
        given, more, _ = _options(shlex.split(line))
        options = {**given, **options}  # the command line wins
        requirements += more
    order = _order(site, queue, asked, script, options, " ".join(requirements))
    queue.add(order, asked.now)
    which = "queue" if "-q" in options else "default queue"
    return Answer(f"Job <{order.base}> is submitted to {which} <{order.partition}>.\n")


def _options(words: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Split words into options, resource requirements, of which there may be several, and the command behind them."""
    options: dict[str, str] = {}
    requirements: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option not in _VALUED | _ALONE:
            raise CommandRefused(f"bsub: illegal option -- {option}", _FAILED)
        value = rest.pop(0) if option in _VALUED else ""
        if option == "-R":
            requirements.append(value)
        else:
            options[option] = value
    return options, requirements, rest


def _order(
    site: Site, queue: JobQueue, asked: Asked, script: str, options: Mapping[str, str], requirements: str
) -> Order:
    partition = _queue_of(site, options.get("-q"))
    name, elements = _elements(site, options.get("-J", "NONAME"))
    memory = _memory(requirements) or Memory(2**30)
    walltime = Duration(60 * int(options["-W"])) if "-W" in options else partition.default_time
    if walltime and partition.max_time and walltime > partition.max_time:
        raise _no("RUNLIMIT: Cannot exceed queue's hard limit(s)")
    slots, gpus = int(options.get("-n", "1")), int(options.get("-gpu", "num=0").removeprefix("num="))
    if slots > sum(node.count * node.cores for node in partition.nodes):
        raise _no("Too many processors requested")
    fits = any(node.cores >= slots and node.memory >= memory and node.gpus >= gpus for node in partition.nodes)
    return Order(
        dialect=IMITATED["lsf"],
        base=queue.next_id(),
        name=name,
        partition=partition.name,
        script=script,
        output=options.get("-o", "/dev/null"),
        append=True,
        requeue="-rn" not in options,
        directory=asked.directory,
        umask=asked.umask,
        environment=asked.environment,
        elements=elements,
        walltime=walltime,
        memory=memory,
        held="" if fits else _NO_HOST,
    )


def _no(words: str) -> CommandRefused:
    return CommandRefused(f"{words}. Job not submitted.", _FAILED)


def _queue_of(site: Site, name: str | None) -> Partition:
    for partition in site.partitions:
        if partition.name == name or (name is None and partition.default):
            if partition.allow_groups:
                raise _no(f"{partition.name}: User cannot use the queue")
            if not partition.up:
                raise _no(f"{partition.name}: Queue has been closed")
            return partition
    raise _no(f"{name}: No such queue")


def _elements(site: Site, text: str) -> tuple[str, tuple[int, ...]]:
    match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[1-(\d+)\])?", text)
    if match is None or len(text) > 255:
        raise _no("Bad job name")
    if match[2] and int(match[2]) >= site.max_array_size:
        raise _no("Job array index too large")
    return match[1], tuple(range(1, int(match[2]) + 1)) if match[2] else ()


def _memory(requirements: str) -> Memory | None:
    match = re.search(r"rusage\[[^\]]*mem=(\d+)(KB|MB|GB)", requirements)
    return None if match is None else Memory(int(match[1]) * 2 ** {"KB": 10, "MB": 20, "GB": 30}[match[2]])


# ------------------------------------------------------------------------------------------------- bjobs, bhist, bkill


def _bjobs(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    words = list(asked.arguments)
    fields = words[words.index("-o") + 1].split()
    if odd := [field for field in fields if field not in _FIELDS]:
        raise CommandRefused(f"<{odd[0]}> in the format string is not a valid field name.", _FAILED)
    jobs, missing = _chosen(queue, words[words.index("-o") + 2 :])
    shown = [job for job in jobs if "-a" in words or not isinstance(job.phase, Ended)]
    if not shown and not missing:
        return Answer(stderr="No unfinished job found\n")
    records = [{field.upper(): _FIELDS[field](job) for field in fields} for job in shown]
    records += [{"JOBID": id, "ERROR": f"Job <{id}> is not found"} for id in missing]
    text = json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2)
    return Answer(f"{text}\n", returncode=_FAILED if missing else 0)


def _chosen(queue: JobQueue, words: Sequence[str]) -> tuple[list[FakeJob], list[str]]:
    """Return the jobs of a name, or with these ids, or all; and what there is not."""
    if "-J" in words:
        name = words[words.index("-J") + 1]
        jobs = [job for job in queue.jobs if job.name == name]
        return jobs, [] if jobs else [name]
    if not words:
        return list(queue.jobs), []
    ids = {id: word for word in words for id in _ids(word)}
    jobs = [job for job in queue.jobs if job.id in ids or str(job.order.base) in ids]
    known = {job.id for job in jobs} | {str(job.order.base) for job in jobs}
    return jobs, list(dict.fromkeys(word for id, word in ids.items() if id not in known))


def _ids(word: str) -> Iterator[str]:
    """List the ids of ``7``, ``7[1]`` or ``7[1-3,9]``."""
    base, _, elements = word.removesuffix("]").partition("[")
    if not elements:
        yield base
    for part in elements.split(",") if elements else ():
        first, _, last = part.partition("-")
        yield from (f"{base}[{number}]" for number in range(int(first), int(last or first) + 1))


def _state(job: FakeJob) -> str:
    if isinstance(job.phase, Pending):
        return "PSUSP" if job.phase.held and job.phase.reason != _NO_HOST else "PEND"
    if isinstance(job.phase, Ended):
        return "DONE" if job.phase.word == "COMPLETED" else "EXIT"
    return "USUSP" if job.word == "SUSPENDED" else "RUN"


def _exit(job: FakeJob) -> tuple[str, str]:
    """Return the exit code and the reason of a job that is EXIT."""
    if not isinstance(job.phase, Ended) or job.phase.word == "COMPLETED":
        return "", ""
    code, reason = _EXITS.get(job.phase.word, ("", ""))
    if job.phase.word == "FAILED":
        signal = job.phase.status & 0x7F
        code = str(128 + signal if signal else job.phase.status >> 8)
    return code if job.phase.node else "", reason


_FIELDS: Mapping[str, Callable[[FakeJob], str]] = {
    "jobid": lambda job: str(job.order.base),
    "jobindex": lambda job: str(job.index or 0),
    "job_name": lambda job: job.name if job.index is None else f"{job.name}[{job.index}]",
    "stat": _state,
    "exit_code": lambda job: _exit(job)[0],
    "exit_reason": lambda job: _exit(job)[1],
    "pend_reason": lambda job: (
        _WAITING.get(job.phase.reason, job.phase.reason) if isinstance(job.phase, Pending) else ""
    ),
    "exec_host": lambda job: job.node or "",
    "runtimelimit": lambda job: "" if job.order.walltime is None else f"{job.order.walltime / 60:.1f}",
    "memlimit": lambda job: f"{job.order.memory.mebibytes} Mbytes",
    "max_mem": lambda job: "",
}


def _bhist(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    words = [word for word in asked.arguments if word[0].isdecimal()][1:]  # the first is of -n
    jobs = _chosen(queue, words)[0] if words and site.accounting else []
    if not jobs:
        return Answer(stderr="No matching job found\n", returncode=_FAILED)
    line = "-" * 78
    return Answer(f"\n{line}\n".join(map(_history, jobs)))


def _history(job: FakeJob) -> str:
    told = [
        f"\nJob <{job.id}>, Job Name <{job.name}>, User <alice>, Project <default>, Comma",
        "                     nd <#!/bin/bash;...>",
        "Fri Oct  5 17:49:35: Submitted from host <login1>, CWD </>;",
    ]
    if job.node is not None:
        told.append(f"Fri Oct  5 17:50:35: Dispatched to <{job.node}>;")
    if isinstance(job.phase, Ended):
        code, reason = _exit(job)
        if job.phase.word == "COMPLETED":
            told.append("Fri Oct  5 17:51:30: Done successfully. The CPU time used is 0.5 seconds;")
        elif code:
            told.append(f"Fri Oct  5 17:51:30: Exited with exit code {code}. The CPU time used is 0.5 seconds;")
        else:
            told.append("Fri Oct  5 17:51:30: Exited;")
        if reason:
            told.append(f"Fri Oct  5 17:51:30: Completed <exit>; {reason};")
    return "\n".join([*told, ""])


def _bkill(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    words = list(asked.arguments)
    if "-J" in words:
        named, _ = _chosen(queue, words[:2])
        living = [job for job in named if not isinstance(job.phase, Ended)]
        jobs = living if words[2:] == ["0"] else living[-1:]  # without the 0: the last one alone
        if not jobs:
            return Answer(stderr=f"{words[1]}: No matching job found\n", returncode=_FAILED)
        missing: list[str] = []
    else:
        jobs, missing = _chosen(queue, words)
    said, failed = [], [f"Job <{id}>: No matching job found" for id in missing]
    for job in jobs:
        if isinstance(job.phase, Ended):
            failed.append(f"Job <{job.id}>: Job has already finished")
        else:
            queue.end(job, "CANCELLED", status=0)
            said.append(f"Job <{job.id}> is being terminated")
    stdout, stderr = ("".join(f"{line}\n" for line in lines) for lines in (said, failed))
    return Answer(stdout, stderr, _FAILED if failed else 0)


# ---------------------------------------------------------------------------------------------------------- the limits


def _hosts(site: Site) -> dict[NodeShape, list[str]]:
    """Name the hosts of each shape."""
    shapes = dict.fromkeys(node for partition in site.partitions for node in partition.nodes)
    return {
        shape: [f"fake-{'abcdefgh'[kind]}{number}" for number in range(1, shape.count + 1)]
        for kind, shape in enumerate(shapes)
    }


def _bqueues(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    if "-l" not in asked.arguments:
        usable = [partition for partition in site.partitions if not partition.allow_groups]
        rows = [f"{partition.name:15} 30 Open:Active  -  -  -  -  0  0  0  0\n" for partition in usable]
        return Answer("QUEUE_NAME      PRIO STATUS MAX JL/U JL/P JL/H NJOBS PEND RUN SUSP\n" + "".join(rows))
    hosts, line = _hosts(site), "-" * 79
    return Answer(f"\n{line}\n".join(_paragraph(partition, hosts) for partition in site.partitions))


def _paragraph(partition: Partition, hosts: Mapping[NodeShape, Sequence[str]]) -> str:
    default = "  This is the default queue." if partition.default else ""
    told = [
        f"\nQUEUE: {partition.name}",
        f"  -- of the fake cluster{default}",
        "\nPARAMETERS/STATISTICS",
        "PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV",
        f" 30    0  {'Open' if partition.up else 'Closed'}:Active  -    -    -    -     0     0     0     0     0    0",
    ]
    if partition.default_time is not None:
        told += [
            "\nDEFAULT LIMITS:",
            " RUNLIMIT",
            f" {partition.default_time / 60:.1f} min of fake-a1",
            "\nMAXIMUM LIMITS:",
        ]
    if partition.max_time is not None:
        told += [" RUNLIMIT", f" {partition.max_time / 60:.1f} min of fake-a1"]
    names = " ".join(name for node in partition.nodes for name in hosts[node])
    users = " ".join(f"{group}/" for group in partition.allow_groups) or "all"
    return "\n".join([*told, "\nSCHEDULING PARAMETERS", f"\nUSERS: {users} ", f"HOSTS:  {names} ", ""])


def _bhosts(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    rows = [f"{name} ok - {shape.cores} 0 0 0 0 0\n" for shape, names in _hosts(site).items() for name in names]
    return Answer("HOST_NAME STATUS JL/U MAX NJOBS RUN SSUSP USUSP RSV\n" + "".join(rows))


def _lshosts(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    hosts = [(name, shape) for shape, names in _hosts(site).items() for name in names]
    if "-gpu" in asked.arguments:
        rows = [
            f"{'' if number else name:10} {number} TeslaV100 396.37 7.0 8\n"
            for name, shape in hosts
            for number in range(shape.gpus)
        ]
        return Answer("HOST_NAME gpu_id gpu_model gpu_driver gpu_factor numa_id\n" + "".join(rows))
    rows = [
        f"{name} X86_64 Intel_EM 60.0 {shape.cores} {shape.memory.mebibytes}M - Yes (mg)\n" for name, shape in hosts
    ]
    return Answer("HOST_NAME type model cpuf ncpus maxmem maxswp server RESOURCES\n" + "".join(rows))


def _bparams(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    return Answer(f"    MAX_JOB_ARRAY_SIZE = {site.max_array_size - 1}\n    JOB_TERMINATE_INTERVAL = 2\n")


def _bmgroup(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    return Answer(stderr="host group: No host group defined in the system\n", returncode=_FAILED)


def _lsid(site: Site, queue: JobQueue, asked: Asked) -> Answer:
    return Answer("IBM Spectrum LSF 10.1.0.15, Apr 14 2025\n\nMy cluster name is fake\nMy master name is fake-a1\n")


_COMMANDS: Mapping[str, Callable[[Site, JobQueue, Asked], Answer]] = {
    "bsub": _bsub,
    "bjobs": _bjobs,
    "bkill": _bkill,
    "bhist": _bhist,
    "bqueues": _bqueues,
    "bhosts": _bhosts,
    "lshosts": _lshosts,
    "bparams": _bparams,
    "bmgroup": _bmgroup,
    "lsid": _lsid,
}


def _variables(job: FakeJob, node: str, now: float) -> dict[str, str]:
    return {
        "LSB_JOBID": str(job.order.base),
        "LSB_JOBINDEX": str(job.index or 0),
        "LSB_JOBNAME": job.name if job.index is None else f"{job.name}[1-{len(job.order.elements)}]",
        "LSB_QUEUE": job.order.partition,
        "LSB_HOSTS": node,
        "LSB_MCPU_HOSTS": f"{node} 1 ",
        "LSB_OUTPUTFILE": job.order.output,
        "LS_SUBCWD": str(job.order.directory),
    }


COMMANDS = SystemCommands(
    answer=_answer,
    refused=_refused,
    unreachable=_unreachable,
    lost=lambda program: Answer(
        stderr="Failed in an LSF library call: Communication time out. Job not submitted.\n", returncode=_FAILED
    ),
    lists=lambda program, arguments: program == "bjobs",
    stands_alone=lambda program, arguments: False,
    variables=_variables,
    log_names=lambda job: {"%J": str(job.order.base), "%I": str(job.index or 0)},
    valued=_VALUED,
)
