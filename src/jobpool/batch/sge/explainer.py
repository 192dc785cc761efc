"""What Grid Engine tells people: reasons, its site, and what qsub scripts ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobpool.batch.explainer import Explainer, Remark, SiteFacts, Surroundings, Used
from jobpool.batch.sge import dask_cluster, pitfalls, site, surroundings, usage, user_script
from jobpool.batch.sge.reasons import explain_reason
from jobpool.batch.sge.rules import MEMORY, GridEngineRules
from jobpool.batch.sge.walltime import read_walltime
from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId
from jobpool.model.rules import Rules
from jobpool.model.site import Partition, Quota
from jobpool.model.units import Duration

__all__ = ["GridEngineExplainer", "make"]


def make() -> GridEngineExplainer:
    """Return what explains Grid Engine to people."""
    return GridEngineExplainer()


@dataclass(frozen=True, slots=True, kw_only=True)
class GridEngineExplainer(Explainer):
    """Grid Engine as an :class:`~jobpool.batch.explainer.Explainer`."""

    rules: Rules = field(default_factory=GridEngineRules)
    surroundings: Surroundings = surroundings.SURROUNDINGS
    seconds_of_fields: Mapping[int, tuple[int, ...]] = field(default_factory=lambda: {2: (60, 1)})
    dask_cluster: str = dask_cluster.CLUSTER
    reads_scripts: bool = True

    def explain_reason(self, reason: str) -> str:
        """Say in plain sentences what a pending reason means and what can be done."""
        return explain_reason(reason)

    def remarks(self, environment: Mapping[str, str]) -> tuple[Remark, ...]:
        """Say what Grid Engine's variables change about jobs and commands."""
        return tuple(surroundings.remarks(environment))

    def read_walltime(self, text: str) -> Duration:
        """Read a time as qsub does."""
        return read_walltime(text)

    def read_own_keys(self, section: Mapping[str, str]) -> Mapping[str, tuple[str, Any]]:
        """Read ``resource-spec`` (``h_vmem=8G,exclusive=true``): the resource for memory, and the rest."""
        key = "resource-spec"
        pairs = [pair.strip() for pair in section.get(key, "").split(",") if "=" in pair]
        memory = [name for name in (pair.partition("=")[0] for pair in pairs) if name in MEMORY]
        more = [f"-l {pair}" for pair in pairs if pair.partition("=")[0] not in MEMORY]
        found: dict[str, tuple[str, Any]] = {}
        if memory:
            found["system_options"] = (key, {"memory_resource": memory[0]})
        if more:
            found["job_extra"] = (key, more)
        return found

    def job_of_log(self, stem: str) -> tuple[str, JobId, int] | None:
        """Read ``SUBMISSION-ID``, of which the element is a part where there is one; it counts from 1."""
        match = re.fullmatch(r"(jp-.+-\d+)-(\d+(?:\.(\d+))?)", stem)
        return None if match is None else (match[1], JobId(match[2]), int(match[3] or 1) - 1)

    def site_commands(self) -> tuple[Command, ...]:
        """Make the commands that tell facts of the site."""
        return site.commands()

    def parse_site(self, done: Sequence[Completed]) -> SiteFacts:
        """Read their answers."""
        return site.parse(done)

    def left_commands(self, user: str) -> tuple[Command, ...]:
        """Make the command that tells how much of the resource quotas is used."""
        return (usage.command_of(user),)

    def parse_left(
        self, done: Sequence[Completed], *, user: str, uid: int, account: str | None, qos: Sequence[Quota]
    ) -> tuple[Used, ...] | None:
        """Read its answer."""
        return usage.parse(done[0], user=user)

    def directs(self, text: str) -> bool:
        """Say whether a script has ``#$`` lines."""
        return user_script.has_directives(text)

    def read_script(self, text: str) -> ScriptWish:
        """Read a qsub script."""
        return user_script.read_user_script(text)

    def pitfalls(
        self, asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]
    ) -> tuple[str, ...]:
        """Name what in a script is not as it looks."""
        return tuple(pitfalls.pitfalls(asked, places))

    def cluster_script(self, arguments: Mapping[str, Any], memory: int) -> str:
        """Write the job script of an ``SGECluster``."""
        return dask_cluster.cluster_script(arguments, memory)
