"""``explain_script`` and ``explain_cluster``: what a job script, or a ``SLURMCluster(...)``, would really give."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from jobpool.batch.slurm.options import SRUN_ONLY, named, refusal_of_srun
from jobpool.batch.slurm.read_script import ReadScript, read_script, slurm_size
from jobpool.batch.slurm.rules import SlurmRules
from jobpool.config.jobqueue_yaml import dask_bytes, dask_processes, read_walltime
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory
from jobpool.show import explanation_script as shown
from jobpool.site import explain_script as core_script
from jobpool.tools.check import read_limits_now

__all__ = ["ExplainedScript", "cluster_script", "explain_cluster", "explain_script", "read_call"]


class ExplainedScript(core_script.ScriptExplanation):
    """What a job script would really give. ``print`` it."""

    __slots__ = ()

    def __str__(self) -> str:
        return shown.as_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the text, and not the fields, as the result of a notebook's cell."""
        printer.text(str(self))


def explain_script(text: str, *, limits: Limits | None = None) -> ExplainedScript:
    """Say what the directives of an sbatch script would really give, and name the pitfalls in it.

    Args:
        text: The script.
        limits: What the site allows. Default: read from SLURM.

    Raises:
        ConfigError: A script for another batch system.
        BatchSystemUnavailable: SLURM cannot be asked here.
    """
    script = read_script(text)
    if script.foreign and not script.has_directives:
        raise ConfigError(
            f"this is a script for {' and '.join(script.foreign)}: it has no #SBATCH line, and SLURM's are the ones "
            "that can be explained",
            advice="write its directives as #SBATCH ones; what jobpool asks SLURM for is shown by: jobpool explain",
        )
    limits = read_limits_now("slurm") if limits is None else replace(limits, rules=SlurmRules())
    made = core_script.explain_script(wish_of_script(script), limits)
    made = replace(
        made,
        problems=(*(refusal_of_srun(name) for name in script.options if name in SRUN_ONLY), *made.problems),
        pitfalls=(*_unknown_lines(script), *made.pitfalls),
    )
    return ExplainedScript(**{field.name: getattr(made, field.name) for field in fields(made)})


def explain_cluster(arguments: Mapping[str, Any], *, limits: Limits | None = None) -> ExplainedScript:
    """Say what ``dask_jobqueue.SLURMCluster(**arguments)`` would really give for each job.

    Args:
        arguments: Its arguments by name: ``cores``, ``processes``, ``memory``, ``walltime``, ``queue``, ...
        limits: What the site allows. Default: read from SLURM.

    Raises:
        ConfigError: Arguments that it would not take.
        BatchSystemUnavailable: SLURM cannot be asked here.
    """
    found = explain_script(cluster_script(arguments), limits=limits)
    told = [text for text in found.pitfalls if not text.startswith("OMP_NUM_THREADS")]
    return replace(found, pitfalls=(*_dask_pitfalls(arguments), *told), keywords=_shared_out(found.keywords, arguments))


def _unknown_lines(script: ReadScript) -> Iterator[str]:
    """Name what is not explained, since it is nothing of sbatch's."""
    if script.foreign:
        yield f"the directives of {' and '.join(script.foreign)} are not explained; write them as #SBATCH lines"
    for name in script.options:
        if name not in SRUN_ONLY and not named(name):
            yield f"sbatch has no option --{name}, and refuses the script, unless a plugin of this site adds it"


