"""What a fake cluster answers to SLURM's commands: the text, the exit codes and the refusals of the real ones (22.05).

Options are taken in the form ``--name=value`` (and ``--name``), as jobpool writes them. An option that the real command
does not know is refused here too, so that a slip in a directive does not go unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from jobpool.model.site import NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.fake.dialects import Dialect
from jobpool.testing.fake.jobs import Ended, FakeJob, JobQueue, Pending
from jobpool.testing.fake.site import Answer, Asked, CommandRefused, Site, expand, take_options
from jobpool.testing.fake.submit import sbatch
from jobpool.testing.fake.systems import SystemCommands
from jobpool.testing.fake.variables import slurm_variables

__all__ = ["COMMANDS", "answer", "unreachable"]


def answer(dialect: Dialect, program: str, site: Site, queue: JobQueue, asked: Asked) -> Answer:
    """Carry out one command and return what it prints."""
    try:
        said = _COMMANDS[program](site, queue, asked)
        return Answer(said) if isinstance(said, str) else said
    except CommandRefused as refused:
        words = "".join(f"{program}: error: {line}\n" for line in str(refused).splitlines())
        return Answer(stderr=words, returncode=refused.returncode)


def unreachable(program: str, words: str) -> Answer:
    """Return what a command says when it cannot speak with the controller."""
    prefix = {
        "sbatch": "sbatch: error: Batch job submission failed: ",
        "squeue": "slurm_load_jobs error: ",
        "scancel": "scancel: error: ",
        "scontrol": "slurm_load_ctl_conf error: ",
        "sinfo": "slurm_load_partitions: ",
    }
    return Answer(stderr=f"{prefix.get(program, '')}{words}\n", returncode=1)


# ----------------------------------------------------------------------------------------------- squeue, sacct, scancel


def _squeue(site: Site, queue: JobQueue, asked: Asked) -> str:
    known = frozenset(["me", "all", "array", "states", "noheader", "name", "jobs", "Format", "user"])
    options, _ = take_options(asked.arguments, known, "squeue")
    fields = [field.partition(":") for field in options.get("Format", _SQUEUE_DEFAULT).split(",")]
    for name, _, _ in fields:
        if name not in _QUEUE_FIELDS:
            raise CommandRefused(f"Invalid job format specification: {name}")
    everything, pending = options.get("states") == "all", options.get("states") == "PENDING"
    shown = [job for job in _chosen(queue, options) if everything or not isinstance(job.phase, Ended)]
    shown = [job for job in shown if not pending or isinstance(job.phase, Pending)]
    rows = ["".join(_QUEUE_FIELDS[name](job) + ends for name, _, ends in fields) for job in _folded(shown)]
    head = [] if "noheader" in options else ["".join(name.upper() + ends for name, _, ends in fields)]
    return "".join(f"{row}\n" for row in [*head, *rows])


_SQUEUE_DEFAULT = "JobArrayID: ,Partition: ,Name: ,UserName: ,State: ,BatchHost: ,Reason: "

_QUEUE_FIELDS: Mapping[str, Callable[[FakeJob], str]] = {
    "JobArrayID": lambda job: job.id,
    "JobID": lambda job: str(job.raw),
    "ArrayTaskID": lambda job: "N/A" if job.index is None else str(job.index),
    "Name": lambda job: job.name,
    "Partition": lambda job: job.order.partition,
    "UserName": lambda job: "you",
    "State": lambda job: job.word,
    "exit_code": lambda job: str(job.phase.status) if isinstance(job.phase, Ended) else "0",
    "StartTime": lambda job: "N/A",
    "BatchHost": lambda job: job.node or "n/a",
    "TimeLimit": lambda job: _queue_time(job.order.walltime),
    "MinMemory": lambda job: f"{job.order.memory.mebibytes}M",
    "Reason": lambda job: job.phase.reason if isinstance(job.phase, Pending | Ended) else "None",
}


def _folded(jobs: Iterable[FakeJob]) -> Iterator[FakeJob]:
    """Yield the jobs, but of an array's elements that were cancelled while pending only one, without index (seen)."""
    told: set[int] = set()
    for job in jobs:
        if job.index is None or not isinstance(job.phase, Ended) or job.phase.node is not None:
            yield job
        elif job.order.base not in told:
            told.add(job.order.base)
            yield FakeJob(job.order, None, job.raw, job.phase)


def _sacct(site: Site, queue: JobQueue, asked: Asked) -> str | Answer:
    if not site.accounting:
        return Answer(stderr="Slurm accounting storage is disabled\n", returncode=1)
    known = frozenset(["allocations", "parsable2", "noheader", "starttime", "name", "jobs", "format", "user"])
    options, _ = take_options(asked.arguments, known, "sacct")
    fields = options.get("format", "JobID,State,ExitCode").split(",")
    if odd := [field for field in fields if field not in _ACCOUNT_FIELDS]:
        raise CommandRefused(f'Invalid field requested: "{odd[0]}"')
    rows = ["|".join(_ACCOUNT_FIELDS[field](job) for field in fields) for job in _chosen(queue, options)]
    head = [] if "noheader" in options else ["|".join(fields)]
    return "".join(f"{row}\n" for row in [*head, *rows])


