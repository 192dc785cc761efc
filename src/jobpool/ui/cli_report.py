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
    """Write what happened in the pool NAME, which runs, has ended, or died, into one HTML file."""
    from jobpool.errors import PoolBroken
    from jobpool.home import PoolDirectory
    from jobpool.link import Unreachable
    from jobpool.ui.cli_asking import ask_now
    from jobpool.ui.remains import died, read_record
    from jobpool.ui.report import write_report
    from jobpool.ui.view import show_json, show_note

    directory = PoolDirectory.open(name)
    try:
        record = ask_now(directory, "record")
    except (PoolBroken, Unreachable):
        record = read_record(directory.path)
    if sentence := died(record):
        show_note(sentence)
    if as_json:
        show_json(record)
    else:
        show_note(f"written: {write_report(record, output or Path(f'{name}.html'))}")
