"""Whether there is a SLURM behind its commands on this machine."""

from __future__ import annotations

from jobpool.batch.base import Machine, NoCluster
from jobpool.batch.slurm.environment import command
from jobpool.model.command import Completed
from jobpool.model.errors import BatchSystemUnavailable

__all__ = ["presence"]


def presence(machine: Machine) -> NoCluster | None:
    """Say why this machine belongs to no cluster: SLURM's packages may be installed on one that does not.

    Raises ``BatchSystemUnavailable`` when its configuration is lost.
    """
    # Not left to SLURM: each of its commands would wait a minute for the file to come.
    place = machine.environment.get("SLURM_CONF")
    if place and not machine.is_there(place):
        raise BatchSystemUnavailable(
            f"SLURM_CONF is {place!r}, and there is no such file: SLURM's commands cannot find their cluster",
            advice="unset SLURM_CONF, which a lab that was brought down leaves in its shell, or set it anew",
        )
    done = None if machine.run is None else machine.run(command("scontrol", "ping", timeout=10.0))
    if done is None or not _is_without_cluster(done):
        return None
    return NoCluster(
        "its commands find no configuration: this machine belongs to no cluster",
        words=done.words,
        advice="run this on a login node, set SLURM_CONF to the cluster's slurm.conf, or use scheduler='local'",
    )


def _is_without_cluster(done: Completed) -> bool:
    """Say whether a command found no configuration. With a controller that is down, the cluster is there."""
    said = done.stderr.lower()
    return done.returncode not in (0, None) and (
        "could not establish a configuration source" in said or "unable to process configuration file" in said
    )
