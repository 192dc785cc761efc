"""``jobpool measure``: what a function uses, and what to ask for."""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from jobpool.config.resolve import Settings
    from jobpool.model.errors import JobPoolError
    from jobpool.model.units import Duration
    from jobpool.sizing.proposal import Proposal

__all__ = ["measure"]

_PROPOSED = ("cores", "threads_per_core", "memory", "walltime", "workers_per_job")
"""What of a request a proposal says."""


@click.command()
@click.argument("function", metavar="MODULE:FUNCTION")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--calls", type=click.IntRange(1), help="Calls that there will be, for the walltime.")
@click.option("--cores", type=click.IntRange(1), help="Cores to try it with.  [default: 4, or what the site has]")
@click.option("--memory", help="Memory to try it with.  [default: 16 GiB, or what the site allows]")
@click.option("--walltime", help="Walltime to try it with.  [default: the configured one]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting, as in: jobpool config.")
@click.option("--literal", is_flag=True, help='Read each INPUT as Python: 3, "[1, 2]".  [default: as text]')
@click.option("--once", is_flag=True, help="Call it once with each INPUT, and no more to see a leak.")
@click.option("--start", is_flag=True, help="Also estimate when jobs of the proposal, and of now, would start.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="File for a picture.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: bytes and seconds.")
def measure(
    function: str,
    inputs: tuple[str, ...],
    calls: int | None,
    cores: int | None,
    memory: str | None,
    walltime: str | None,
    settings: tuple[str, ...],
    literal: bool,
    once: bool,
    start: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Run a function with a few real inputs, and propose what to ask for.

    \b
    jobpool measure analysis.py:analyse small.avi large.avi --calls 1000
    jobpool measure my.package:simulate --literal 10 100 --set partition=short
    """
    from jobpool.config import resolve
    from jobpool.executor.executor import JobPoolExecutor
    from jobpool.model.errors import JobPoolError
    from jobpool.show.view import show_json
    from jobpool.tools.measure import measure as run

    resolved = resolve.resolve(resolve.keywords_from_text(settings))
    resolve.require(resolved.system, resolved.submit_host)
    if plot is not None:
        _check_plot(plot)
    called, samples = _function(function), _values(inputs) if literal else inputs
    with _told(f"{function} failed with each input", JobPoolError):
        profile = run(
            JobPoolExecutor, resolved, called, samples, cores=cores, memory=memory, walltime=walltime, repeat=not once
        )
    proposal = profile.request(calls)
    starts = _starts(resolved, proposal) if start else {}
    if as_json:
        reasons = dict(proposal.reasons)
        show_json(
            {
                **profile.as_data(),
                "request": proposal.keywords(),
                "reasons": reasons,
                "changes": proposal.changes,
                **({"starts_in": starts} if start else {}),
            }
        )
    else:
        click.echo(f"{profile}\n\n{proposal}")
        for whose, found in starts.items():
            click.echo(f"  in waiting: a job of {whose} would start {_when(found)}")
    if plot is not None:  # last: whatever comes of it, the figures are there
        profile.plot(plot)


def _check_plot(file: Path) -> None:
    """Find out before the measuring whether the picture can be made."""
    from jobpool.model.errors import ConfigError

    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"--plot needs matplotlib, which cannot be imported: {error}", advice="pip install matplotlib"
        ) from error
    known = Figure().canvas.get_supported_filetypes()
    if (ending := file.suffix.removeprefix(".").lower()) and ending not in known:
        raise ConfigError(f"--plot: no picture can be written as .{ending}; there are: {', '.join(sorted(known))}")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ConfigError(f"--plot: {file} cannot be written", advice="choose another folder")


@contextlib.contextmanager
def _told(what: str, kind: type[JobPoolError]) -> Iterator[None]:
    """Tell an exception of the user's own code as such, with where it came from, and not as one of ours."""
    from jobpool.model.errors import JobPoolError

    try:
        yield
    except JobPoolError:
        raise
    except (Exception, SystemExit) as error:
        # One that was raised in a worker has the lines of its traceback there as its cause.
        lines = str(error.__cause__) if error.__cause__ else "".join(traceback.format_tb(error.__traceback__))
        words = "".join(traceback.format_exception_only(error)).rstrip()
        raise kind("\n".join([f"{what}:", *_own_lines(lines), words])) from error


def _own_lines(text: str) -> Iterator[str]:
    """Return the lines of a traceback that are neither of this package nor of the import's machinery."""
    package = Path(__file__).parents[1]
    own = False
    for line in text.splitlines():
        if found := re.match(r'  File "(.+)", line \d+', line):
            file = found[1]
            own = not (file.startswith("<frozen") or file == importlib.__file__ or Path(file).is_relative_to(package))
        elif not line.startswith("    "):
            own = False
        if own:
            yield line


def _starts(now: Settings, proposal: Proposal) -> dict[str, Duration | str]:
    """Estimate in how much time a job would start, as proposed and as configured now; or say why that is not known."""
    from jobpool.tools.check import check_settings

    changes = {name: getattr(proposal, name) for name in _PROPOSED}
    proposed = replace(now, request=replace(now.request, **changes), auto=())
    found: dict[str, Duration | str] = {}
    for whose, settings in (("this proposal", proposed), ("what is configured now", now)):
        verdict = check_settings(settings, start=True)
        why = "; ".join([*map(str, verdict.problems), *verdict.unknown])
        found[whose] = why if verdict.starts_in is None else verdict.starts_in
    return found


def _when(found: Duration | str) -> str:
    from jobpool.site.check import in_words

    return f"nobody knows when: {found}" if isinstance(found, str) else f"{in_words(found)} (an estimate)"


def _function(text: str) -> Callable[[Any], Any]:
    """Find the function that ``module:function`` or ``path/file.py:function`` names."""
    from jobpool.executor.main_guard import no_pool_while_importing
    from jobpool.model.errors import ConfigError

    module, colon, name = text.rpartition(":")
    if not colon:
        raise ConfigError(f"{text!r} is not MODULE:FUNCTION; write for example analysis.py:analyse")
    path = Path(module)
    folder, module = (path.parent, path.stem) if path.suffix == ".py" else (Path(), module)
    sys.path.insert(0, str(folder.resolve()))  # as if it were a script there
    try:
        with (
            _told(f"{text!r} cannot be found, since importing it failed", ConfigError),
            no_pool_while_importing("jobpool measure"),
        ):
            found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise ConfigError(f"{text!r} cannot be found: {error}") from error
    if not callable(found):
        raise ConfigError(f"{text!r} is no function, but of type {type(found).__name__}")
    function: Callable[[Any], Any] = found
    return function


def _values(inputs: Sequence[str]) -> list[Any]:
    from jobpool.model.errors import ConfigError

    try:
        return [ast.literal_eval(text) for text in inputs]
    except (ValueError, SyntaxError) as error:
        raise ConfigError(f"--literal: {' '.join(inputs)!r} is not Python: {error}") from error
