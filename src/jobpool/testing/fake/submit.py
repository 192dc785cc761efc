"""What a fake cluster does with sbatch: options, directives, refusals, and the jobs that come of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from jobpool.model.site import NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.fake.jobs import JobQueue, Order
from jobpool.testing.fake.site import Asked, CommandRefused, Site, expand, take_options

__all__ = ["partition_of", "read_script", "reason_to_wait", "sbatch"]

_SBATCH_OPTIONS = frozenset(
    {
        *("account", "array", "chdir", "comment", "constraint", "cpus-per-task", "dependency", "error", "exclude"),
        *("exclusive", "export", "gpus", "gres", "hint", "hold", "job-name", "kill-on-invalid-dep", "licenses"),
        *("mail-type", "mail-user", "mem", "mem-per-cpu", "nice", "no-requeue", "nodelist", "nodes", "ntasks"),
        *("open-mode", "output", "parsable", "partition", "qos", "requeue", "reservation", "signal", "test-only"),
        *("threads-per-core", "time", "wckey"),
    }
)


def sbatch(site: Site, queue: JobQueue, asked: Asked) -> str:
    """Carry out sbatch: put the jobs into the queue, or raise :class:`CommandRefused`."""
    options, operands = take_options(asked.arguments, _SBATCH_OPTIONS, "sbatch")
    script = read_script(operands, asked)
    for line in re.findall(r"^#SBATCH[ \t]+(.*)$", script, re.MULTILINE):
        given, _ = take_options(_directive_words(line), _SBATCH_OPTIONS, "sbatch")
        options = {**given, **options}  # the command line wins
    order = _order(site, queue, asked, script, options)
    if "test-only" in options:
        start = datetime.now().isoformat(timespec="seconds")
        return f"sbatch: Job {order.base} to start at {start} using 1 processors in partition {order.partition}\n"
    queue.add(order, asked.now)
    return f"{order.base}\n" if "parsable" in options else f"Submitted batch job {order.base}\n"


def read_script(operands: Sequence[str], asked: Asked) -> str:
    """Return the script of a submit command: a file that is named, or what stands on stdin."""
    script = (asked.directory / operands[0]).read_text() if operands else asked.stdin
    if not script.startswith("#!"):
        raise CommandRefused(
            "This does not look like a batch script.  The first\n"
            "line must start with #! followed by the path to an interpreter.\nFor instance: #!/bin/sh"
        )
    if "\r\n" in script:
        raise CommandRefused(
            "Batch script contains DOS line breaks (\\r\\n)\ninstead of expected UNIX line breaks (\\n)."
        )
    return script


def _directive_words(line: str) -> Iterator[str]:
    """Split a directive as sbatch does: a backslash escapes everywhere, ``#`` outside quotes begins a comment."""
    word, quote, escaped = "", "", False
    for character in f"{line} ":
        if escaped:
            word, escaped = word + character, False
        elif character == "\\":
            escaped = True
        elif character == quote:
            quote = ""
        elif quote:
            word += character
        elif character in "\"'":
            quote = character
        elif character == "#":
            break
        elif character.isspace():
            if word:
                yield word
            word = ""
        else:
            word += character


def _order(site: Site, queue: JobQueue, asked: Asked, script: str, options: Mapping[str, str]) -> Order:
    partition = partition_of(site, options.get("partition"))
    elements, at_once = _elements(site, options.get("array"))
    memory = _memory(partition, options.get("mem"))
    held = _held(partition, memory, options)
    walltime = _walltime(options.get("time")) or partition.default_time or partition.max_time
    if walltime and partition.max_time and walltime > partition.max_time:
        held = "PartitionTimeLimit"
    return Order(
        base=queue.next_id(),
        name=options.get("job-name", "sbatch"),
        partition=partition.name,
        script=script,
        output=options.get("output", "slurm-%A_%a.out" if elements else "slurm-%j.out"),
        append=options.get("open-mode") == "append",
        requeue="no-requeue" not in options,
        directory=asked.directory / options.get("chdir", "."),
        umask=asked.umask,
        environment=asked.environment,
        elements=elements,
        at_once=at_once,
        walltime=walltime,
        memory=memory,
        held=held,
    )


def partition_of(site: Site, name: str | None) -> Partition:
    """Return the partition that is asked for, or the default. Refuses one that there is not, or that is closed."""
    for partition in site.partitions:
        if partition.name == name or (name is None and partition.default):
            if partition.allow_groups:
                raise _failed("User's group not permitted to use this partition")
            if not partition.up:
                raise _failed("Required partition not available (inactive or drain)")
            return partition
    raise CommandRefused(f"invalid partition specified: {name}\n{_FAILED}Invalid partition name specified")


_FAILED = "Batch job submission failed: "


def _failed(words: str) -> CommandRefused:
    return CommandRefused(_FAILED + words)


def _elements(site: Site, text: str | None) -> tuple[tuple[int, ...], int | None]:
    if text is None:
        return (), None
    indices, _, at_once = text.partition("%")
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", indices) or (at_once and not at_once.isdecimal()):
        raise _failed("Invalid job array specification")
    elements = tuple(expand(indices))
    if not elements or max(elements) >= site.max_array_size:
        raise _failed("Invalid job array specification")
    return elements, int(at_once) if at_once else None


def _memory(partition: Partition, text: str | None) -> Memory:
    if text is None:
        return partition.default_memory_per_cpu or Memory(1000 * 2**20)
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", text, re.IGNORECASE)
    if match is None:
        raise CommandRefused("Invalid --mem specification", 255)
    return Memory(int(match[1]) * 2 ** {"K": 10, "": 20, "M": 20, "G": 30, "T": 40}[match[2].upper()])


def _held(partition: Partition, memory: Memory, options: Mapping[str, str]) -> str:
    """Return the reason for which a job is taken and never started; empty: it may be."""
    cpus = int(options.get("ntasks", "1")) * int(options.get("cpus-per-task", "1"))
    gpus = int(options.get("gres", "gpu:0").rpartition(":")[2])
    one_thread = options.get("threads-per-core") == "1"
    reason = reason_to_wait(partition, memory=memory, cpus=cpus, gpus=gpus, one_thread=one_thread)
    return reason or ("JobHeldUser" if "hold" in options else "")


def reason_to_wait(partition: Partition, *, memory: Memory, cpus: int, gpus: int, one_thread: bool) -> str:
    """Refuse what no node has; return the reason for which a job is taken and never started (EnforcePartLimits=NO)."""

    def has(node: NodeShape) -> bool:
        return node.cores * (1 if one_thread else node.threads_per_core) >= cpus and node.gpus >= gpus

    if not any(node.memory >= memory for node in partition.nodes):
        raise CommandRefused(
            f"Memory specification can not be satisfied\n{_FAILED}Requested node configuration is not available"
        )
    if cpus > sum(node.count * node.cores * node.threads_per_core for node in partition.nodes):
        return "PartitionConfig"  # more than all nodes together: not refused (seen)
    if not any(has(node) and node.memory >= memory for node in partition.nodes):
        raise _failed("Requested node configuration is not available")
    return ""


def _walltime(text: str | None) -> Duration | None:
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)|(\d+)(?::(\d+))?", text)
    if match is None:
        raise CommandRefused("Invalid --time specification", 255)
    days, hours, minutes, seconds, alone, behind = (int(part or 0) for part in match.groups())
    total = days * 86400 + hours * 3600 + (minutes + alone) * 60 + seconds + behind
    return Duration(-(-total // 60) * 60)  # whole minutes
