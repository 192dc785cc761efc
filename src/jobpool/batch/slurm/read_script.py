"""An existing job script, read as sbatch reads it: which directives count, and what they are called in full."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from jobpool.batch.slurm.options import options_of, words_of
from jobpool.model.units import Memory

__all__ = ["ReadScript", "read_script", "slurm_size"]


_FOREIGN = {"#PBS": "PBS", "#$": "Grid Engine", "#BSUB": "LSF", "#OAR": "OAR", "#COBALT": "Cobalt", "#PJM": "PJM"}
"""How directives of other batch systems begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadScript:
    """What stands in a job script."""

    options: Mapping[str, str]
    """By their long names, without dashes; of several that say the same, the last."""
    ignored: tuple[str, ...]
    """Directives behind the first command, which sbatch does not read."""
    commands: tuple[str, ...]
    """The other lines, without comments."""
    foreign: tuple[str, ...] = ()
    """Other batch systems that the script has directives of."""
    has_directives: bool = True
    """Whether any line is one of sbatch's."""


def read_script(text: str) -> ReadScript:
    """Read a job script."""
    options: dict[str, str] = {}
    ignored: list[str] = []
    commands: list[str] = []
    foreign: dict[str, None] = {}
    found = False
    for line in text.splitlines():
        beginning = line.partition(" ")[0].partition("\t")[0]
        if beginning in _FOREIGN:
            foreign[_FOREIGN[beginning]] = None
        if line.startswith("#SBATCH") and line[7:8].isspace():
            found = True
            if commands:
                ignored.append(line)
            else:
                options.update(options_of(words_of(line[7:])))
        elif line.strip() and not line.lstrip().startswith("#"):
            commands.append(line.strip())
    return ReadScript(
        options=options,
        ignored=tuple(ignored),
        commands=tuple(commands),
        foreign=tuple(foreign),
        has_directives=found,
    )


def slurm_size(text: str) -> Memory | None:
    """Read ``4G``, ``500M``, or a number of MiB; None for anything else."""
    match = re.fullmatch(r"(\d{1,15})([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if not match:
        return None
    return Memory(int(match[1]) * 2 ** {"K": 10, "": 20, "M": 20, "G": 30, "T": 40}[match[2].upper()])