def _account_state(job: FakeJob) -> str:
    if isinstance(job.phase, Pending) and job.phase.ended_as:
        return job.phase.ended_as
    word = "RUNNING" if job.word == "COMPLETING" else job.word
    return "CANCELLED by 1001" if word == "CANCELLED" else word


def _account_exit(job: FakeJob) -> str:
    if job.word not in ("FAILED", "OUT_OF_MEMORY") or not isinstance(job.phase, Ended):
        return "0:0"
    signal = job.phase.status & 0x7F
    return f"0:{signal}" if signal else f"{job.phase.status >> 8}:0"


_ACCOUNT_FIELDS: Mapping[str, Callable[[FakeJob], str]] = {
    "JobID": lambda job: job.id,
    "JobName": lambda job: job.name,
    "State": _account_state,
    "ExitCode": _account_exit,
    "NodeList": lambda job: job.node or "None assigned",
    "Timelimit": lambda job: _account_time(job.order.walltime),
    "ReqMem": lambda job: f"{job.order.memory.mebibytes}M",
    "Reason": lambda job: "None",
}


def _scancel(site: Site, queue: JobQueue, asked: Asked) -> str:
    options, operands = take_options(asked.arguments, frozenset({"name", "user", "me", "signal"}), "scancel")
    if not options and not operands:
        raise CommandRefused("No job identification provided")
    ids = {id for operand in operands for id in _ids(operand)}
    for job in _chosen(queue, {key: value for key, value in options.items() if key == "name"}):
        if not operands or job.id in ids or str(job.order.base) in ids:
            queue.end(job, "CANCELLED", status=0)
    return ""


