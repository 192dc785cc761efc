"""``jobpool report``: what happened in a run, as a page."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command()
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file.  [default: NAME.html]")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead: bytes and seconds.")
def report(name: str, output: Path | None, as_json: bool) -> None:
    """Write what happened in the pool NAME, which runs or has ended, into one HTML file."""
    from jobpool.home import PoolDirectory
    from jobpool.ui.cli_asking import ask_now
    from jobpool.ui.report import read_record, write_report
    from jobpool.ui.view import show_json, show_note

    directory = PoolDirectory.open(name)
    running = directory.connection() is not None and directory.alive()
    record = ask_now(directory, "record") if running else read_record(directory.path)
    if as_json:
        show_json(record)
    else:
        show_note(f"written: {write_report(record, output or Path(f'{name}.html'))}")
