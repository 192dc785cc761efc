"""An existing job script, read as sbatch reads it: which directives count, and what they are called in full."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobpool.batch.slurm_options import SRUN_ONLY_SHORT
from jobpool.units import Memory

__all__ = ["ReadScript", "option_names", "read_script", "slurm_size"]

_SHORT = {
    "A": "account", "a": "array", "B": "extra-node-info", "C": "constraint", "c": "cpus-per-task", "D": "chdir",
    "d": "dependency", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold", "i": "input", "J": "job-name",
    "k": "no-kill", "L": "licenses", "M": "clusters", "m": "distribution", "N": "nodes", "n": "ntasks",
    "O": "overcommit", "o": "output", "p": "partition", "Q": "quiet", "q": "qos", "S": "core-spec",
    "s": "oversubscribe", "t": "time", "v": "verbose", "W": "wait", "w": "nodelist", "x": "exclude",
} | SRUN_ONLY_SHORT  # fmt: skip

_ALONE = frozenset(
    {
        *("contiguous", "exclusive", "get-user-env", "hold", "ignore-pbs", "kill-on-invalid-dep", "nice", "no-kill"),
        *("no-requeue", "overcommit", "oversubscribe", "parsable", "propagate", "quiet", "reboot", "requeue"),
        *("spread-job", "test-only", "use-min-nodes", "verbose", "wait"),
        *("disable-status", "exact", "immediate", "kill-on-bad-exit", "label", "multi-prog", "no-allocate", "overlap"),
        *("preserve-env", "pty", "unbuffered"),
    }
)
"""Options that take no value, or one behind ``=`` only (sbatch(1), srun(1))."""

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
                options.update(_options(_words(line[7:])))
        elif line.strip() and not line.lstrip().startswith("#"):
            commands.append(line.strip())
    return ReadScript(
        options=options,
        ignored=tuple(ignored),
        commands=tuple(commands),
        foreign=tuple(foreign),
        has_directives=found,
    )


def option_names(directive: str) -> tuple[str, ...]:
    """Return the long names of the options in one directive."""
    return tuple(name for name, _ in _options(_words(directive)))


def slurm_size(text: str) -> Memory | None:
    """Read ``4G``, ``500M``, or a number of MiB; None for anything else."""
    match = re.fullmatch(r"(\d{1,15})([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if not match:
        return None
    return Memory(int(match[1]) * 2 ** {"K": 10, "": 20, "M": 20, "G": 30, "T": 40}[match[2].upper()])


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that is not closed
        return line.split()


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        elif word.startswith("-") and word[1:2] in _SHORT:
            name, value = _SHORT[word[1]], word[2:]
            equals = value
        else:
            continue
        if not equals and name not in _ALONE and rest:
            value = rest.pop(0)
        yield name, value
