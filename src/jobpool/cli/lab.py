"""``jobpool lab``: a practice batch system on this machine."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from jobpool.testing.labs.registry import KINDS, USUAL

__all__ = ["lab"]


@click.group()
def lab() -> None:
    """Bring a practice batch system up on this machine, or down.

    It is a real one on the loopback address. It needs Debian's packages of it; SLURM's needs no root.
    """


_directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its files are.  [default: .lab beside the pools' directories]",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@lab.command()
@_directory
@click.option("--system", type=click.Choice(sorted(KINDS)), default=USUAL, show_default=True, help="The batch system.")
@click.option("--nodes", type=click.IntRange(1, 64), help="Nodes, where a lab can have several.")
@click.option("--accounting", is_flag=True, help="SLURM's lab, with accounting: sacct, accounts and QoS.")
@_as_json
def up(directory: Path | None, system: str, nodes: int | None, accounting: bool, as_json: bool) -> None:
    """Bring it up, and print the line that leads a shell to it.

    \b
    eval "$(jobpool lab up)"
    """
    from jobpool.model.errors import BatchSystemUnavailable
    from jobpool.show.view import show_json, show_note
    from jobpool.testing import export_line, lab_up
    from jobpool.testing.labs.machine import missing_advice
    from jobpool.testing.labs.registry import missing

    if lacking := missing(system, **({"accounting": True} if accounting else {})):
        raise BatchSystemUnavailable(
            f"a lab needs what is not on this machine: {', '.join(lacking)}", advice=missing_advice(lacking)
        )
    options = {name: value for name, value in (("nodes", nodes), ("accounting", accounting)) if value}
    started = lab_up(directory or _usual_directory(), system=system, **options)
    if as_json:
        show_json({"system": system, "directory": started.directory, "environment": started.environment})
        return
    click.echo(export_line(started.environment))
    option = f" --directory {shlex.quote(str(started.directory))}" if directory else ""
    show_note(f"the lab in {started.directory} is up; end it with: jobpool lab down{option}")


@lab.command()
@_directory
@_as_json
def down(directory: Path | None, as_json: bool) -> None:
    """End it, and all jobs in it."""
    from jobpool.show.view import show_json, show_note
    from jobpool.testing import unset_line
    from jobpool.testing.labs.registry import attached

    place = directory or _usual_directory()
    there = attached(place)
    variables = there.environment
    there.down()
    if as_json:
        show_json({"directory": place})
    else:
        show_note(f"the lab in {place} is down")
        if line := unset_line(place, os.environ, variables):
            show_note(f"this shell still looks for it there: {line}")


def _usual_directory() -> Path:
    from jobpool.host.home import home

    home().mkdir(mode=0o700, parents=True, exist_ok=True)
    # No pool can have this name: a pool's begins with a letter.
    return home() / ".lab"
