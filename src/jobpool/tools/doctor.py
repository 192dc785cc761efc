"""``jobpool doctor``: asks the site, runs one short job, and has both judged."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobpool.batch import registry
from jobpool.batch.elsewhere import commands_at
from jobpool.batch.explainer import Explainer, Remark, Surroundings, Used
from jobpool.commands.shell import run_now
from jobpool.config.resolve import Settings
from jobpool.diagnose import setup_lines
from jobpool.diagnose.checks import Finding, Level, examine, examine_here, examine_site
from jobpool.diagnose.facts import Meeting, Side, Site
from jobpool.diagnose.main_guard import examine_script
from jobpool.diagnose.quotas import command_for, read_quotas
from jobpool.host.user import user_name
from jobpool.model.command import UNREACHABLE, Command, Completed
from jobpool.model.errors import JobPoolError
from jobpool.model.request import Request
from jobpool.model.site import Limits, Quota
from jobpool.model.status import JobStatus
from jobpool.model.units import Duration
from jobpool.site.check import AUTO, choose_partition, partitions_of
from jobpool.site.rights import charged_to
from jobpool.tools.check import read_limits_now
from jobpool.tools.collect_facts import collect
from jobpool.tools.maker import MakePool
from jobpool.tools.project_file import tell_what_runs

__all__ = ["doctor"]

PATIENCE = Duration(300)
"""Five minutes for the job to start; what is known without it is told anyhow."""

ON_ITS_WAY = 1.0
"""Seconds that the call's look at its clock may be older than its answer."""

_ANSWERS = re.compile(r"server=(\S+) port=\d+ answers")


def doctor(
    make_pool: MakePool,
    settings: Settings,
    *,
    with_job: bool = True,
    patience: float = PATIENCE,
    script: Path | None = None,
) -> list[Finding]:
    """Look for the known pitfalls. Does not raise for what it finds.

    Raises ``OSError`` when the script cannot be read.
    """
    home, project = os.path.expanduser("~"), os.getcwd()  # noqa: PTH109, PTH111 - as text: they travel
    known = registry.explainers().values()
    around = sum((explainer.surroundings for explainer in known), Surroundings())
    here = _with_quotas(collect(home, project, {}, around))
    remarks = tuple(remark for explainer in known for remark in explainer.remarks(here.environment))
    site = _site(settings, around, remarks)
    # The job is short, and might fit where the user's own ones do not: it goes where those would.
    settings = replace(settings, request=site.request)
    findings = [*examine_site(site), *examine_here(here, site)]
    if settings.choice:
        findings.append(Finding("batch system", Level.NOTE, settings.choice))
    if script is not None:
        text = script.read_text(errors="replace")
        findings += examine_script(text, script.name, start_method=here.start_method)
    nowhere = site.chosen and site.request.partition is None
    if with_job and not nowhere:
        with _marked(home, project) as marks:
            look = functools.partial(collect, home, project, marks, around)
            findings += _job(make_pool, settings, here, site, look, patience)
    return sorted(findings, key=lambda finding: -finding.level)


@contextlib.contextmanager
def _marked(*folders: str) -> Iterator[Mapping[str, str]]:
    """Put a file into each folder that can be written, for the other side to find."""
    with contextlib.ExitStack() as files:
        marks = {}
        for folder in folders:
            with contextlib.suppress(OSError):
                file = files.enter_context(tempfile.NamedTemporaryFile(prefix=".jobpool-doctor-", dir=folder))
                marks[folder] = os.path.basename(file.name)  # noqa: PTH119 - as text
        yield marks


def _with_quotas(here: Side) -> Side:
    """Ask each file system that holds home, project or scratch for the user's quota, once."""
    user, quotas = user_name(), []
    folders = {folder.mount: folder for folder in (here.home, here.project, *here.scratch.values()) if folder.there}
    done: dict[Command, Completed] = {}
    for folder in folders.values():
        command = command_for(folder, user)
        if command is not None and command not in done:
            done[command] = run_now(command)
        quotas += read_quotas(folder, None if command is None else done[command])
    return replace(here, quotas=tuple(quotas))


