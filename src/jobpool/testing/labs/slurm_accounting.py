"""Accounting for a lab: a private mariadbd behind a unix socket, slurmdbd, accounts and QoS with limits."""

from __future__ import annotations

import os
import subprocess

from jobpool.testing.labs.daemon import LabFailed, last_lines
from jobpool.testing.labs.machine import find_program
from jobpool.testing.labs.slurm_config import LabPlan

__all__ = ["ACCOUNTS", "QOS", "account_commands", "create_database", "mariadbd_argv"]

ACCOUNTS = ("lab", "second")
"""Accounts that the lab's owner may use; the first is the default one, but for root, who has ``root``."""

QOS = {
    "maxjobs": ("MaxJobsPerUser=2",),
    "maxsubmit": ("MaxSubmitJobsPerUser=3",),
    # The flag makes SLURM refuse at once; without it the job would wait for ever.
    "maxwall": ("MaxWall=00:30:00", "Flags=DenyOnLimit"),
    "grpcpus": ("GrpTRES=cpu=8",),
}
"""QoS and their limits, beside ``normal``, which has none."""


def create_database(plan: LabPlan) -> None:
    """Make the files of an empty database. Its one user is root without a password: only the socket leads to it."""
    argv = [find_program("mariadb-install-db"), "--no-defaults", f"--datadir={plan.database}", "--skip-test-db"]
    argv += ["--auth-root-authentication-method=normal", *_as_root()]
    log = plan.log / "mariadb-install-db.log"
    with log.open("w") as output:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise LabFailed("the database could not be made", exit_code=done.returncode, tail=last_lines(log))


def mariadbd_argv(plan: LabPlan) -> tuple[str, ...]:
    """Make the command line of a small database that listens on a unix socket and writes lazily: it lives briefly."""
    return (
        find_program("mariadbd"),
        "--no-defaults",
        f"--datadir={plan.database}",
        f"--socket={plan.database_socket}",
        f"--pid-file={plan.run}/mariadbd.pid",
        "--skip-networking",
        "--innodb-buffer-pool-size=32M",
        "--innodb-flush-log-at-trx-commit=0",
        *_as_root(),
    )


def account_commands(plan: LabPlan) -> str:
    """Write what ``sacctmgr`` reads to make cluster, accounts, QoS and the user's right to them.

    One text and not one command each: a connection to slurmdbd costs 0.1 s.
    """
    qos = [f"add qos {name} set {' '.join(limits)}" for name, limits in QOS.items()]
    accounts = ",".join(ACCOUNTS)
    lines = [
        f"add cluster {plan.cluster}",
        *qos,
        f"modify account root set qos=normal,{','.join(QOS)}",  # the accounts below inherit it
        f"add account {accounts}",
        f"add user {plan.user} account={accounts}",
    ]
    return "\n".join(lines) + "\n"


def _as_root() -> tuple[str, ...]:
    # mariadbd refuses to run as root unless it is told to.
    return ("--user=root",) if os.geteuid() == 0 else ()
