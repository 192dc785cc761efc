"""What a fake cluster answers to PBS's commands: words and exit codes of OpenPBS 23.06.06, as seen on a real one.

It knows the options that jobpool uses, and no more; what they are given is read as qsub reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobpool.model.site import NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.fake.dialects import Dialect
from jobpool.testing.fake.jobs import FAILED_STARTS, Completing, Ended, FakeJob, JobQueue, Order, Pending, Suspended
from jobpool.testing.fake.site import Answer, Asked, BrokenDown, CommandRefused, Site
from jobpool.testing.fake.systems import SystemCommands

__all__ = ["COMMANDS"]

_VERSION = "23.06.06"
_SERVER = "node1"
_DATE = "Mon Nov 30 09:18:50 2026"

_USAGE = "usage: qsub [-a date_time] [-A account_string] [-c interval]\n\t[-C directive_prefix] [-e path] [-f ] [-h ]"


def _answer(dialect: Dialect, program: str, site: Site, queue: JobQueue, asked: Asked) -> Answer:
    if "--version" in asked.arguments:
        return Answer(f"pbs_version = {_VERSION}\n")
    try:
        return Answer(_COMMANDS[program](dialect, site, queue, asked))
    except _Partly as partly:
        return Answer(partly.stdout, partly.stderr, partly.returncode)
    except CommandRefused as refused:
        return Answer(stderr=f"{program}: {refused}\n", returncode=refused.returncode)


class _Partly(Exception):
    """A command has said no, and something besides."""

    def __init__(self, stdout: str, stderr: str, returncode: int) -> None:
        super().__init__(stderr)
        self.stdout, self.stderr, self.returncode = stdout, stderr, returncode


# ---------------------------------------------------------------------------------------------------------------- qsub

_VALUED = frozenset("-" + letter for letter in "aACcejklmMNoPpqrRSuvWJ")
_SELECT = re.compile(r"1((?::[A-Za-z_][\w-]*=[^:=+]+)+)")


def _qsub(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    options, operands = _options(asked.arguments)
    script = (asked.directory / operands[0]).read_text() if operands else asked.stdin
    if "\r\n" in script:
        raise CommandRefused("script contains cr, lf")
    for line in script.splitlines():
        if line.startswith("#PBS "):
            given, _ = _options(line[5:].split())
            options = {**given, **options}  # the command line wins
        elif line.strip() and not line.startswith("#"):
            break
    order = _order(dialect, site, queue, asked, script, options)
    queue.add(order, asked.now)
    return f"{order.base}{'[]' if order.elements else ''}.{_SERVER}\n"


def _options(words: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Read options as ``-N name``; the resources of ``-l`` are options of their own."""
    options: dict[str, str] = {}
    operands: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in _VALUED and rest:
            value = rest.pop(0)
            options |= dict(part.split("=", 1) for part in value.split(",")) if word == "-l" else {word: value}
        elif word in ("-f", "-h", "-V"):
            options[word] = ""
        elif word.startswith("-"):
            raise CommandRefused(f"invalid option -- '{word[1:2]}'\n{_USAGE}", 2)
        else:
            operands.append(word)
    return options, operands


def _order(
    dialect: Dialect, site: Site, queue: JobQueue, asked: Asked, script: str, options: Mapping[str, str]
) -> Order:
    name, output = options.get("-N", "STDIN"), options.get("-o", "")
    if not re.fullmatch(r"[A-Za-z0-9_.+-]{1,230}", name):
        raise CommandRefused(f"illegal -N value\n{_USAGE}", 2)
    if not output.isascii() or options.get("-k") != "doe" or options.get("-j") != "oe":
        raise CommandRefused(f"illegal -o value\n{_USAGE}", 2)
    elements = _elements(site, options.get("-J"))
    if elements and options.get("-r") == "n":
        raise CommandRefused(" cannot submit non-rerunable Array Job")
    partition = _queue_of(site, options.get("-q"))
    chunk = _chunk(options.get("select", "1:ncpus=1"))
    walltime = _walltime(options.get("walltime")) or partition.default_time
    if walltime and partition.max_time and walltime > partition.max_time:
        raise CommandRefused("Job violates queue and/or server resource limits", 188)
    memory = _amount(chunk["mem"]) if "mem" in chunk else Memory(2**30)
    return Order(
        dialect=dialect,
        base=queue.next_id(),
        name=name,
        partition=partition.name,
        script=script,
        output=output,
        append=True,
        requeue=True,
        directory=Path(asked.environment.get("HOME", "/")),
        umask=0o077,
        environment=_login(asked.environment),
        elements=elements,
        walltime=walltime,
        memory=memory,
        held=_never(partition, chunk, memory) or ("held by its user" if "-h" in options else ""),
    )


