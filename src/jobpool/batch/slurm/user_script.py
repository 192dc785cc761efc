"""What the directives of an existing sbatch script ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jobpool.batch.slurm.options import SRUN_ONLY, named, refusal_of_srun
from jobpool.batch.slurm.read_script import ReadScript, read_script, slurm_size
from jobpool.batch.slurm.walltime import read_walltime
from jobpool.batch.user_script import ScriptWish
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.units import Duration

__all__ = ["has_directives", "read_user_script"]


def has_directives(text: str) -> bool:
    """Say whether a line of the script is one of sbatch's."""
    return read_script(text).has_directives


def read_user_script(text: str) -> ScriptWish:
    """Read a script's directives, and say what they ask for on one node.

    Raises ``ConfigError`` for a script whose directives are all another batch system's.
    """
    script = read_script(text)
    if script.foreign and not script.has_directives:
        raise ConfigError(
            f"this is a script for {' and '.join(script.foreign)}: it has no #SBATCH line, and SLURM's are the ones "
            "that can be explained",
            advice="write its directives as #SBATCH ones; what jobpool asks SLURM for is shown by: jobpool explain",
        )
    options = script.options
    nodes = _number(options.get("nodes", "1").partition("-")[0]) or 1
    tasks = _number(options.get("ntasks", "")) or (_number(options.get("ntasks-per-node", "")) or 1) * nodes
    hint = options.get("hint", "")
    body = "\n".join(script.commands)
    return ScriptWish(
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
        problems=tuple(refusal_of_srun(name) for name in options if name in SRUN_ONLY),
        unread=tuple(_unknown_lines(script)),
    )


def _unknown_lines(script: ReadScript) -> Iterator[str]:
    """Name what is not explained, since it is nothing of sbatch's."""
    if script.foreign:
        yield f"the directives of {' and '.join(script.foreign)} are not explained; write them as #SBATCH lines"
    for name in script.options:
        if name not in SRUN_ONLY and not named(name):
            yield f"sbatch has no option --{name}, and refuses the script, unless a plugin of this site adds it"


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else None


def _walltime(text: str) -> Duration | None:
    try:
        return read_walltime(text) if text else None
    except ValueError:
        return None


def _gpus(options: Mapping[str, str]) -> int:
    for name in ("gpus-per-node", "gpus"):
        if name in options:
            return _number(options[name].rpartition(":")[2]) or 1
    match = re.search(r"(?:^|,)gpu(?::[^:,]*[^\d:,][^:,]*)?(?::(\d{1,6}))?(?:,|$)", options.get("gres", ""))
    return int(match[1] or 1) if match else 0
