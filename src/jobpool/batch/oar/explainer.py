"""What OAR tells people: its reasons, its site, and what its job scripts ask for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobpool.batch.explainer import Explainer, Remark, SiteFacts, Surroundings
from jobpool.batch.oar import dask_cluster, pitfalls, states, surroundings, user_script
from jobpool.batch.oar.environment import command
from jobpool.batch.oar.reasons import explain_reason
from jobpool.batch.oar.rules import OarRules
from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId
from jobpool.model.rules import Rules
from jobpool.model.site import Partition

__all__ = ["OarExplainer", "make"]


def make() -> OarExplainer:
    """Return what explains OAR to people."""
    return OarExplainer()


@dataclass(frozen=True, slots=True, kw_only=True)
class OarExplainer(Explainer):
    """OAR as an :class:`~jobpool.batch.explainer.Explainer`."""

    rules: Rules = field(default_factory=OarRules)
    surroundings: Surroundings = surroundings.SURROUNDINGS
    # walltime=1 is an hour, walltime=1:30 an hour and a half.
    seconds_of_fields: Mapping[int, tuple[int, ...]] = field(default_factory=lambda: {1: (3600,), 2: (3600, 60)})
    dask_cluster: str = dask_cluster.CLUSTER
    reads_scripts: bool = True

    def explain_reason(self, reason: str) -> str:
        """Say in plain sentences what a pending reason means and what can be done."""
        return explain_reason(reason)

    def remarks(self, environment: Mapping[str, str]) -> tuple[Remark, ...]:
        """Say what OAR's variables change about jobs and commands."""
        return tuple(surroundings.remarks(environment))

    def read_own_keys(self, section: Mapping[str, str]) -> Mapping[str, tuple[str, Any]]:
        """Read the name of the property that holds the memory of a core."""
        key = "memory-per-core-property-name"
        return {"system_options": (key, {"core_memory_property": section[key]})} if key in section else {}

    def job_of_log(self, stem: str) -> tuple[str, JobId, int | None] | None:
        """Read ``SUBMISSION-ID``; an element of an array has an id of its own, which does not tell its index."""
        match = re.fullmatch(r"(jp-.+-\d+)-(\d+)", stem)
        return None if match is None else (match[1], JobId(match[2]), None)

    def site_commands(self) -> tuple[Command, ...]:
        """Make the command that tells this user's jobs."""
        return (command("oarstat", "-J", "-u"),)

    def parse_site(self, done: Sequence[Completed]) -> SiteFacts:
        """Read its answer. The database that tells of the queue is the accounting, and forgets nothing by itself."""
        rows = states.rows_of(done[0])
        if not isinstance(rows, dict):
            return SiteFacts(accounting=rows.words)
        return SiteFacts(accounting="", own_jobs=Counter(str(row.get("state")) for row in rows.values()))

    def directs(self, text: str) -> bool:
        """Say whether a script has ``#OAR`` lines."""
        return user_script.has_directives(text)

    def read_script(self, text: str) -> ScriptWish:
        """Read a script for ``oarsub -S``."""
        return user_script.read_user_script(text, self.read_walltime)

    def pitfalls(
        self, asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]
    ) -> tuple[str, ...]:
        """Name what in a script is not as it looks."""
        return tuple(pitfalls.pitfalls(asked))

    def cluster_script(self, arguments: Mapping[str, Any], memory: int) -> str:
        """Write the job script of an ``OARCluster``."""
        return dask_cluster.cluster_script(arguments, memory)
