"""``jobpool explain``: what a request becomes, from the directives to what a call sees."""

from __future__ import annotations

import click

__all__ = ["explain"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes, times in seconds.")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
def explain(settings: tuple[str, ...], as_json: bool) -> None:
    """Show the directives with their reasons, what a node gives for them, and what a call sees there.

    KEY=VALUE stands for a keyword of JobPoolExecutor; what is not given comes from the configuration:

    \b
    jobpool explain cores=4 memory="8 GiB" walltime=5h
    """
    from jobpool.config import keywords_from_text, resolve
    from jobpool.explaining import explain_settings
    from jobpool.ui.view import show_json

    found = explain_settings(resolve(keywords_from_text(settings)))
    if as_json:
        show_json(found.as_data())
    else:
        click.echo(str(found))
