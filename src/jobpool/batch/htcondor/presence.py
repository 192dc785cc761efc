"""Whether there is an HTCondor pool behind its commands on this machine."""

from __future__ import annotations

from jobpool.batch.base import Machine, NoCluster
from jobpool.batch.htcondor.environment import command
from jobpool.model.errors import BatchSystemUnavailable

__all__ = ["presence"]


def presence(machine: Machine) -> NoCluster | None:
    """Say why this machine belongs to no pool: HTCondor's packages may be installed on one that does not.

    Jobs are given to a schedd: one that runs here, or that the configuration names. One that is down just now is there.
    Raises ``BatchSystemUnavailable`` when the configuration is lost.
    """
    place = machine.environment.get("CONDOR_CONFIG")
    if place and place.upper() not in ("ONLY_ENV", "NONE") and not machine.is_there(place):
        raise BatchSystemUnavailable(
            f"CONDOR_CONFIG is {place!r}, and there is no such file: HTCondor's commands cannot find their pool",
            advice="unset CONDOR_CONFIG, which a lab that was brought down leaves in its shell, or set it anew",
        )
    if machine.run is None:
        return None
    done = machine.run(command("condor_config_val", "DAEMON_LIST", "SCHEDD_HOST", timeout=10.0))
    if (
        done.returncode is None
        or "SCHEDD" in done.stdout.upper()
        or "not defined: schedd_host" not in done.stderr.lower()
    ):
        return None
    return NoCluster(
        "its configuration names no schedd, neither one that runs here (DAEMON_LIST) nor another (SCHEDD_HOST)",
        words=done.words,
        advice="run this on a submit host of the pool, set SCHEDD_HOST, or use scheduler='local'",
    )
