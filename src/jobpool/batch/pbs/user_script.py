"""What the directives of an existing PBS script ask for, read as qsub reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jobpool.batch.explainer import Explainer
from jobpool.batch.pbs.endings import size
from jobpool.batch.pbs.options import VALUED, options_of, resources_of, words_of
from jobpool.batch.user_script import ScriptWish
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.units import Duration

__all__ = ["has_directives", "read_user_script"]

_FOREIGN = {"#SBATCH": "SLURM", "#$": "Grid Engine", "#BSUB": "LSF", "#OAR": "OAR", "#COBALT": "Cobalt", "#PJM": "PJM"}
"""How directives of other batch systems begin."""

_ALONE = frozenset("-" + letter for letter in "fhIVXxz")


@dataclass(slots=True)
class _Read:
    options: dict[str, str] = field(default_factory=dict)
    """By their letters; ``-l`` by its resources."""
    ignored: list[str] = field(default_factory=list)
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
            f"this is a script for {' and '.join(script.foreign)}: it has no #PBS line, and PBS's are the ones that "
            "can be explained",
            advice="write its directives as #PBS ones; what jobpool asks PBS for is shown by: jobpool explain",
        )
    options = script.options
    chunks, chunk = _chunk(options)
    body = "\n".join(script.commands)
    tasks = _number(chunk.get("mpiprocs", "")) or 1
    cpus = _number(chunk.get("ncpus", "")) or 1
    return ScriptWish(
        wish=Wish(
            cpus_per_task=cpus,
            memory=size(chunk.get("mem", "")),
            exclusive=bool({"excl", "exclhost"} & {*options.get("place", "").split(":")}),
        ),
        nodes=chunks,
        tasks_stated=tasks * chunks > 1,
        request=Request(
            walltime=_walltime(options.get("walltime", "")),
            partition=options["-q"].partition("@")[0] or None if "-q" in options else None,
            account=options.get("-A"),
        ),
        gpus=_number(chunk.get("ngpus", "")) or 0,
        steps=re.search(r"(^|[\s;&|(])(pbsdsh|mpirun|mpiexec)\s", f"{body} ") is not None,
        sets_threads=True,  # PBS itself sets OMP_NUM_THREADS, to ncpus
        options=tuple(options),
        ignored=tuple(script.ignored),
        problems=tuple(_problems(options)),
        unread=tuple(_unread(script)),
    )


def _read(text: str) -> _Read:
    """Read the lines: directives count as far as the first command."""
    script = _Read()
    for line in text.splitlines():
        beginning = line.split(maxsplit=1)[0] if line.strip() else ""
        if beginning in _FOREIGN:
            script.foreign[_FOREIGN[beginning]] = None
        if beginning == "#PBS":
            script.found = True
            if script.commands:
                script.ignored.append(line)
                continue
            for name, value in options_of(words_of(line[4:])):
                script.options |= resources_of(value) if name == "-l" else {name: value}
        elif line.strip() and not line.lstrip().startswith("#"):
            script.commands.append(line.strip())
    return script


def _chunk(options: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    """Return how many chunks there are, and what the first kind of them asks for.

    The old forms are read, too: ``-l nodes=2:ppn=4``, and ``-l ncpus=4,mem=8gb`` without any chunk.
    """
    if "select" in options:
        first = options["select"].split("+")[0].split(":")
    elif "nodes" in options:
        first = [part.replace("ppn=", "ncpus=") for part in options["nodes"].split("+")[0].split(":")]
    else:
        return 1, {name: options[name] for name in ("ncpus", "mem", "ngpus") if name in options}
    count, named = (int(first[0]), first[1:]) if first[0].isdecimal() else (1, first)
    pairs = (part.partition("=") for part in named)
    return max(1, count), {"mem": options.get("mem", "")} | {name: value for name, _, value in pairs}


def _problems(options: Mapping[str, str]) -> Iterator[str]:
    """Say why qsub refuses the script, whatever the site allows (seen)."""
    beside = [name for name in ("ncpus", "mem", "ngpus", "nodes") if name in options]
    if "select" in options and beside:
        yield f"-l {beside[0]} cannot stand beside -l select: write it into the chunk, as in select=1:ncpus=4:mem=8gb"
    if "-J" in options and not re.fullmatch(r"\d+-\d+(:\d+)?(%\d+)?", options["-J"]):
        yield f"-J {options['-J']} is refused: write first-last, as in -J 0-9; there are no lists"
    elif "-J" in options:
        first, last = map(int, re.findall(r"\d+", options["-J"])[:2])
        if last <= first:
            yield f"-J {options['-J']} is refused: an array has two jobs at least, the lower index first"
    if "walltime" in options and _walltime(options["walltime"]) is None:
        yield f"-l walltime={options['walltime']} is refused: write hours:minutes:seconds, without days"
    amounts = [part for part in options.get("select", "").split(":") if part.startswith("mem=")]
    if any(size(part.removeprefix("mem=")) is None for part in amounts):
        yield f"{amounts[0]} is refused: write a whole number with its unit, as in mem=1500mb"


def _unread(script: _Read) -> Iterator[str]:
    if script.foreign:
        yield f"the directives of {' and '.join(script.foreign)} are not explained; write them as #PBS lines"
    if len(script.options.get("select", "").split("+")) > 1:
        yield "select asks for chunks of several kinds; the first kind is explained"
    for name in script.options:
        if name.startswith("-") and name not in VALUED | _ALONE:
            yield f"qsub has no option {name}, and refuses the script"


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else None


def _walltime(text: str) -> Duration | None:
    try:
        return Explainer().read_walltime(text) if re.fullmatch(r"[0-9:]+", text) else None
    except ValueError:
        return None
