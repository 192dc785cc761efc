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
    from jobpool.cli.ask import ask_now
    from jobpool.host.home import PoolDirectory
    from jobpool.model.errors import PoolBroken
    from jobpool.model.run_record import RunRecord
    from jobpool.show.answers import read_answer
    from jobpool.show.ended_pools import died, read_record
    from jobpool.show.report import write_report
    from jobpool.show.view import show_json, show_note
    from jobpool.transport.link import Unreachable
    from jobpool.transport.messages.client import AskRecord

    directory = PoolDirectory.open(name)
    try:
        record = read_answer(RunRecord, ask_now(directory, AskRecord()))
    except (PoolBroken, Unreachable):
        record = read_record(directory.path)
    if sentence := died(record):
        show_note(sentence)
    if as_json:
        show_json(record.as_data())
    else:
        show_note(f"written: {write_report(record, output or Path(f'{name}.html'))}")
