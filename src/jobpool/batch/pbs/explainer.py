"""What PBS tells people: its reasons, its site, and what PBS scripts ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobpool.batch.explainer import Explainer, Remark, SiteFacts, Surroundings
from jobpool.batch.pbs import dask_cluster, pitfalls, site, surroundings, user_script
from jobpool.batch.pbs.reasons import explain_reason
from jobpool.batch.pbs.rules import PbsRules
from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId
from jobpool.model.rules import Rules
from jobpool.model.site import Partition

__all__ = ["PbsExplainer", "make"]

_SAID = ("select=", "ncpus=", "mem=", "vmem=", "mpiprocs=", "ompthreads=")
"""Beginnings of what a chunk holds of the cores and the memory of a job, which have keys of their own."""


def make() -> PbsExplainer:
    """Return what explains PBS to people."""
    return PbsExplainer()


@dataclass(frozen=True, slots=True, kw_only=True)
class PbsExplainer(Explainer):
    """PBS as an :class:`~jobpool.batch.explainer.Explainer`. Its times are read as those of :class:`Explainer`."""

    rules: Rules = field(default_factory=PbsRules)
    surroundings: Surroundings = surroundings.SURROUNDINGS
    dask_cluster: str = dask_cluster.CLUSTER
    reads_scripts: bool = True

    def explain_reason(self, reason: str) -> str:
        """Say in plain sentences what a pending job's comment means and what can be done."""
        return explain_reason(reason)

    def remarks(self, environment: Mapping[str, str]) -> tuple[Remark, ...]:
        """Say what PBS's variables change about jobs and commands."""
        return tuple(surroundings.remarks(environment))

    def read_own_keys(self, section: Mapping[str, str]) -> Mapping[str, tuple[str, Any]]:
        """Read of ``resource-spec`` (``select=1:ncpus=4:mem=8GB:arch=x``) what cores and memory do not say."""
        parts = section.get("resource-spec", "").split(":")
        more = [part for part in parts if "=" in part and not part.strip().startswith(_SAID)]
        return {"system_options": ("resource-spec", {"select": ":".join(more)})} if more else {}

    def job_of_log(self, stem: str) -> tuple[str, JobId, int] | None:
        """Read ``SUBMISSION-INDEX``: qsub writes no id into the name of a log that is told beforehand."""
        match = re.fullmatch(r"(jp-.+-\d+)-(\d+)", stem)
        return None if match is None else (match[1], JobId(stem), int(match[2]))

    def site_commands(self) -> tuple[Command, ...]:
        """Make the commands that tell facts of the site."""
        return site.commands()

    def parse_site(self, done: Sequence[Completed]) -> SiteFacts:
        """Read their answers."""
        return site.parse(done)

    def directs(self, text: str) -> bool:
        """Say whether a script has ``#PBS`` lines."""
        return user_script.has_directives(text)

    def read_script(self, text: str) -> ScriptWish:
        """Read a PBS script."""
        return user_script.read_user_script(text)

    def pitfalls(
        self, asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]
    ) -> tuple[str, ...]:
        """Name what in a script is not as it looks."""
        return tuple(pitfalls.pitfalls(asked, nodes, places))

    def cluster_script(self, arguments: Mapping[str, Any], memory: int) -> str:
        """Write the job script of a ``PBSCluster``."""
        return dask_cluster.cluster_script(arguments, memory)
