"""``jobpool measure``: what a function uses, and what to ask for."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["measure"]


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
    plot: Path | None,
    as_json: bool,
) -> None:
    """Run a function with a few real inputs, and propose what to ask for.

    \b
    jobpool measure analysis.py:analyse small.avi large.avi --calls 1000
    jobpool measure my.package:simulate --literal 10 100 --set partition=short
    """
    from jobpool import config
    from jobpool.measuring import measure as run
    from jobpool.ui.view import show_json

    resolved = config.resolve(config.keywords_from_text(settings))
    config.require(resolved.system)
    profile = run(
        resolved,
        _function(function),
        _values(inputs) if literal else inputs,
        cores=cores,
        memory=memory,
        walltime=walltime,
        repeat=not once,
    )
    proposal = profile.request(calls)
    if plot is not None:
        profile.plot(plot)
    if as_json:
        reasons = dict(proposal.reasons)
        show_json(
            {**profile.as_data(), "request": proposal.keywords(), "reasons": reasons, "changes": proposal.changes}
        )
    else:
        click.echo(f"{profile}\n\n{proposal}")


def _function(text: str) -> Callable[[Any], Any]:
    """Find the function that ``module:function`` or ``path/file.py:function`` names."""
    import importlib
    import sys

    from jobpool.errors import ConfigError

    module, colon, name = text.rpartition(":")
    if not colon:
        raise ConfigError(f"{text!r} is not MODULE:FUNCTION; write for example analysis.py:analyse")
    path = Path(module)
    folder, module = (path.parent, path.stem) if path.suffix == ".py" else (Path(), module)
    sys.path.insert(0, str(folder.resolve()))  # as if it were a script there
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{text!r} cannot be found: {error}") from error
    if not callable(found):
        raise ConfigError(f"{text!r} is no function, but of type {type(found).__name__}")
    function: Callable[[Any], Any] = found
    return function


def _values(inputs: Sequence[str]) -> list[Any]:
    from jobpool.errors import ConfigError

    try:
        return [ast.literal_eval(text) for text in inputs]
    except (ValueError, SyntaxError) as error:
        raise ConfigError(f"--literal: {' '.join(inputs)!r} is not Python: {error}") from error
