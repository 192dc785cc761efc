"""What the directives of an existing script for ``oarsub -S`` ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobpool.batch.oar.options import named, options_of_line
from jobpool.batch.user_script import ScriptWish
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.units import Duration

__all__ = ["has_directives", "read_user_script"]

_FOREIGN = {
    "#SBATCH": "SLURM", "#PBS": "PBS", "#$": "Grid Engine", "#BSUB": "LSF", "#COBALT": "Cobalt", "#PJM": "PJM",
}  # fmt: skip
"""How directives of other batch systems begin."""

_NODES = frozenset({"nodes", "network_address", "host"})
_STEPS = re.compile(r"(^|[\s;&|(])(mpirun|mpiexec|oarsh|taktuk)\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resources:
    """What one ``-l`` says."""

    levels: dict[str, int]
    walltime: str = ""

    @property
    def nodes(self) -> int:
        """0 where no level of nodes is named."""
        return next((count for name, count in self.levels.items() if name in _NODES), 0)


def has_directives(text: str) -> bool:
    """Say whether a line of the script is one of OAR's."""
    return any(_is_directive(line) for line in text.splitlines())


def read_user_script(text: str, read_walltime: Callable[[str], Duration]) -> ScriptWish:
    """Read a script's directives, and say what they ask for on one node.

    OAR reads them wherever they stand. Raises ``ConfigError`` for a script whose directives are all another batch
    system's.
    """
    lines = text.splitlines()
    foreign = sorted({_FOREIGN[word] for line in lines if (word := line.partition(" ")[0]) in _FOREIGN})
    if foreign and not has_directives(text):
        raise ConfigError(
            f"this is a script for {' and '.join(foreign)}: it has no #OAR line",
            advice="write its directives as #OAR ones; what jobpool asks OAR for is shown by: jobpool explain",
        )
    options = [option for line in lines if _is_directive(line) for option in options_of_line(line)]
    given = dict(options)
    asked = [_read_resources(value) for name, value in options if name == "resource"]
    first = asked[0] if asked else _Resources(levels={})
    types = [value for name, value in options if name == "type"]
    body = "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
    cores = max(1, first.levels.get("core", 1)) * max(1, first.levels.get("cpu", 1))
    return ScriptWish(
        wish=Wish(cpus_per_task=cores, threads=1, exclusive=set(first.levels) <= _NODES and bool(first.levels)),
        nodes=first.nodes,
        hint="hours" if re.fullmatch(r"\d+", first.walltime) else "",
        request=Request(
            walltime=_walltime(first.walltime, read_walltime),
            partition=given.get("queue"),
            account=given.get("project"),
            reservation=next((each.partition("=")[2] for each in types if each.startswith("inner=")), None),
            constraint=given.get("property"),
        ),
        gpus=next((count for name, count in first.levels.items() if name.startswith("gpu")), 0),
        steps=_STEPS.search(f"{body} ") is not None,
        sets_threads="OMP_NUM_THREADS" in body,
        options=tuple(given),
        unread=tuple(_unread(options, asked, foreign)),
    )


def _is_directive(line: str) -> bool:
    return line.startswith("#OAR") and line[4:5].isspace()


def _read_resources(text: str) -> _Resources:
    """Read ``/nodes=1/core=4,walltime=1:00:00``, also with properties in braces before it."""
    levels = {name: int(count) for name, count in re.findall(r"/?(\w+)=(\d+)(?=[/,+]|$)", text) if name != "walltime"}
    walltime = re.search(r"walltime=([\d:]+)", text)
    return _Resources(levels=levels, walltime=walltime[1] if walltime else "")


def _walltime(text: str, read_walltime: Callable[[str], Duration]) -> Duration | None:
    try:
        return read_walltime(text) if text else None
    except ValueError:
        return None


def _unread(options: list[tuple[str, str]], asked: list[_Resources], foreign: list[str]) -> Iterator[str]:
    """Name what is not explained."""
    if foreign:
        yield f"the directives of {' and '.join(foreign)} are not explained; write them as #OAR lines"
    if len(asked) > 1:
        yield "several -l are alternatives, of which OAR takes the one that ends first; the first of them is explained"
    for name, _ in options:
        if name and not named(name):
            yield f"oarsub has no option --{name}, and refuses the script"
