"""What HTCondor tells people: its reasons, its pool, and what submit descriptions ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobpool.batch.base import Unanswered
from jobpool.batch.explainer import Explainer, Remark, SiteFacts, Surroundings
from jobpool.batch.htcondor import dask_cluster, pitfalls, surroundings, user_script
from jobpool.batch.htcondor.ads import read_ads
from jobpool.batch.htcondor.environment import command
from jobpool.batch.htcondor.reasons import explain_reason
from jobpool.batch.htcondor.rules import HTCondorRules
from jobpool.batch.htcondor.script import job_of_log
from jobpool.batch.htcondor.states import name_of_status
from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId
from jobpool.model.rules import Rules
from jobpool.model.site import Partition

__all__ = ["HTCondorExplainer", "make"]


def make() -> HTCondorExplainer:
    """Return what explains HTCondor to people."""
    return HTCondorExplainer()


@dataclass(frozen=True, slots=True, kw_only=True)
class HTCondorExplainer(Explainer):
    """HTCondor as an :class:`~jobpool.batch.explainer.Explainer`."""

    rules: Rules = field(default_factory=HTCondorRules)
    surroundings: Surroundings = surroundings.SURROUNDINGS
    dask_cluster: str = dask_cluster.CLUSTER
    reads_scripts: bool = True

    def explain_reason(self, reason: str) -> str:
        """Say in plain sentences what the reason of an idle or held job means and what can be done."""
        return explain_reason(reason)

    def remarks(self, environment: Mapping[str, str]) -> tuple[Remark, ...]:
        """Say what HTCondor's variables change about jobs and commands."""
        return tuple(surroundings.remarks(environment))

    def read_own_keys(self, section: Mapping[str, str]) -> Mapping[str, tuple[str, Any]]:
        """Read the disk space of a job: a number with a unit goes to HTCondor as it is."""
        if "disk" not in section:
            return {}
        return {"system_options": ("disk", {"request_disk": section["disk"].replace(" ", "")})}

    def job_of_log(self, stem: str) -> tuple[str, JobId, int] | None:
        """Read ``SUBMISSION-CLUSTER.PROC``."""
        return job_of_log(stem)

    def site_commands(self) -> tuple[Command, ...]:
        """Make the commands: whether there is a history, and the user's own jobs."""
        return (
            command("condor_history", "-json", "-attributes", "ClusterId", "-limit", "1", timeout=10.0),
            command("condor_q", "-json", "-attributes", "JobStatus"),
        )

    def parse_site(self, done: Sequence[Completed]) -> SiteFacts:
        """Read their answers. Jobs leave the queue when they end; how they ended the history tells at once."""
        history, queue = done
        jobs = read_ads(queue)
        words = (history.words.splitlines() or ["condor_history does not answer"])[0]
        return SiteFacts(
            accounting="" if history.ok else words,
            own_jobs=None if isinstance(jobs, Unanswered) else Counter(map(name_of_status, jobs)),
        )

    def directs(self, text: str) -> bool:
        """Say whether a text is a submit description."""
        return user_script.has_directives(text)

    def read_script(self, text: str) -> ScriptWish:
        """Read a submit description."""
        return user_script.read_user_script(text)

    def pitfalls(
        self, asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]
    ) -> tuple[str, ...]:
        """Name what in a submit description is not as it looks."""
        return tuple(pitfalls.pitfalls(asked))

    def cluster_script(self, arguments: Mapping[str, Any], memory: int) -> str:
        """Write the submit description of an ``HTCondorCluster``."""
        return dask_cluster.cluster_script(arguments, memory)
