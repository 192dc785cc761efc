"""Whether there is an LSF behind its commands on this machine."""

from __future__ import annotations

import re

from jobpool.batch.base import Machine, NoCluster
from jobpool.batch.lsf.environment import command
from jobpool.model.errors import BatchSystemUnavailable

__all__ = ["presence"]

_WITHOUT = re.compile(
    r"Unable to open file lsf\.conf|lsf\.conf.*(not found|No such file|cannot (be )?open)"
    r"|[Bb]ad configuration environment"
    r"|host does not belong to|not (a|an|in any) (known )?LSF (host|cluster)|LSF_ENVDIR.*not (set|defined)"
)
"""What its commands say where there is no configuration. With a daemon that is down, the cluster is there."""

_OTHERS = re.compile(r"\bslurm\b", re.IGNORECASE)
"""SLURM's package of wrappers brings a bsub, a bjobs, a bkill and an lsid."""


def presence(machine: Machine) -> NoCluster | None:
    """Say why this machine belongs to no cluster of LSF's.

    Raises ``BatchSystemUnavailable`` when its configuration is lost.
    """
    place = machine.environment.get("LSF_ENVDIR")
    if place and not machine.is_there(f"{place}/lsf.conf"):
        raise BatchSystemUnavailable(
            f"LSF_ENVDIR is {place!r}, and there is no lsf.conf in it: LSF's commands cannot find their cluster",
            advice="source the site's profile.lsf again, or unset LSF_ENVDIR",
        )
    done = None if machine.run is None else machine.run(command("lsid", timeout=20.0))
    if done is None or done.returncode is None:
        return None
    said = f"{done.stdout}\n{done.stderr}"
    if done.ok and _OTHERS.search(done.stdout):
        first = done.stdout.strip().splitlines()[0]
        return NoCluster(
            "its commands are another batch system's, which takes their place",
            words=first,
            advice="use scheduler='auto', which finds the batch system that is here",
        )
    if not done.ok and _WITHOUT.search(said):
        return NoCluster(
            "its commands find no configuration: this machine belongs to no cluster",
            words=done.words,
            advice="source the site's profile.lsf, run this on a login node, or use scheduler='local'",
        )
    return None
