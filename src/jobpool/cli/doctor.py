"""``jobpool doctor``: the known pitfalls, looked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobpool.diagnose.checks import Finding

__all__ = ["doctor"]


@click.command()
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--no-job", is_flag=True, help="Look only at what can be seen from here.")
@click.option("--wait", default="5 min", show_default=True, help="How long to wait for the job.")
@click.option(
    "--script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Also look into this script: is an if __name__ == "__main__": missing?',
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(
    context: click.Context, settings: tuple[str, ...], no_job: bool, wait: str, script: Path | None, as_json: bool
) -> None:
    """Look for known pitfalls, here and in one short job, each with its evidence and cure.

    KEY=VALUE stands for a keyword of JobPoolExecutor: the job is one of a pool with these. The exit code is 1 when
    there is a problem, and 0 when there are warnings at most.

    \b
    jobpool doctor partition=long memory="8 GiB"
    """
    from jobpool.config import resolve
    from jobpool.diagnose.checks import Level, worst
    from jobpool.executor.executor import JobPoolExecutor
    from jobpool.model.errors import ConfigError
    from jobpool.model.units import Duration
    from jobpool.show.view import show_json
    from jobpool.tools.doctor import doctor as run

    try:
        patience = Duration.parse(wait)
    except ValueError as error:
        raise ConfigError(f"--wait: {error}") from error
    resolved = resolve.resolve(resolve.keywords_from_text(settings))
    resolve.require(resolved.system, resolved.submit_host)
    findings = run(JobPoolExecutor, resolved, with_job=not no_job, patience=patience, script=script)
    if as_json:
        show_json([finding.as_data() for finding in findings])
    else:
        _show(findings)
    context.exit(1 if worst(findings) >= Level.PROBLEM else 0)


def _show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        click.echo(f"{finding.level.name.lower():8} {finding.subject}: {finding.text}")
        if finding.cure:
            click.echo(f"{'':8}   what to do: {finding.cure}")
