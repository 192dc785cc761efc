"""What the directives of an existing bsub script ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobpool.batch.lsf.options import options_of_line
from jobpool.batch.user_script import ScriptWish
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.units import Duration, Memory

__all__ = ["has_directives", "read_user_script", "walltime_of"]

_FOREIGN = {"#SBATCH": "SLURM", "#PBS": "PBS", "#$": "Grid Engine", "#OAR": "OAR", "#COBALT": "Cobalt", "#PJM": "PJM"}
"""How directives of other batch systems begin."""

_SIZES = {"K": 10, "M": 20, "G": 30, "T": 40, "P": 50}

_LAUNCHERS = re.compile(r"(^|[\s;&|(])(blaunch|mpirun|mpiexec|jsrun)\s")


@dataclass(frozen=True, slots=True)
class _Directives:
    options: Mapping[str, str]
    """Of those that say the same, the last; of -R there may be several."""
    requirements: tuple[str, ...]
    commands: tuple[str, ...]
    foreign: tuple[str, ...]
    found: bool


def has_directives(text: str) -> bool:
    """Say whether a line of the script is one of bsub's."""
    return any(_directive(line) is not None for line in text.splitlines())


def read_user_script(text: str) -> ScriptWish:
    """Read a script's directives, and say what they ask for on one node.

    bsub reads them anywhere in a script that it gets on stdin. Raises ``ConfigError`` for a script whose directives are
    all another batch system's.
    """
    script = _read(text)
    if script.foreign and not script.found:
        raise ConfigError(
            f"this is a script for {' and '.join(script.foreign)}: it has no #BSUB line, and LSF's are the ones that "
            "can be explained",
            advice="write its directives as #BSUB ones; what jobpool asks LSF for is shown by: jobpool explain",
        )
    options, required = script.options, " ".join(script.requirements)
    slots = _number(options.get("-n", "").split(",")[-1]) or 1
    per_host = _number(_inside(required, r"span\[[^\]]*ptile\s*=\s*(\d+)"))
    nodes = 1 if re.search(r"span\[[^\]]*hosts\s*=\s*1\b", required) or not per_host else -(-slots // per_host)
    body = "\n".join(script.commands)
    return ScriptWish(
        wish=Wish(
            tasks=1,
            cpus_per_task=-(-slots // nodes),
            memory=_memory(_inside(required, r"rusage\[[^\]]*\bmem\s*=\s*([0-9.]+\s*[KMGTP]?)"))
            or _memory(options.get("-M", "")),
            exclusive="-x" in options,
        ),
        nodes=nodes,
        tasks_stated="-n" in options,
        request=Request(
            walltime=walltime_of(options.get("-W", "")),
            partition=options.get("-q"),
            account=options.get("-P"),
            reservation=options.get("-U"),
            constraint=_inside(required, r"select\[([^\]]*)\]") or None,
        ),
        gpus=_gpus(options.get("-gpu"), required),
        steps=_LAUNCHERS.search(f"{body} ") is not None,
        sets_threads="OMP_NUM_THREADS" in body,
        options=(*options, *(_sections(required))),
        unread=tuple(_unread(script)),
    )


def walltime_of(text: str) -> Duration | None:
    """Read ``[hours:]minutes[/host]``. None for anything else."""
    match = re.fullmatch(r"(?:(\d{1,6}):)?(\d{1,9})(?:/\S+)?", text.strip())
    return None if match is None else Duration(int(match[1] or 0) * 3600 + int(match[2]) * 60)


def _read(text: str) -> _Directives:
    options: dict[str, str] = {}
    requirements: list[str] = []
    commands: list[str] = []
    foreign: dict[str, None] = {}
    found = False
    for line in text.splitlines():
        beginning = line.split(None, 1)[0] if line.strip() else ""
        if beginning in _FOREIGN:
            foreign[_FOREIGN[beginning]] = None
        if (directive := _directive(line)) is not None:
            found = True
            for option, value in options_of_line(directive):
                options[option] = value
                if option == "-R":
                    requirements.append(value)
        elif line.strip() and not line.lstrip().startswith("#"):
            commands.append(line.strip())
    return _Directives(options, tuple(requirements), tuple(commands), tuple(foreign), found)


def _directive(line: str) -> str | None:
    match = re.match(r"#BSUB\s+(.*)", line)
    return None if match is None else match[1]


def _unread(script: _Directives) -> Iterator[str]:
    if script.foreign:
        yield f"the directives of {' and '.join(script.foreign)} are not explained; write them as #BSUB lines"


def _sections(required: str) -> Sequence[str]:
    return [f"-R {name}" for name in dict.fromkeys(re.findall(r"\b([a-z]+)\s*\[", required))]


def _inside(text: str, pattern: str) -> str:
    match = re.search(pattern, text, re.IGNORECASE)
    return "" if match is None else match[1].strip()


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text.strip()) else None


def _memory(text: str) -> Memory | None:
    """Read a size with a unit; one without is a number of what the site says (LSF_UNIT_FOR_LIMITS), so it is None."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([KMGTP])B?!?", text.strip(), re.IGNORECASE)
    return None if match is None else Memory(float(match[1]) * 2 ** _SIZES[match[2].upper()])


def _gpus(option: str | None, required: str) -> int:
    if option is not None:
        return _number(_inside(option, r"num\s*=\s*(\d+)")) or 1
    return _number(_inside(required, r"rusage\[[^\]]*\bngpus\w*\s*=\s*(\d+)")) or 0
