"""``jobpool lab``: a practice SLURM on this machine."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

__all__ = ["lab"]


@click.group()
def lab() -> None:
    """Bring a practice SLURM up on this machine, or down.

    It is a real one, of several nodes on the loopback address. It needs Debian's packages of SLURM, and no root.
    """


_directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its files are.  [default: .lab beside the pools' directories]",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@lab.command()
@_directory
@click.option("--nodes", type=click.IntRange(1, 64), default=4, show_default=True, help="Ordinary nodes.")
@click.option("--accounting", is_flag=True, help="With accounting: sacct, accounts and QoS.")
@_as_json
def up(directory: Path | None, nodes: int, accounting: bool, as_json: bool) -> None:
    """Bring it up, and print the line that leads a shell to it.

    \b
    eval "$(jobpool lab up)"
    """
    from jobpool.model.errors import BatchSystemUnavailable
    from jobpool.show.view import show_json, show_note
    from jobpool.testing import export_line, lab_missing, lab_up
    from jobpool.testing.lab_machine import missing_advice

    if missing := lab_missing(accounting=accounting):
        raise BatchSystemUnavailable(
            f"a lab needs what is not on this machine: {', '.join(missing)}", advice=missing_advice(missing)
        )
    started = lab_up(directory or _usual_directory(), nodes=nodes, accounting=accounting)
    if as_json:
        show_json({"directory": started.directory, "environment": started.environment})
        return
    click.echo(export_line(started))
    option = f" --directory {shlex.quote(str(started.directory))}" if directory else ""
    show_note(f"the lab in {started.directory} is up; end it with: jobpool lab down{option}")


@lab.command()
@_directory
@_as_json
def down(directory: Path | None, as_json: bool) -> None:
    """End it, and all jobs in it."""
    from jobpool.show.view import show_json, show_note
    from jobpool.testing import lab_down, unset_line

    place = directory or _usual_directory()
    lab_down(place)
    if as_json:
        show_json({"directory": place})
    else:
        show_note(f"the lab in {place} is down")
        if line := unset_line(place, os.environ):
            show_note(f"this shell still looks for it there: {line}")


def _usual_directory() -> Path:
    from jobpool.host.home import home

    home().mkdir(mode=0o700, parents=True, exist_ok=True)
    # No pool can have this name: a pool's begins with a letter.
    return home() / ".lab"
