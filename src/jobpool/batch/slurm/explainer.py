"""What SLURM tells people: its reasons, its site, what is left of limits, and what sbatch scripts ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobpool.batch.explainer import Explainer, Remark, SiteFacts, Surroundings, Used
from jobpool.batch.slurm import dask_cluster, pitfalls, site, surroundings, usage, user_script
from jobpool.batch.slurm.reasons import explain_reason
from jobpool.batch.slurm.rules import SlurmRules
from jobpool.batch.slurm.walltime import read_walltime
from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId
from jobpool.model.rules import Rules
from jobpool.model.site import Partition, Quota
from jobpool.model.units import Duration

__all__ = ["SlurmExplainer", "make"]


def make() -> SlurmExplainer:
    """Return what explains SLURM to people."""
    return SlurmExplainer()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmExplainer(Explainer):
    """SLURM as an :class:`~jobpool.batch.explainer.Explainer`."""

    rules: Rules = field(default_factory=SlurmRules)
    surroundings: Surroundings = surroundings.SURROUNDINGS
    dask_cluster: str = dask_cluster.CLUSTER
    reads_scripts: bool = True

    def explain_reason(self, reason: str) -> str:
        """Say in plain sentences what a pending reason means and what can be done."""
        words = explain_reason(reason)
        return "" if words == reason else words

    def remarks(self, environment: Mapping[str, str]) -> tuple[Remark, ...]:
        """Say what SLURM's variables change about jobs and commands."""
        return tuple(surroundings.remarks(environment))

    def read_walltime(self, text: str) -> Duration:
        """Read a time as sbatch does, its forms with days too."""
        return read_walltime(text)

    def job_of_log(self, stem: str) -> tuple[str, JobId, int] | None:
        """Read ``SUBMISSION-ID``, of which the index is a part where it is an element of an array."""
        match = re.fullmatch(r"(jp-.+-\d+)-(\d+(?:_(\d+))?)", stem)
        return None if match is None else (match[1], JobId(match[2]), int(match[3] or 0))

    def site_commands(self) -> tuple[Command, ...]:
        """Make the commands that tell facts of the site."""
        return site.commands()

    def parse_site(self, done: Sequence[Completed]) -> SiteFacts:
        """Read their answers."""
        return site.parse(done)

    def left_commands(self, user: str) -> tuple[Command, ...]:
        """Make the command that tells how much of the limits of account and QoS is used."""
        return (usage.command(user),)

    def parse_left(
        self, done: Sequence[Completed], *, user: str, uid: int, account: str | None, qos: Sequence[Quota]
    ) -> tuple[Used, ...] | None:
        """Read its answer."""
        return usage.parse(done[0], user=user, uid=uid, account=account, qos=qos)

    def directs(self, text: str) -> bool:
        """Say whether a script has ``#SBATCH`` lines."""
        return user_script.has_directives(text)

    def read_script(self, text: str) -> ScriptWish:
        """Read an sbatch script."""
        return user_script.read_user_script(text)

    def pitfalls(
        self, asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]
    ) -> tuple[str, ...]:
        """Name what in a script is not as it looks."""
        return tuple(pitfalls.pitfalls(asked, nodes, places))

    def cluster_script(self, arguments: Mapping[str, Any], memory: int) -> str:
        """Write the job script of a ``SLURMCluster``."""
        return dask_cluster.cluster_script(arguments, memory)