def wish_of_script(script: ReadScript) -> core_script.ScriptWish:
    """Turn directives into what they ask for on one node."""
    options = script.options
    nodes = _number(options.get("nodes", "1").partition("-")[0]) or 1
    tasks = _number(options.get("ntasks", "")) or (_number(options.get("ntasks-per-node", "")) or 1) * nodes
    hint = options.get("hint", "")
    body = "\n".join(script.commands)
    return core_script.ScriptWish(
        wish=Wish(
            tasks=-(-tasks // nodes),
            cpus_per_task=_number(options.get("cpus-per-task", "")) or 1,
            threads=1 if hint == "nomultithread" else _number(options.get("threads-per-core", "")),
            memory=slurm_size(options.get("mem", "")),
            memory_per_cpu=slurm_size(options.get("mem-per-cpu", "")),
            exclusive=options.get("exclusive") == "",  # =user and =mcs keep others off the node, and give no more of it
        ),
        nodes=nodes,
        tasks_stated=bool({"ntasks", "ntasks-per-node"} & options.keys()),
        hint=hint,
        request=Request(
            walltime=_walltime(options.get("time", "")),
            licenses=tuple(filter(None, options.get("licenses", "").split(","))),
            exclude=(options["exclude"],) if "exclude" in options else (),
            partition=options.get("partition"),
            account=options.get("account"),
            qos=options.get("qos"),
            reservation=options.get("reservation"),
            constraint=options.get("constraint"),
        ),
        gpus=_gpus(options),
        steps=re.search(r"(^|[\s;&|(])(srun|mpirun|mpiexec)\s", f"{body} ") is not None,
        sets_threads="OMP_NUM_THREADS" in body,
        options=tuple(options),
        ignored=script.ignored,
        signal=options.get("signal", ""),
    )


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else None


def _walltime(text: str) -> Duration | None:
    try:
        return read_walltime(text, "slurm") if text else None
    except ValueError:
        return None


def _gpus(options: Mapping[str, str]) -> int:
    for name in ("gpus-per-node", "gpus"):
        if name in options:
            return _number(options[name].rpartition(":")[2]) or 1
    match = re.search(r"(?:^|,)gpu(?::[^:,]*[^\d:,][^:,]*)?(?::(\d{1,6}))?(?:,|$)", options.get("gres", ""))
    return int(match[1] or 1) if match else 0


# ------------------------------------------------------------------------------------------------------- dask-jobqueue


def cluster_script(arguments: Mapping[str, Any]) -> str:
    """Write the directives of dask-jobqueue 0.9's ``SLURMCluster`` for these arguments. Raises ``ConfigError``."""
    problems = [f"SLURMCluster needs {name}=" for name in ("cores", "memory") if not arguments.get(name)]
    if problems:
        raise ConfigError.from_problems(problems)
    account = arguments.get("account") or arguments.get("project")
    skip = tuple(arguments.get("job_directives_skip") or ())
    lines = [
        f"-p {arguments['queue']}" if arguments.get("queue") else "",
        f"-A {account}" if account else "",
        "-n 1",
        f"--cpus-per-task={arguments.get('job_cpu') or arguments['cores']}",
        f"--mem={arguments.get('job_mem') or _slurm_memory(_bytes(arguments['memory']))}",
        f"-t {arguments.get('walltime') or '00:30:00'}",
        *(arguments.get("job_extra_directives") or ()),
    ]
    kept = [line for line in lines if line and not any(word in line for word in skip)]
    prologue = arguments.get("job_script_prologue") or ()
    return "\n".join(["#!/usr/bin/env bash", *(f"#SBATCH {line}" for line in kept), *prologue, "dask worker", ""])


def _bytes(memory: Any) -> int:
    try:
        return dask_bytes(str(memory))
    except ValueError as error:
        raise ConfigError.from_problems([f"memory={memory!r}: {error}"]) from None


def _slurm_memory(size: int) -> str:
    """Write a size as dask-jobqueue's ``slurm_format_bytes_ceil``: rounded up, in the largest unit that it passes."""
    for unit, letter in ((2**30, "G"), (2**20, "M"), (2**10, "K")):
        if size >= 10 ** {"G": 9, "M": 6, "K": 3}[letter]:
            return f"{-(-size // unit)}{letter}"
    return "1K"


def _shared_out(keywords: Iterable[tuple[str, str]], arguments: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Share a job's cores and memory among workers, one for each of Dask's processes."""
    found = dict(keywords)
    processes = int(arguments.get("processes") or dask_processes(int(arguments["cores"])))
    found["cores"] = repr(max(1, int(found["cores"]) // processes))
    found["memory"] = repr(str(Memory(_bytes(arguments["memory"]) // processes)))
    return (("workers_per_job", repr(processes)), *found.items())


def _dask_pitfalls(arguments: Mapping[str, Any]) -> list[str]:
    cores, size = int(arguments["cores"]), _bytes(arguments["memory"])
    processes = int(arguments.get("processes") or dask_processes(cores))
    threads = max(1, cores // processes)
    found = [
        f"memory={arguments['memory']!r} is of the job: each of its {processes} process(es) may use "
        f"{Memory(size // processes)}, and is stopped above it",
        f"a job runs {processes * threads} call(s) at once: {processes} process(es) of {threads} thread(s), and those "
        "of one process share Python's interpreter lock; scale(jobs=N) counts jobs, scale(N) processes",
        "OMP_NUM_THREADS and the like are set to 1 in the processes, whatever the cores are",
    ]
    if not arguments.get("walltime"):
        found.append("walltime is not given: jobs end after 30 minutes, and calls in them are lost")
    return found


def read_call(text: str) -> dict[str, Any]:
    """Read the keywords of ``SLURMCluster(cores=4, ...)`` without running it. Raises ``ConfigError``."""
    found: dict[str, Any] | None = None
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Call) and not call.args:
            found = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
            name = ast.unparse(call.func).rpartition(".")[2]
    except (SyntaxError, ValueError):
        found = None
    if found is not None:
        _check_cluster(name)
        return found
    raise ConfigError(
        f"{text!r} is not a call with keywords and plain values",
        advice="""write for example: SLURMCluster(cores=4, memory="8GB", queue="long")""",
    )


_OTHERS = {
    "PBSCluster": "PBS", "MoabCluster": "Moab", "SGECluster": "Grid Engine", "LSFCluster": "LSF", "OARCluster": "OAR",
    "HTCondorCluster": "HTCondor", "LocalCluster": "no batch system",
}  # fmt: skip
"""Dask's other clusters, and what they start jobs with."""


def _check_cluster(name: str) -> None:
    if name == "SLURMCluster":
        return
    whose = f"starts its workers with {_OTHERS[name]}" if name in _OTHERS else "is not dask-jobqueue's SLURMCluster"
    raise ConfigError(
        f"{name}(...) {whose}: the directives of SLURMCluster(...) are the ones that can be explained",
        advice="where its jobs go to SLURM in truth, write SLURMCluster(...) with the same arguments; "
        "what JobPoolExecutor asks for is shown by: jobpool explain cores=4 memory='8 GiB'",
    )
