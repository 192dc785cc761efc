"""``check``: would the batch system take such jobs, and start them? Without a pool, in the caller's process."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobpool.batch import registry
from jobpool.batch.base import JobScript, Unanswered
from jobpool.commands import shell
from jobpool.config import resolve
from jobpool.core.scaling.auto_size import generous
from jobpool.host.home import home
from jobpool.host.user import user_name
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration
from jobpool.site.check import Verdict, choose_partition, judge

__all__ = ["check", "check_settings", "read_limits_now", "start_of", "tried"]


def check(*, start: bool = False, **keywords: Any) -> Verdict:
    """Compare what a pool would ask for with what the site allows, without making a pool. ::

        verdict = jobpool.check(cores=4, memory="100 GiB", walltime="3d")
        print(verdict)
        verdict.ok

    Args:
        start: Ask the batch system, with one command, when a job that is submitted now would start: ``starts_in``.
        **keywords: As :class:`JobPoolExecutor` takes them; what is not given comes from the configuration.

    Returns:
        A :class:`~jobpool.site.check.Verdict`: ``ok``, ``problems``, ``fits`` (partitions where the request as it is
        would fit, fastest start first), ``notes``, ``unknown``.

    Raises:
        ConfigError: Values that cannot be used; all problems at once.
    """
    return check_settings(resolve.resolve(keywords), start=start)


def check_settings(settings: resolve.Settings, *, start: bool = False) -> Verdict:
    """Do the same for settings that are found already."""
    if settings.system == "local":
        here = f"the jobs are processes of this machine (scheduler={settings.scheduler!r}): nothing is refused"
        return Verdict(partition=None, notes=(here,), starts_in=Duration(0) if start else None)
    limits = read_limits_now(settings.system)
    request = tried(settings, limits)
    registry.get(settings.system, home()).directives(request, limits)  # raises for what no script can say
    verdict = judge(request, limits, max_workers=settings.max_workers)
    if not start or not verdict.ok:
        return verdict
    found = start_of(choose_partition(request, limits), settings.system, by_file=settings.submit_by == "file")
    if isinstance(found, str):
        return replace(verdict, unknown=(*verdict.unknown, f"when a job would start: {found}"))
    return replace(verdict, starts_in=found)


def tried(settings: resolve.Settings, limits: Limits) -> Request:
    """Return the request, with what is tried first in the place of sizes that are to be found."""
    return generous(settings.request, settings.auto, limits) if settings.auto else settings.request


def start_of(request: Request, system: str, *, by_file: bool = False) -> Duration | str:
    """Estimate in how much time a job for this request would start; or say why that is not known.

    ``by_file``: the submit command takes no script on stdin.
    """
    found = registry.get(system, home())
    nowhere = Path("/nonexistent")  # nothing runs, and no log is written
    with tempfile.TemporaryDirectory(prefix="jobpool-") as directory:
        job = JobScript(
            name="estimate",
            request=request,
            directory=Path(directory),
            log_directory=nowhere,
            working_directory=Path("/"),
            argv=("true",),
            environment={},
            by_file=by_file,
        )
        made = found.estimate(job, environment=os.environ)
        if made is None:
            return f"{system} gives no estimates"
        for name, text in made.files.items():
            (job.directory / name).touch(mode=0o600)
            (job.directory / name).write_text(text)
        answer = found.parse_estimate(shell.run_now(made.command))
    return answer.words if isinstance(answer, Unanswered) else Duration(max(0.0, answer - time.time()))


def read_limits_now(system: str) -> Limits:
    """Read the limits that a batch system tells this user, all commands at once. Raises ``BatchSystemUnavailable``."""
    resolve.require(system)
    found = registry.get(system, home())
    commands = found.limits(user_name())
    try:
        with ThreadPoolExecutor(len(commands) or 1) as threads:
            done = list(threads.map(shell.run_now, commands))
    except RuntimeError:  # there are no threads to be had
        done = list(map(shell.run_now, commands))
    return found.parse_limits(done)
