"""Whether there is a Grid Engine behind its commands on this machine."""

from __future__ import annotations

import re

from jobpool.batch.base import Machine, NoCluster
from jobpool.batch.sge.environment import command
from jobpool.model.errors import BatchSystemUnavailable

__all__ = ["presence"]

_NO_CLUSTER = re.compile(
    r"SGE_ROOT directory .* doesn't exist|cell directory .* doesn't exist|unable to read qmaster name"
    r"|could not get environment variable SGE_ROOT|please set the environment variable SGE_ROOT"
    r"|can't open file \S*act_qmaster|can't read bootstrap|unable to open \S*bootstrap",
    re.IGNORECASE,
)

_ADVICE = "run this on a submit host, source the cluster's settings.sh, or use scheduler='local'"


def presence(machine: Machine) -> NoCluster | None:
    """Say why this machine belongs to no cluster: Grid Engine's packages may be installed on one that does not.

    Raises ``BatchSystemUnavailable`` when the way to it is lost.
    """
    place = machine.environment.get("SGE_ROOT")
    if place and not machine.is_there(place):
        raise BatchSystemUnavailable(
            f"SGE_ROOT is {place!r}, and there is no such directory: Grid Engine's commands cannot find their cluster",
            advice="unset SGE_ROOT, which a lab that was brought down leaves in its shell, or set it anew",
        )
    if machine.run is None:
        return None
    asked = machine.run(command("qstat", "-help", timeout=10.0))
    said = f"{asked.stdout}\n{asked.stderr}"
    if _NO_CLUSTER.search(said):
        return NoCluster(
            "its commands find no cell: this machine belongs to no cluster", words=asked.words, advice=_ADVICE
        )
    if asked.returncode is None or re.match(r"\s*\S*GE \d|\s*(Univa|Altair|Some|Open|Son of) ", said):
        return None
    if "usage: qstat" in said and "-help" in said:
        return None
    return NoCluster(
        "qstat is another batch system's: it does not name Grid Engine when asked for help",
        words=asked.words,
        advice="let scheduler= name the batch system that is here, or leave it out",
    )
