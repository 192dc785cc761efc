"""What the directives of an existing qsub script ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jobpool.batch.sge.fields import size
from jobpool.batch.sge.options import options_of_line, resources_of
from jobpool.batch.sge.walltime import read_walltime
from jobpool.batch.user_script import ScriptWish
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.units import Duration, Memory

__all__ = ["has_directives", "read_user_script"]

_FOREIGN = {"#SBATCH": "SLURM", "#PBS": "PBS", "#BSUB": "LSF", "#OAR": "OAR", "#COBALT": "Cobalt", "#PJM": "PJM"}
"""How directives of other batch systems begin."""

_MEMORY = ("h_vmem", "m_mem_free", "mem_free", "h_rss", "virtual_free", "s_vmem", "mem")
_GPUS = ("gpu", "gpus", "ngpus", "num_gpus", "cuda")


@dataclass
class _Read:
    options: dict[str, str] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    foreign: dict[str, None] = field(default_factory=dict)
    found: bool = False


def has_directives(text: str) -> bool:
    """Say whether a line of the script is one of qsub's."""
    return _read(text).found


def read_user_script(text: str) -> ScriptWish:
    """Read a script's directives, and say what they ask for on one node.

    Raises ``ConfigError`` for a script whose directives are all another batch system's.
    """
    script = _read(text)
    if script.foreign and not script.found:
        raise ConfigError(
            f"this is a script for {' and '.join(script.foreign)}: it has no '#$' line, and Grid Engine's are the ones "
            "that can be explained",
            advice="write its directives as '#$' ones; what jobpool asks Grid Engine for is shown by: jobpool explain",
        )
    options, resources, body = script.options, script.resources, "\n".join(script.commands)
    slots = _slots(options.get("pe", ""))
    return ScriptWish(
        wish=Wish(
            cpus_per_task=slots,
            memory_per_cpu=_memory(resources),
            exclusive=resources.get("exclusive", resources.get("excl", "")).lower() in ("true", "1"),
        ),
        request=Request(
            walltime=_walltime(resources.get("h_rt", "")),
            partition=options.get("q"),
            account=options.get("P"),
            reservation=options.get("ar"),
        ),
        gpus=next((int(value) for name in _GPUS if (value := resources.get(name, "")).isdecimal()), 0) * slots,
        steps=re.search(r"(^|[\s;&|(])(mpirun|mpiexec)\s", f"{body} ") is not None,
        sets_threads="OMP_NUM_THREADS" in body,
        options=(*options, *(f"l {name}" for name in resources)),
        unread=tuple(_unread(script)),
    )


def _read(text: str) -> _Read:
    script = _Read()
    for line in text.splitlines():
        beginning = line.split(None, 1)[0] if line.strip() else ""
        if beginning in _FOREIGN:
            script.foreign[_FOREIGN[beginning]] = None
        if line.startswith("#$"):  # on all lines: qsub reads them behind the first command, too
            script.found = True
            words = line[2:].partition("#")[0]
            script.options.update(options_of_line(words))
            script.resources.update(resources_of(words))
        elif line.strip() and not line.lstrip().startswith("#"):
            script.commands.append(line.strip())
    return script


def _unread(script: _Read) -> Iterator[str]:
    if script.foreign:
        yield f"the directives of {' and '.join(script.foreign)} are not explained; write them as '#$' lines"


def _slots(text: str) -> int:
    """Read the slots of ``smp 4``, and the fewest of ``smp 2-8``."""
    match = re.search(r"\s([1-9]\d{0,6})", text)
    return int(match[1]) if match else 1


def _memory(resources: Mapping[str, str]) -> Memory | None:
    return next((size(resources[name]) for name in _MEMORY if name in resources), None)


def _walltime(text: str) -> Duration | None:
    try:
        return read_walltime(text) if text else None
    except ValueError:
        return None
