"""``jobpool explain``: what a request, a job script or a ``SLURMCluster(...)`` becomes."""

from __future__ import annotations

from typing import Any, TextIO

import click

__all__ = ["explain"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes, times in seconds.")
@click.option(
    "--script",
    type=click.File(encoding="utf-8", errors="replace"),
    metavar="FILE",
    help="Explain an existing job script instead.",
)
@click.option(
    "--cluster", metavar="CALL", help="Explain a call of dask-jobqueue instead: SLURMCluster(...), PBSCluster(...), ..."
)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
def explain(settings: tuple[str, ...], as_json: bool, script: TextIO | None, cluster: str | None) -> None:
    """Show the directives with their reasons, what a node gives for them, and what a call sees there.

    KEY=VALUE stands for a keyword of JobPoolExecutor; what is not given comes from the configuration:

    \b
    jobpool explain cores=4 memory="8 GiB" walltime=5h
    jobpool explain --script job.sh
    jobpool explain --cluster 'SLURMCluster(cores=4, processes=2, memory="8GB", queue="long")'
    """
    from jobpool.config.resolve import keywords_from_text, resolve
    from jobpool.show.view import show_json
    from jobpool.tools.explain import explain_settings
    from jobpool.tools.explain_script import cluster_of, explain_cluster, explain_script, read_call

    if sum(map(bool, (settings, script, cluster))) > 1:
        raise click.UsageError("give KEY=VALUE, or --script, or --cluster: one of them")
    if script is not None:
        found: Any = explain_script(script.read())
    elif cluster is not None:
        found = explain_cluster(read_call(cluster), cluster=cluster_of(cluster))
    else:
        found = explain_settings(resolve(keywords_from_text(settings)))
    if as_json:
        show_json(found.as_data())
    else:
        click.echo(str(found))