def _login(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a login shell on a node has: nothing of the variables of qsub's process but the user's name."""
    kept = {name: environment[name] for name in ("HOME", "USER", "LOGNAME") if name in environment}
    return {**kept, "PATH": "/usr/local/bin:/usr/bin:/bin", "SHELL": "/bin/bash", "ENVIRONMENT": "BATCH"}


def _elements(site: Site, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if found is None or int(found[2]) <= int(found[1]):
        raise CommandRefused(f"illegal -J value\n{_USAGE}", 2)
    elements = tuple(range(int(found[1]), int(found[2]) + 1))
    if len(elements) >= site.max_array_size:
        raise CommandRefused("Array job exceeds server or queue size limit", 3)
    return elements


def _queue_of(site: Site, name: str | None) -> Partition:
    for partition in site.partitions:
        if partition.name == name or (name is None and partition.default):
            if partition.allow_groups:
                raise CommandRefused("Unauthorized Request ", 159)
            if not partition.up:
                raise CommandRefused("Queue is not enabled", 173)
            return partition
    raise CommandRefused("Unknown queue", 170)


def _chunk(text: str) -> dict[str, str]:
    found = _SELECT.fullmatch(text)
    if found is None:
        raise CommandRefused("Illegal attribute or resource value select", 166)
    chunk = dict(pair.split("=", 1) for pair in found[1][1:].split(":"))
    for name in chunk:
        if name not in ("ncpus", "mem", "ngpus", "vmem"):
            raise CommandRefused(f"Unknown resource: {name}", 187)
    return chunk


def _amount(text: str) -> Memory:
    found = re.fullmatch(r"(\d+)(b|kb|mb|gb|tb)", text)
    if found is None:
        raise CommandRefused("Illegal attribute or resource value select.mem", 166)
    return Memory(int(found[1]) * 2 ** {"b": 0, "kb": 10, "mb": 20, "gb": 30, "tb": 40}[found[2]])


def _walltime(text: str | None) -> Duration | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d+(:\d+){0,2}", text):
        raise CommandRefused("Illegal attribute or resource value Resource_List.walltime", 166)
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part)
    return Duration(seconds)


def _never(partition: Partition, chunk: Mapping[str, str], memory: Memory) -> str:
    """Say why no node of the queue can hold the job, which is taken and waits; empty: one can."""
    wishes = {"ncpus": int(chunk.get("ncpus", 1)), "mem": memory, "ngpus": int(chunk.get("ngpus", 0))}
    for name, asked in wishes.items():
        most = max(_has(node)[name] for node in partition.nodes)
        if asked > most:
            told = [f"{amount // 2**20}mb" if name == "mem" else str(amount) for amount in (asked, most, most)]
            return "Can Never Run: Insufficient amount of resource: {} (R: {} A: {} T: {})".format(name, *told)
    return ""


def _has(node: NodeShape) -> dict[str, int]:
    return {"ncpus": node.cores * node.threads_per_core, "mem": int(node.memory), "ngpus": node.gpus}


# --------------------------------------------------------------------------------------------------------------- qstat


def _qstat(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    words = [word for word in asked.arguments if word not in ("-F", "json")]
    if "-Qf" in words:
        return _told("Queue", {partition.name: _queue_row(partition, queue) for partition in site.partitions})
    if "-Bf" in words:
        return _told("Server", {_SERVER: _server_row(dialect, site)})
    if "-B" in words or "-u" in words:
        return ""
    if not {"-f", "-t"} <= set(words):
        raise CommandRefused(f"conflicting options.\n{_USAGE}", 2)
    history = "-x" in words
    kept = dialect.accounting and site.accounting
    if history and not kept:
        raise _Partly(_told("Jobs", {}), "qstat: PBS is not configured to maintain job history \n", 0)
    rows: dict[str, Any] = {}
    for base in dict.fromkeys(job.order.base for job in queue.jobs):
        jobs = [job for job in queue.jobs if job.order.base == base]
        if history or any(not isinstance(job.phase, Ended) for job in jobs):
            rows |= dict(_rows(jobs, history=kept))
    if not (ids := [word for word in words if not word.startswith("-")]):
        return _told("Jobs", {"900000.node1": _STRANGE, **rows})
    shown = {id: row for id, row in rows.items() for asked_for in ids if _belongs(id, asked_for)}
    if missing := [id for id in ids if not any(_belongs(shown_id, id) for shown_id in shown)]:
        raise _Partly(_told("Jobs", shown), "".join(f"qstat: Unknown Job Id {id}\n" for id in missing), 153)
    return _told("Jobs", shown)


_STRANGE = {"Job_Name": "my-own.job+", "Job_Owner": f"bob@{_SERVER}", "job_state": "R", "substate": 42}
"""Somebody else's job."""


def _belongs(id: str, asked_for: str) -> bool:
    return id == asked_for or ("[]" in asked_for and re.sub(r"\[\d+\]", "[]", id) == asked_for)


def _told(key: str, rows: Mapping[str, Any]) -> str:
    head: dict[str, Any] = {"timestamp": 1796030341, "pbs_version": _VERSION, "pbs_server": _SERVER}
    return json.dumps({**head, key: rows} if rows else head, indent="\t", separators=(",", ":\t")) + "\n"


def _rows(jobs: Sequence[FakeJob], *, history: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    order = jobs[0].order
    if order.elements:
        held = all(isinstance(job.phase, Pending) and job.phase.held for job in jobs)
        over = all(isinstance(job.phase, Ended) for job in jobs)
        letter, substate = ("F", 92) if over else ("H", 20) if held else ("B", 70)
        comment = f"Job Array Began at {_DATE[:-5]}"
        yield (
            f"{order.base}[].{_SERVER}",
            {**_common(order), "job_state": letter, "substate": substate, "comment": comment},
        )
    alive = any(not isinstance(job.phase, Ended) for job in jobs)
    for job in jobs:
        if not isinstance(job.phase, Ended):
            yield job.id, _living(job)
        elif job.index is not None and alive:
            yield job.id, {**_over(job, history=history), "job_state": "X"}
        elif history:
            yield job.id, {**_over(job, history=True), "job_state": "F"}


def _common(order: Order) -> dict[str, Any]:
    seconds = int(order.walltime or 0)
    walltime = {"walltime": f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"} if seconds else {}
    return {
        "Job_Name": order.name,
        "Job_Owner": f"alice@{_SERVER}",
        "queue": order.partition,
        "server": _SERVER,
        "Output_Path": f"{_SERVER}:{order.output}",
        "Resource_List": {"mem": f"{order.memory.mebibytes}mb", "nodect": 1, "place": "pack", **walltime},
        "Variable_List": {"PBS_O_HOST": _SERVER},
    }


def _living(job: FakeJob) -> dict[str, Any]:
    row = _common(job.order)
    match job.phase:
        case Pending(reason=reason, held=held):
            failed = reason == FAILED_STARTS
            never = reason.startswith("Can Never Run")
            letter, substate = ("H", 20) if held and not never else ("Q", 10)
            told = _WAITS.get(reason, reason if held else f"Not Running: {reason}")
            row |= {"job_state": letter, "substate": substate, "Hold_Types": "s" if failed else "u" if held else "n"}
            return {**row, **({"comment": told} if told else {}), **({"Exit_status": -3} if failed else {})}
        case Completing(then=Ended(word="CANCELLED")):
            ends = f" and terminated by alice@{_SERVER}"
        case _:
            ends = ""
    letter, substate = ("S", 43) if isinstance(job.phase, Suspended) else ("R", 42)
    comment = f"Job run at {_DATE[:-5]} on ({job.node}:ncpus=1){ends}"
    row |= {"job_state": letter, "substate": substate, "comment": comment}
    return {**row, "exec_host": f"{job.node}/0", "run_count": job.restarts + 1}


_WAITS = {
    "None": "",
    "Resources": "Not Running: Not enough free nodes available",
    "Priority": "Not Running: Not enough free nodes available",
    "held by its user": "Job held by alice on " + _DATE,
}
"""The engine's reasons in PBS's words."""


def _over(job: FakeJob, *, history: bool) -> dict[str, Any]:
    row, phase = _common(job.order), job.phase
    assert isinstance(phase, Ended)
    if not history or phase.node is None:
        untold = {"substate": 70, "Exit_status": 1, "comment": "Subjob finished"}
        return {**row, **untold} if job.index is not None else {**row, "substate": 91}
    signal = phase.status & 0x7F
    code = 128 + signal if signal else phase.status >> 8
    own = {"TIMEOUT": -29, "OUT_OF_MEMORY": -27, "NODE_FAIL": -20, "CANCELLED": 271, "PREEMPTED": 271}
    substate = {"CANCELLED": 91, "COMPLETED": 92}.get(phase.word, 93)
    how = {"CANCELLED": f"terminated by alice@{_SERVER}", "COMPLETED": "finished"}.get(phase.word, "failed")
    how = {"TIMEOUT": "exceeded resource walltime", "OUT_OF_MEMORY": "exceeded resource mem"}.get(phase.word, how)
    return {
        **row,
        "substate": substate,
        "Exit_status": own.get(phase.word, code),
        "comment": f"Job run at {_DATE[:-5]} on ({phase.node}:ncpus=1) and {how}",
        "exec_host": f"{phase.node}/0",
        "Stageout_status": 1,
    }


# ------------------------------------------------------------------------------------------------------- qdel, qselect


def _qdel(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    _, ids = _options(asked.arguments)
    if dialect.ids_per_cancel is not None and len(ids) > dialect.ids_per_cancel:
        # The real one dies of some orders of ids, and not of others: of none is anybody to make a habit.
        raise BrokenDown(f"{len(ids)} ids in one qdel")
    for id in ids:
        jobs = list(_named(queue, id))
        living = [job for job in jobs if not isinstance(job.phase, Ended)]
        if not living:
            raise _gone(queue, jobs, id)
        for job in living:
            queue.end(job, "CANCELLED", status=0)
    return ""


def _named(queue: JobQueue, id: str) -> Iterator[FakeJob]:
    found = re.fullmatch(r"(\d+)(?:\[(\d*)(?:-(\d+))?\])?(?:\.node1)?", id)
    if found is None:
        raise CommandRefused(f"illegally formed job identifier: {id}")
    base, first, last = found.groups()
    for job in queue.jobs:
        if job.order.base != int(base) or bool(job.order.elements) != ("[" in id):
            continue
        if not first or int(first) <= (job.index or 0) <= int(last or first):
            yield job


def _gone(queue: JobQueue, jobs: Sequence[FakeJob], id: str) -> CommandRefused:
    siblings = [job for job in queue.jobs if jobs and job.order.base == jobs[0].order.base]
    if "[" in id and "[]" not in id and any(not isinstance(job.phase, Ended) for job in siblings):
        return CommandRefused(f"Request invalid for finished array subjob {id}", 55)
    return CommandRefused(f"Unknown Job Id {id}", 153)


def _qselect(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    words = [word for word in asked.arguments if word != "-T"]
    options, _ = _options(words)
    jobs = [job for job in queue.jobs if job.name == options.get("-N") and not isinstance(job.phase, Ended)]
    elements = "-T" in asked.arguments
    # An array has one row, as long as elements of it are not told apart.
    ids = (job.id if elements else re.sub(r"\[\d+\]", "[]", job.id) for job in jobs)
    return "".join(f"{id}\n" for id in dict.fromkeys(ids))


def _id(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    if asked.arguments == ("-un",):
        return "alice\n"
    return f"uid=1001({asked.arguments[-1]}) gid=1001(users) groups=1001(users)\n"


# ----------------------------------------------------------------------------------------------------- queues and nodes


def _queue_row(partition: Partition, queue: JobQueue) -> dict[str, Any]:
    waiting = sum(job.order.partition == partition.name and isinstance(job.phase, Pending) for job in queue.jobs)
    closed = {"acl_group_enable": "True", "acl_groups": ",".join(partition.allow_groups)}
    most, given = partition.max_time, partition.default_time
    return {
        "queue_type": "Execution",
        "total_jobs": waiting,
        "state_count": f"Transit:0 Queued:{waiting} Held:0 Waiting:0 Running:0 Exiting:0 Begun:0 ",
        **({"resources_max": {"walltime": str(int(most))}} if most else {}),
        **({"resources_default": {"walltime": str(int(given))}} if given else {}),
        "default_chunk": {"Qlist": partition.name},
        **(closed if partition.allow_groups else {}),
        "enabled": str(partition.up),
        "started": str(partition.up),
    }


def _server_row(dialect: Dialect, site: Site) -> dict[str, Any]:
    return {
        "server_state": "Active",
        "default_queue": next(partition.name for partition in site.partitions if partition.default),
        "max_array_size": site.max_array_size - 1,
        "pbs_version": _VERSION,
        **({"job_history_enable": "True"} if dialect.accounting and site.accounting else {}),
    }


def _pbsnodes(dialect: Dialect, site: Site, queue: JobQueue, asked: Asked) -> str:
    queues: dict[NodeShape, list[str]] = {}
    for partition in site.partitions:
        for shape in partition.nodes:
            queues.setdefault(shape, []).append(partition.name)
    nodes: dict[str, Any] = {}
    for shape, names in queues.items():
        for _ in range(shape.count):
            name = f"fake-n{len(nodes) + 1}"
            amounts = {**_has(shape), "mem": f"{shape.memory // 2**10}kb"}
            resources = {"arch": "linux", "host": name, **amounts, "Qlist": ",".join(names), "vnode": name}
            nodes[name] = {"ntype": "PBS", "state": "free", "resources_available": resources, "resources_assigned": {}}
    return _told("nodes", nodes)


# ------------------------------------------------------------------------------------------------------------ all of it

_COMMANDS: Mapping[str, Callable[[Dialect, Site, JobQueue, Asked], str]] = {
    "qsub": _qsub,
    "qstat": _qstat,
    "qdel": _qdel,
    "qselect": _qselect,
    "pbsnodes": _pbsnodes,
    "id": _id,
}

_DOWN = {"qstat": 255, "pbsnodes": 1}
"""Exit codes of commands without a server; those of the others are 162."""


def _unreachable(program: str, words: str = "Connection refused", code: int | None = None) -> Answer:
    number = {"Connection refused": 15010, "Communication failure.": 15031}[words]
    told = f"{program}: cannot connect to server {_SERVER} (errno={number})"
    if program == "qdel":
        told = f"Couldn't connect to cluster: {_SERVER}"
    shown = _told("Jobs", {}) if program == "qstat" else ""
    return Answer(shown, f"{words}\n{told}\n", code or _DOWN.get(program, 162))


def _variables(job: FakeJob, node: str, now: float) -> dict[str, str]:
    variables = {
        "PBS_JOBID": job.id,
        "PBS_JOBNAME": job.name,
        "PBS_QUEUE": job.order.partition,
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_O_HOST": _SERVER,
    }
    if job.index is not None:
        array = f"{job.order.base}[].{_SERVER}"
        variables |= {"PBS_ARRAY_INDEX": str(job.index), "PBS_ARRAY_ID": array}
    return variables


COMMANDS = SystemCommands(
    answer=_answer,
    # As the hook of a site says no: in its own words.
    refused=lambda program, words: Answer(stderr=f"{program}: {words}\n", returncode=32),
    unreachable=_unreachable,
    lost=lambda program: _unreachable(program, "Communication failure.", 183),
    lists=lambda program, arguments: program == "qstat" and "-f" in arguments and "-x" not in arguments,
    stands_alone=lambda program, arguments: program == "id" or "--version" in arguments,
    variables=_variables,
    log_names=lambda job: {"^array_index^": str(job.index)},
    files=lambda job, node: {"PBS_NODEFILE": f"{node}\n"},
    valued=_VALUED,
)
