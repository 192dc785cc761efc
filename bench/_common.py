"""What the benches share: a home of their own, fresh processes in turns, a real SLURM, and how figures are printed.

A bench is a set of *parts*: functions that measure one thing once and return figures, ``{"first result": 0.9}``, in
seconds unless the name says otherwise. Each runs in a fresh interpreter, so that no part pays for, or profits from,
what another has loaded; and all run in turns (A B A B ...), so that a machine that gets busy is busy for all of them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = [
    "Part",
    "Runs",
    "arguments",
    "finish",
    "home",
    "in_turns",
    "lab_environment",
    "limit",
    "machine",
    "median",
    "ratio",
    "show",
]

Part = Callable[[argparse.Namespace], dict[str, float]]
Runs = dict[str, list[dict[str, float]]]
"""For each part its figures, one dictionary per turn."""

PART_TIMEOUT = 300.0
"""Seconds for one turn of one part; the longest, a raw Dask map of 10,000 calls, takes 20."""

_FOREIGN = ("JOBPOOL_", "DASK_", "SLURM", "SBATCH_", "SALLOC_", "SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_", "XDG_")


def arguments(
    text: str,
    parts: Mapping[str, Part],
    argv: Sequence[str] | None,
    *,
    quick: Mapping[str, int] = MappingProxyType({"repeats": 1}),
    peers: bool = False,
    **numbers: int,
) -> argparse.Namespace:
    """Read the command line of a bench, whose options are ``numbers``; run one part and exit if it asks for that.

    ``quick`` are the numbers for ``--quick``: small, for a look whether all works. What is given is obeyed. ``peers``:
    whose parts are, and where they run, can be chosen.
    """
    parser = argparse.ArgumentParser(description=text.partition("\n")[0])
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"default {default}")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a limit is missed")
    parser.add_argument("--quick", action="store_true", help="small numbers: does it run, and about how fast")
    if peers:
        parser.add_argument("--only", type=_names, metavar="A,B", help="these peers alone, beside jobpool")
        parser.add_argument("--where", choices=["local", "slurm"], help="only there; default: both")
    parser.add_argument("--part", choices=parts, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    small = quick if options.quick else {}
    for name, default in numbers.items():
        if getattr(options, name) is None:
            setattr(options, name, small.get(name, default))
    if options.part is not None:
        print(json.dumps(parts[options.part](options)), flush=True)
        sys.exit(0)
    return options


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


@contextmanager
def home() -> Iterator[dict[str, str]]:
    """Make a home directory for the bench, and yield the environment to run its parts in."""
    with tempfile.TemporaryDirectory(prefix="jobpool-bench-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        yield {
            **clean,
            "HOME": directory,
            "PYTHONUNBUFFERED": "1",
            # Every worker finds the functions of the calls here, also that of a peer that sends them by name alone.
            "PYTHONPATH": str(Path(__file__).parent),
            # Some peers start their helpers by name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }


@contextmanager
def lab_environment(
    env: Mapping[str, str], *, system: str = "slurm", **options: bool
) -> Iterator[tuple[Any, dict[str, str]] | None]:
    """Bring a practice cluster up; yield it with the environment that leads there. None: its packages are missing."""
    # Not at the top: a part that measures an import must not find half of it loaded.
    from jobpool.testing.labs import registry
    from jobpool.testing.labs.machine import missing_advice

    if missing := registry.missing(system, **options):
        title = registry.KINDS[system].title
        print(f"SKIPPED, no {title} here; missing: {', '.join(missing)}; {missing_advice(missing)}")
        yield None
        return
    if system == "sge" and os.geteuid() != 0:
        print("SKIPPED, no Grid Engine here; it needs root")
        yield None
        return
    nodes = {"nodes": 4} if "nodes" in registry.KINDS[system].options else {}
    with registry.lab_class(system)(Path(env["HOME"]) / f"lab-{system}", **nodes, **options) as lab:
        # The jobs are on this host: no server needs to listen to the network.
        yield lab, {**env, **lab.environment, "JOBPOOL_ADDRESSES": "127.0.0.1"}


def in_turns(
    parts: Sequence[str],
    *,
    repeats: int,
    env: Mapping[str, str],
    options: Sequence[object] = (),
    between: Callable[[], object] = lambda: None,
    commands: Mapping[str, Sequence[str]] | None = None,
    may_fail: Collection[str] = (),
) -> Runs:
    """Run each part ``repeats`` times, in turns; ``between`` is called after each.

    ``commands`` start a part in another way than this Python does.

    A part that may fail is named when it does, and takes no further part.
    """
    runs: Runs = {part: [] for part in parts}
    for _ in range(repeats):
        for part in list(runs):
            try:
                runs[part].append(_run(part, env, options, (commands or {}).get(part, [sys.executable])))
            except PartFailed as failure:
                if part not in may_fail:
                    sys.exit(str(failure))
                print(f"SKIPPED, {failure}")
                del runs[part]
            between()
    return runs


class PartFailed(Exception):
    """A part ended with an error, or not at all."""


def _run(part: str, env: Mapping[str, str], options: Sequence[object], command: Sequence[str]) -> dict[str, float]:
    # Its own empty directory: some peers write logs and caches into the current one.
    with tempfile.TemporaryDirectory(dir=env["HOME"], ignore_cleanup_errors=True) as directory:
        process = subprocess.Popen(
            [*command, str(Path(sys.argv[0]).absolute()), "--part", part, *map(str, options)],
            env=dict(env),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            printed, errors = process.communicate(timeout=PART_TIMEOUT)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # its workers, too: they would wait for it for ever
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise PartFailed(f"the part {part!r} did not end in {PART_TIMEOUT:.0f} s") from error
            raise
    if process.returncode != 0:
        raise PartFailed(f"the part {part!r} failed:\n{printed}{errors}")
    figures: dict[str, float] = json.loads(printed.splitlines()[-1])
    return figures


def median(runs: Runs, part: str, figure: str) -> float:
    """Return the median of a figure over the turns."""
    return statistics.median(run[figure] for run in runs[part])


def ratio(runs: Runs, part: str, against: str, figure: str) -> float | None:
    """Return the median over the turns of a part's ratio to another; None: one of them took no part.

    Each ratio is of two figures of the same turn, which the machine's other work hits alike.
    """
    if not runs.get(part) or not runs.get(against):
        return None
    pairs = zip(runs[part], runs[against], strict=True)
    return statistics.median(one[figure] / other[figure] for one, other in pairs)


def show(runs: Runs, figures: Mapping[str, str], *, against: str | None = None) -> None:
    """Print the median of each figure, with its smallest and largest value, and the ratio of the first to one part's.

    ``figures`` are the names with a format: ``{"us per item": ".1f"}``.
    """
    if not runs:
        return
    width = max(map(len, runs)) + 2
    first = next(iter(figures))
    head = "" if against not in runs else f"  ratio to {against}"
    print(" " * width + "".join(f"{name:>26}" for name in figures) + head)
    for part, turns in runs.items():
        cells = "".join(_cell([turn[name] for turn in turns if name in turn], form) for name, form in figures.items())
        if against is not None and (to := ratio(runs, part, against, first)) is not None:
            cells += f"{to:>12.3f}"
        print(f"{part:{width}}{cells}")


def _cell(values: Sequence[float], form: str) -> str:
    if not values:
        return f"{'-':>26}"
    text = f"{statistics.median(values):{form}}"
    spread = f"({min(values):{form}}-{max(values):{form}})"
    return f"{text + ' ' + spread:>26}"


_missed: list[str] = []


def limit(
    what: str, value: float | None, *, at_most: float = math.inf, at_least: float = -math.inf, unit: str = ""
) -> None:
    """Print whether a limit is kept, and remember it for :func:`finish`. None: a peer is missing, nothing to judge."""
    bound = f"at most {at_most:.3g}{unit}" if at_least == -math.inf else f"at least {at_least:.3g}{unit}"
    if value is None:
        print(f"unknown {what}: no figure here, {bound}")
        return
    kept = at_least <= value <= at_most
    if not kept:
        _missed.append(what)
    print(f"{'kept' if kept else 'MISSED':7} {what}: {value:.3g}{unit}, {bound}")


def finish(options: argparse.Namespace) -> int:
    """Return the exit code of the bench."""
    return 1 if options.check and _missed else 0


def machine() -> str:
    """Name the machine, for the head of the output: figures of two machines are not to be compared."""
    versions = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, {versions}"
