"""What LSF tells people: its reasons, its site, and what bsub scripts ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobpool.batch.explainer import Explainer, Remark, SiteFacts, Surroundings, Used
from jobpool.batch.lsf import dask_cluster, pitfalls, site, surroundings, usage, user_script
from jobpool.batch.lsf.reasons import explain_reason
from jobpool.batch.lsf.rules import LsfRules
from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId
from jobpool.model.rules import Rules
from jobpool.model.site import Partition, Quota

__all__ = ["LsfExplainer", "make"]

_MINUTES_AT_THE_END: Mapping[int, tuple[int, ...]] = {1: (60,), 2: (3600, 60)}


def make() -> LsfExplainer:
    """Return what explains LSF to people."""
    return LsfExplainer()


@dataclass(frozen=True, slots=True, kw_only=True)
class LsfExplainer(Explainer):
    """LSF as an :class:`~jobpool.batch.explainer.Explainer`."""

    rules: Rules = field(default_factory=LsfRules)
    surroundings: Surroundings = surroundings.SURROUNDINGS
    seconds_of_fields: Mapping[int, tuple[int, ...]] = field(default_factory=lambda: _MINUTES_AT_THE_END)
    dask_cluster: str = dask_cluster.CLUSTER
    reads_scripts: bool = True

    def explain_reason(self, reason: str) -> str:
        """Say in plain sentences what pending reasons mean and what can be done."""
        return explain_reason(reason)

    def remarks(self, environment: Mapping[str, str]) -> tuple[Remark, ...]:
        """Say what LSF's variables change about jobs and commands."""
        return tuple(surroundings.remarks(environment))

    def job_of_log(self, stem: str) -> tuple[str, JobId, int] | None:
        """Read ``SUBMISSION-1234_5``: the number behind the id is that of an element, from 1."""
        match = re.fullmatch(r"(jp-.+-\d+)-(\d+)(?:_(\d+))?", stem)
        if match is None:
            return None
        number = int(match[3] or 0)
        return match[1], JobId(f"{match[2]}[{number}]" if number else match[2]), max(0, number - 1)

    def site_commands(self) -> tuple[Command, ...]:
        """Make the commands that tell facts of the site."""
        return site.commands()

    def parse_site(self, done: Sequence[Completed]) -> SiteFacts:
        """Read their answers."""
        return site.parse(done)

    def left_commands(self, user: str) -> tuple[Command, ...]:
        """Make the command that tells how much of the user's limits is used."""
        return (usage.command(user),)

    def parse_left(
        self, done: Sequence[Completed], *, user: str, uid: int, account: str | None, qos: Sequence[Quota]
    ) -> tuple[Used, ...] | None:
        """Read its answer."""
        return usage.parse(done[0], user)

    def directs(self, text: str) -> bool:
        """Say whether a script has ``#BSUB`` lines."""
        return user_script.has_directives(text)

    def read_script(self, text: str) -> ScriptWish:
        """Read a bsub script."""
        return user_script.read_user_script(text)

    def pitfalls(
        self, asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]
    ) -> tuple[str, ...]:
        """Name what in a script is not as it looks."""
        return tuple(pitfalls.pitfalls(asked, nodes, places))

    def cluster_script(self, arguments: Mapping[str, Any], memory: int) -> str:
        """Write the job script of an ``LSFCluster``."""
        return dask_cluster.cluster_script(arguments, memory)
