"""``check``: would the batch system take such jobs, and start them? Without a pool, in the caller's process."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from jobpool import config
from jobpool.batch import registry
from jobpool.core.auto import generous
from jobpool.core.limits import Verdict, judge
from jobpool.home import home
from jobpool.model import Command, Completed, Limits, Request
from jobpool.server import shell
from jobpool.server.asking import user_name

__all__ = ["check", "check_settings", "read_limits_now", "tried"]

_FORMATS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SLURM_TIME_FORMAT")
"""Variables by which a user changes what SLURM's commands print: the parsers read the commands' own formats."""


def check(**keywords: Any) -> Verdict:
    """Compare what a pool would ask for with what the site allows, without making a pool. ::

        verdict = jobpool.check(cores=4, memory="100 GiB", walltime="3d")
        print(verdict)
        verdict.ok

    Args:
        **keywords: As :class:`JobPoolExecutor` takes them; what is not given comes from the configuration.

    Returns:
        A :class:`~jobpool.core.limits.Verdict`: ``ok``, ``problems``, ``fits`` (partitions where the request as it is
        would fit, fastest start first), ``notes``, ``unknown``.

    Raises:
        ConfigError: Values that cannot be used; all problems at once.
    """
    return check_settings(config.resolve(keywords))


def check_settings(settings: config.Settings) -> Verdict:
    """Do the same for settings that are found already."""
    if settings.system == "local":
        here = f"the jobs are processes of this machine (scheduler={settings.scheduler!r}): nothing is refused"
        return Verdict(partition=None, notes=(here,))
    limits = read_limits_now(settings.system)
    return judge(tried(settings, limits), limits, max_workers=settings.max_workers)


def tried(settings: config.Settings, limits: Limits) -> Request:
    """Return the request, with what is tried first in the place of sizes that are to be found."""
    return generous(settings.request, settings.auto, limits) if settings.auto else settings.request


def read_limits_now(system: str) -> Limits:
    """Read the limits that a batch system tells this user, all commands at once. Raises ``BatchSystemUnavailable``."""
    config.require(system)
    found = registry.get(system, home())
    commands = found.limits(user_name())
    with ThreadPoolExecutor(len(commands) or 1) as threads:
        return found.parse_limits(list(threads.map(_run, commands)))


def _run(command: Command) -> Completed:
    plain = tuple((name, value) for name, value in os.environ.items() if not name.startswith(_FORMATS))
    return shell.run_now(replace(command, environment=plain))