def _ids(text: str) -> Iterator[str]:
    """List the ids of ``7``, ``7_1`` or ``7_[0-3,9]``."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)\]", text)
    if match:
        yield from (f"{match[1]}_{index}" for index in expand(match[2]))
    elif re.fullmatch(r"\d+(_\d+)?", text):
        yield text
    else:
        raise CommandRefused(f"Invalid job id {text}")


def _chosen(queue: JobQueue, options: Mapping[str, str]) -> list[FakeJob]:
    jobs = list(queue.jobs)
    if "name" in options:
        names = set(options["name"].split(","))
        jobs = [job for job in jobs if job.name in names]
    if "jobs" in options:
        ids = set(options["jobs"].split(","))
        jobs = [job for job in jobs if job.id in ids or str(job.order.base) in ids]
        if not jobs and len(ids) == 1 and "name" not in options:
            raise CommandRefused("Invalid job id specified")
    return jobs


# ------------------------------------------------------------------------------------------------------ scontrol, sinfo


def _scontrol(site: Site, queue: JobQueue, asked: Asked) -> str:
    words = [word for word in asked.arguments if not word.startswith("-")]
    match words:
        case ["ping"]:
            return "Slurmctld(primary) at fake is UP\n"
        case ["show", "config"]:
            return _config(site)
        case ["show", "partition" | "partitions"]:
            return "".join(f"{_partition_line(partition)}\n" for partition in site.partitions)
        case ["show", "license" | "licenses"]:
            return "".join(f"{_license_line(text)}\n" for text in site.licenses)
        case ["show", "reservation" | "reservations"]:
            return "No reservations in the system\n"
        case ["requeue", id]:
            queue.end(_one(queue, id), "CANCELLED", requeue=True)
            return ""
        case _:
            raise CommandRefused(f"the fake cluster does not know: scontrol {' '.join(words)}")


def _one(queue: JobQueue, id: str) -> FakeJob:
    try:
        return queue.find(id)
    except KeyError:
        raise CommandRefused("Invalid job id specified") from None


def _config(site: Site) -> str:
    values = {
        "AccountingStorageEnforce": "none",
        "AccountingStorageType": "accounting_storage/slurmdbd" if site.accounting else "accounting_storage/none",
        "ClusterName": "fake",
        "EnforcePartLimits": "NO",
        "MaxArraySize": site.max_array_size,
        "MaxJobCount": 10000,
        "MaxMemPerNode": "UNLIMITED",
        "SchedulerParameters": "(null)",
        "SLURM_VERSION": "22.05.8",
    }
    return "\n".join(["Configuration data as of NOW", *(f"{key:<23} = {value}" for key, value in values.items()), ""])


def _partition_line(partition: Partition) -> str:
    fields = {
        "PartitionName": partition.name,
        "AllowGroups": _listed(partition.allow_groups),
        "AllowAccounts": _listed(partition.allow_accounts),
        "AllowQos": _listed(partition.allow_qos),
        "Default": "YES" if partition.default else "NO",
        "DefaultTime": _account_time(partition.default_time) if partition.default_time else "NONE",
        "MaxNodes": partition.max_nodes or "UNLIMITED",
        "MaxTime": _account_time(partition.max_time),
        "State": "UP" if partition.up else "INACTIVE",
        **_memory_field("DefMem", partition.default_memory_per_cpu, None),
        **_memory_field("MaxMem", partition.max_memory_per_cpu, partition.max_memory_per_node),
    }
    return " ".join(f"{key}={value}" for key, value in fields.items())


def _memory_field(name: str, per_cpu: Memory | None, per_node: Memory | None) -> dict[str, object]:
    if per_cpu is not None:
        return {f"{name}PerCPU": per_cpu.mebibytes}
    return {f"{name}PerNode": "UNLIMITED" if per_node is None else per_node.mebibytes}


def _license_line(text: str) -> str:
    name, _, total = text.partition(":")
    return f"LicenseName={name} Total={total} Used=0 Free={total} Reserved=0 Remote=no"


def _sinfo(site: Site, queue: JobQueue, asked: Asked) -> str:
    options, _ = take_options(asked.arguments, frozenset(["all", "noheader", "exact", "format"]), "sinfo")
    form = options.get("format", "%R|%D")
    rows = [_filled(form, partition, node) for partition in site.partitions for node in partition.nodes]
    head = [] if "noheader" in options else [form]
    return "".join(f"{row}\n" for row in [*head, *rows])


def _sacctmgr(site: Site, queue: JobQueue, asked: Asked) -> str | Answer:
    # It knows accounting, but neither accounts nor QoS: nothing of them is enforced.
    return (
        ""
        if site.accounting
        else Answer(stderr="You are not running a supported accounting_storage plugin\n", returncode=1)
    )


def _filled(form: str, partition: Partition, node: NodeShape) -> str:
    cpus = node.count * node.cores * node.threads_per_core
    values = {
        "R": partition.name,
        "D": str(node.count),
        "X": "1",
        "Y": str(node.cores),
        "Z": str(node.threads_per_core),
        "m": str(node.memory.mebibytes),
        "G": f"gpu:a100:{node.gpus}" if node.gpus else "(null)",
        "f": ",".join(node.features) or "(null)",
        "C": f"0/{cpus}/0/{cpus}",
    }
    return re.sub(r"%([A-Za-z])", lambda match: values.get(match[1], ""), form)


# --------------------------------------------------------------------------------------------------------- small parts


def _listed(names: Sequence[str]) -> str:
    return ",".join(names) or "ALL"


def _clock(time: Duration) -> tuple[int, int, int, int]:
    minutes, seconds = divmod(int(time), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return days, hours, minutes, seconds


def _account_time(time: Duration | None) -> str:
    if time is None:
        return "UNLIMITED"
    days, hours, minutes, seconds = _clock(time)
    return f"{f'{days}-' if days else ''}{hours:02d}:{minutes:02d}:{seconds:02d}"


def _queue_time(time: Duration | None) -> str:
    if time is None:
        return "UNLIMITED"
    days, hours, minutes, seconds = _clock(time)
    if days:
        return f"{days}-{hours:02d}:{minutes:02d}:{seconds:02d}"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


_COMMANDS: Mapping[str, Callable[[Site, JobQueue, Asked], str | Answer]] = {
    "sbatch": sbatch,
    "squeue": _squeue,
    "sacct": _sacct,
    "scancel": _scancel,
    "scontrol": _scontrol,
    "sinfo": _sinfo,
    "sacctmgr": _sacctmgr,
    "id": lambda site, queue, asked: f"uid=1001({asked.arguments[-1]}) gid=1001(users) groups=1001(users)\n",
}


def _log_names(job: FakeJob) -> dict[str, str]:
    index = "4294967294" if job.index is None else str(job.index)  # SLURM's own "no value"
    return {"%A": str(job.order.base), "%a": index, "%j": str(job.raw), "%x": job.order.name, "%%": "%"}


COMMANDS = SystemCommands(
    answer=answer,
    refused=lambda program, words: Answer(stderr=f"{program}: error: {words}\n", returncode=1),
    unreachable=lambda program: unreachable(program, "Unable to contact slurm controller (connect failure)"),
    lost=lambda program: unreachable(program, "Socket timed out on send/recv operation"),
    lists=lambda program, arguments: program == "squeue",
    # The accounting is a database's, not the controller's.
    stands_alone=lambda program, arguments: program == "sacct",
    variables=slurm_variables,
    log_names=_log_names,
)
