"""Whether qsub and the others are PBS's on this machine, and whether there is a PBS behind them."""

from __future__ import annotations

from jobpool.batch.base import Machine, NoCluster
from jobpool.batch.pbs.environment import command
from jobpool.batch.pbs.submit import words_of
from jobpool.model.errors import BatchSystemUnavailable

__all__ = ["presence"]

_PATIENCE = 10.0
"""Seconds for an answer. A server that is down answers at once that it is; a frozen one never."""


def presence(machine: Machine) -> NoCluster | None:
    """Say why this machine belongs to no PBS. One whose server is down or frozen is there.

    Raises ``BatchSystemUnavailable`` when its configuration is lost, and where the commands are TORQUE's, which have
    the same names and other options.
    """
    place = machine.environment.get("PBS_CONF_FILE")
    if place and not machine.is_there(place):
        raise BatchSystemUnavailable(
            f"PBS_CONF_FILE is {place!r}, and there is no such file: PBS's commands cannot find their server",
            advice="unset PBS_CONF_FILE, or set it to the cluster's pbs.conf",
        )
    if machine.run is None:
        return None
    # Answered without a server, and without a configuration.
    version = machine.run(command("qstat", "--version", timeout=_PATIENCE))
    said = f"{version.stdout}\n{version.stderr}".lower()
    if version.returncode is None:
        return None
    if "pbs_version" not in said and "pbsconf error" not in said:
        if version.ok and "version" in said:
            raise BatchSystemUnavailable(
                "qstat is here, and is neither PBS Pro's nor OpenPBS's (TORQUE's has the same name)",
                words=words_of(version),
                advice="jobpool cannot use TORQUE; scheduler='local' runs the work on this machine alone",
            )
        return NoCluster(
            "qstat is another batch system's",
            words=words_of(version),
            advice="run this where PBS's commands come first on the PATH, or with scheduler='local'",
        )
    asked = machine.run(command("qstat", "-B", timeout=_PATIENCE))
    if "pbs conf variables not found" not in asked.stderr:
        return None
    return NoCluster(
        "its commands find no configuration: this machine belongs to no cluster",
        words=words_of(asked),
        advice="run this on a login node, set PBS_CONF_FILE to the cluster's pbs.conf, or use scheduler='local'",
    )