def _site(settings: Settings, around: Surroundings, remarks: tuple[Remark, ...]) -> Site:
    """Ask the batch system for its limits, and for facts of the site."""
    able = registry.capabilities(settings.system)
    site = Site(capabilities=able, request=settings.request, surroundings=around, remarks=remarks)
    if able.shares_machine:
        return site
    explainer = registry.explainer(settings.system)
    host = settings.submit_host
    facts = explainer.parse_site([run_now(command) for command in commands_at(explainer.site_commands(), host)])
    limits = read_limits_now(settings.system, host)
    request = choose_partition(settings.request, limits)
    return replace(
        site,
        limits=limits,
        request=request,
        chosen=settings.request.partition == AUTO,
        auto=settings.auto,
        facts=facts,
        left=_left(request, limits, explainer, host),
    )


def _left(request: Request, limits: Limits, explainer: Explainer, host: str | None) -> tuple[Used, ...] | None:
    """Ask what the account and the QoS that hold for such jobs leave."""
    user, places = user_name(), partitions_of(request, limits)
    account, qos = request.account, list[Quota]()
    if limits.accounting is not None and places:
        account, qos = charged_to(request, places[0], limits.accounting)
    done = [run_now(command) for command in commands_at(explainer.left_commands(user), host)]
    return explainer.parse_left(done, user=user, uid=os.getuid(), account=account, qos=qos)


def _job(
    make_pool: MakePool, settings: Settings, here: Side, site: Site, call: Callable[[], Side], patience: float
) -> list[Finding]:
    """Run one call in a job like the user's own, and compare what it sees with what is seen here."""
    tell_what_runs(settings, again=True)
    keywords = settings.values(auto=False) | {"max_workers": 1, "workers_per_job": 1, "min_workers": 0, "name": None}
    setup = settings.request.setup
    keywords |= {"walltime": "5 min", "scheduler": settings.system, "setup": setup_lines.timed(setup)}
    try:
        with make_pool(**keywords) as pool:
            asked = time.time()
            future = pool.submit(call)
            try:
                there = future.result(patience)
            except TimeoutError:
                waits = _waits(pool.status().jobs, patience, settings.system)
                pool.terminate_workers()
                return [waits]
            answered = time.time()
            log = _log(future)
    except JobPoolError as error:
        return [_failed(error)]
    wall = future.usage.wall if future.usage else 0.0
    meeting = Meeting(
        waited=max(0.0, answered - asked - wall),
        offset=there.time - answered,
        uncertain=ON_ITS_WAY,
        address=match[1] if (match := _ANSWERS.search(log)) else "",
        job=f"job {future.job.id} on {future.job.node}" if future.job else "",
    )
    seen = setup_lines.findings(setup_lines.read(log), setup)
    return [*examine(here, there, replace(site, request=pool.settings.request), meeting), *seen]


def _failed(error: JobPoolError) -> Finding:
    cure = error.details.pop("advice", "")  # which stands in a place of its own
    return Finding("network" if error.exit_code == UNREACHABLE else "job", Level.PROBLEM, str(error), cure)


def _waits(jobs: Sequence[JobStatus], patience: float, system: str) -> Finding:
    reason = next((job.reason for job in jobs if job.reason), "")
    text = f"the job did not start within {Duration(patience)}"
    if reason:
        text += f": {reason}. {registry.explainer(system).explain_reason(reason)}".rstrip()
    return Finding("job", Level.WARNING, text, "try again with --wait, or another partition")


def _log(future: Any) -> str:
    try:
        return future.job.log.read_text(errors="replace") if future.job and future.job.log else ""
    except OSError:  # it may come later, over a network file system
        return ""
