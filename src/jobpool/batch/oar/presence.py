"""Whether there is an OAR behind its commands on this machine."""

from __future__ import annotations

from jobpool.batch.base import Machine, NoCluster
from jobpool.batch.oar.environment import command

__all__ = ["presence"]

_UNCONFIGURED = ("configuration file", "oar.conf", "not found in oar.conf", "no such file or directory")


def presence(machine: Machine) -> NoCluster | None:
    """Say why this machine belongs to no cluster. With the server or the database down, it belongs to one."""
    done = None if machine.run is None else machine.run(command("oarstat", "--version", timeout=10.0))
    if done is None or done.returncode is None:
        return None
    said = f"{done.stderr}\n{done.stdout}"
    if done.ok and "OAR version" in said:
        return None
    if "oar version" not in said.lower() and not any(word in said.lower() for word in _UNCONFIGURED):
        return NoCluster(
            "its oarstat is not OAR's: it does not tell OAR's version",
            words=done.words,
            advice="put OAR's commands before others on the PATH, or use scheduler='local'",
        )
    return NoCluster(
        "its commands find no configuration: this machine belongs to no cluster",
        words=done.words,
        advice="run this on a frontend of the cluster, or use scheduler='local'",
    )
