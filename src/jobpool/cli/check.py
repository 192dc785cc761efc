"""``jobpool check``: would the batch system take such jobs, and start them?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from jobpool.site.check import Verdict

__all__ = ["check"]

REFUSED = 3
"""The exit code for a request that would be refused, as for an error that says so."""


@click.command()
@click.option("--start", is_flag=True, help="Also ask when a job that is submitted now would start, an estimate.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes, times in seconds.")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.pass_context
def check(context: click.Context, settings: tuple[str, ...], start: bool, as_json: bool) -> None:
    """Compare what a pool would ask for with what the site allows.

    KEY=VALUE stands for a keyword of JobPoolExecutor; what is not given comes from the configuration. The exit code is
    3 when the batch system would refuse such jobs, or never start them.

    \b
    jobpool check cores=4 memory="100 GiB" walltime=3d
    jobpool check walltime=3d partition=auto
    """
    from jobpool.config.resolve import keywords_from_text, resolve
    from jobpool.show.view import show_json
    from jobpool.tools.check import check_settings

    verdict = check_settings(resolve(keywords_from_text(settings)), start=start)
    if as_json:
        show_json(verdict.as_data())
    else:
        _show(verdict)
    if not verdict.ok:
        context.exit(REFUSED)


def _show(verdict: Verdict) -> None:
    from jobpool.show.view import show_note, show_table

    click.echo(verdict.headline)
    for problem in verdict.problems:
        click.echo(f"  - {problem}")
    if verdict.fits:
        click.echo("\nWhere it fits as it is, fastest start first:")
        rows = [(fit.partition, "yes" if fit.room else "no", fit.idle_cpus, fit.waiting) for fit in verdict.fits]
        show_table(("partition", "room now", "idle CPUs", "jobs waiting"), rows)
    elif verdict.problems:
        click.echo("\nIt fits no partition as it is." if verdict.partition else "")
    if verdict.wait:
        click.echo(verdict.wait)
    for note in verdict.notes:
        show_note(note)
    for text in verdict.unknown:
        show_note(f"not known: {text}")
