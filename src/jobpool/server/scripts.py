"""What the pool's job scripts are made from; and the trial of one, before anything is started for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jobpool.batch import registry
from jobpool.batch.base import JobScript
from jobpool.config.resolve import Settings
from jobpool.host.home import home
from jobpool.host.versions import python_path
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.server.in_container import python_command, variables

__all__ = ["ServerAddress", "job_script", "try_script"]

ServerAddress = tuple[Sequence[str], int]
"""The server's addresses, and its port."""


def job_script(
    settings: Settings,
    request: Request,
    *,
    name: str,
    pool: Path,
    log_directory: Path,
    working_directory: str,
    address: ServerAddress,
    environment: Mapping[str, str] | None = None,
    site: Limits | None = None,
) -> JobScript:
    """Return all that a submission is made from. ``pool`` is the pool's directory, ``site`` what is known of the site.

    ``environment`` holds variables that the user's own win over.
    """
    addresses, port = address
    return JobScript(
        name=name,
        request=request,
        site=site or Limits(),
        directory=pool,
        log_directory=log_directory,
        working_directory=Path(working_directory),
        # -P: a file of the user's that is named like a module must not stand in for it.
        argv=(
            *python_command(settings, request, folders=(pool, log_directory, Path(working_directory))),
            "-P",
            "-m",
            "jobpool.agent",
            "--pool",
            str(pool),
            "--submission",
            name,
            "--port",
            str(port),
            *(part for address in addresses for part in ("--address", address)),
        ),
        environment={**python_path(), **variables(settings), **(environment or {}), **settings.environment},
        by_file=settings.submit_by == "file",
    )


def try_script(settings: Settings, working_directory: str) -> None:
    """Write a whole job script as the server will, to see that it can be written; nothing is kept of it.

    Raises ``ConfigError``: a path that the batch system would read as another one, a variable that no program can take.
    """
    pool = home() / (settings.name or "pool-00000000")
    job = job_script(
        settings,
        settings.request,
        name="jp-trial-1",
        pool=pool,
        log_directory=settings.log_directory or pool / "logs",
        working_directory=working_directory,
        address=(settings.addresses, 65535),
    )
    registry.get(settings.system, pool).prepare(job, count=1, environment={})
