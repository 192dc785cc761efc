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
from jobpool.batch.base import BatchSystem, JobScript, Unanswered
from jobpool.commands import shell
from jobpool.config import resolve
from jobpool.core.scaling.auto_size import generous
from jobpool.host.home import home
from jobpool.host.user import user_name
from jobpool.model.command import Completed
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
    verdict = _verdict(settings, start=start)
    return replace(verdict, notes=(settings.choice, *verdict.notes)) if settings.choice else verdict


def _verdict(settings: resolve.Settings, *, start: bool) -> Verdict:
    if not registry.capabilities(settings.system).refuses:
        here = f"the jobs are processes of this machine (scheduler={settings.scheduler!r}): nothing is refused"
        return Verdict(partition=None, notes=(here,), starts_in=Duration(0) if start else None)
    limits = read_limits_now(settings.system, settings.submit_host)
    request = tried(settings, limits)
    registry.get(settings.system, home()).directives(request, limits)  # raises for what no script can say
    verdict = judge(request, limits, max_workers=settings.max_workers)
    if not start or not verdict.ok:
        return verdict
    by_file = settings.submit_by == "file"
    chosen = choose_partition(request, limits)
    found = start_of(chosen, settings.system, limits, by_file=by_file, submit_host=settings.submit_host)
    if isinstance(found, str):
        return replace(verdict, unknown=(*verdict.unknown, f"when a job would start: {found}"))
    return replace(verdict, starts_in=found)


def tried(settings: resolve.Settings, limits: Limits) -> Request:
    """Return the request, with what is tried first in the place of sizes that are to be found."""
    return generous(settings.request, settings.auto, limits) if settings.auto else settings.request


def start_of(
    request: Request, system: str, limits: Limits, *, by_file: bool = False, submit_host: str | None = None
) -> Duration | str:
    """Estimate in how much time a job for this request would start; or say why that is not known.

    ``limits`` are the site's, as far as they are known. ``by_file``: the submit command takes no script on stdin.
    """
    found = registry.get(system, home(), host=submit_host)
    nowhere = Path("/nonexistent")  # nothing runs, and no log is written
    job = JobScript(
        name="estimate",
        request=request,
        site=limits,
        directory=nowhere,
        log_directory=nowhere,
        working_directory=Path("/"),
        argv=("true",),
        environment={},
        by_file=by_file,
    )
    made = found.estimate(job, environment=os.environ)
    if made is None:
        return f"{registry.title(system)} gives no estimates"
    done = _run_with_files(found, job) if made.files else shell.run_now(made.command)
    answer = found.parse_estimate(done)
    return answer.words if isinstance(answer, Unanswered) else Duration(max(0.0, answer - time.time()))


def _run_with_files(system: BatchSystem, job: JobScript) -> Completed:
    """Ask for the estimate with its files in a directory that only the user can read."""
    with tempfile.TemporaryDirectory(prefix="jobpool-") as directory:
        made = system.estimate(replace(job, directory=Path(directory)), environment=os.environ)
        assert made is not None  # it was there before
        for name, text in made.files.items():
            file = Path(directory, name)
            file.touch(mode=0o600)
            file.write_text(text)
        return shell.run_now(made.command)


def read_limits_now(system: str, submit_host: str | None = None) -> Limits:
    """Read the limits that a batch system tells this user, all commands at once. Raises ``BatchSystemUnavailable``."""
    resolve.require(system, submit_host)
    found = registry.get(system, home(), host=submit_host)
    commands = found.limits(user_name())
    try:
        with ThreadPoolExecutor(len(commands) or 1) as threads:
            done = list(threads.map(shell.run_now, commands))
    except RuntimeError:  # there are no threads to be had
        done = list(map(shell.run_now, commands))
    return found.parse_limits(done)
