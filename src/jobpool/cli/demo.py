"""``jobpool demo``: the example, on real video clips."""

from __future__ import annotations

import click

__all__ = ["demo"]


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[DIR] [OPTIONS]...")
def demo(arguments: tuple[str, ...]) -> None:
    """Analyse video clips: in batch jobs, or on this machine where there is no batch system.

    All arguments are the example's own: jobpool demo --help
    """
    from jobpool.cli.demo_script import run

    run(arguments)
