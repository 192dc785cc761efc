"""What a Grid Engine says of itself beyond its limits: accounting, the user's own jobs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from jobpool.batch.explainer import Enforcement, SiteFacts
from jobpool.batch.sge.environment import command
from jobpool.batch.sge.fields import fields_of
from jobpool.model.command import Command, Completed

__all__ = ["commands", "parse"]


def commands() -> tuple[Command, ...]:
    """Make the commands."""
    return (
        command("qconf", "-sconf"),
        command("qacct", "-j", "jp-no-such-job"),
        command("qstat", "-xml", "-u", "$user", "-s", "prs", "-g", "d"),
    )


def parse(done: Sequence[Completed]) -> SiteFacts:
    """Read their answers."""
    config, account, queue = done
    told = fields_of(config.stdout) if config.ok else {}
    knows = account.ok or "not found" in account.words
    words = "" if knows else account.words.splitlines()[0] if account.words else "qacct does not answer"
    return SiteFacts(
        accounting=words,
        forgets_after="at once",
        enforcement=_enforcement(told.get("execd_params", "")) if told else None,
        own_jobs=Counter(re.findall(r"<state>([^<]*)</state>", queue.stdout)) if queue.ok else None,
    )


def _enforcement(parameters: str) -> Enforcement:
    """Say that jobs are not held to their cores, unless the site uses cgroups."""
    cgroups = re.search(r"\bUSE_CGROUPS=(true|yes|1)\b", parameters, re.IGNORECASE) is not None
    return Enforcement() if cgroups else Enforcement(("cores",), f"execd_params={parameters or 'none'}")
