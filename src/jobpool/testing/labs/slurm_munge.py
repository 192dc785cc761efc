"""Who may use a lab: its owner (and root), by a munged of the lab's own.

A client of SLURM shows a credential, which the munged behind a unix socket makes and which names the user who asked
for it; the receiver has it checked by the munged that holds the same key. Here key and socket are in directories that
only the owner can enter. SLURM's ports show nothing and take nothing without such a credential: neither a command nor
what a step's processes are sent.

Not ``auth/none``, which needs no munged: it believes what a client says about who it is. Nor the munged of the
machine: its other users have credentials of that one, and it may not run.
"""

from __future__ import annotations

import secrets
import socket

from jobpool.testing.labs.machine import find_program
from jobpool.testing.labs.slurm_config import LabPlan

__all__ = ["munge_answers", "munged_argv", "new_key"]

KEY_BYTES = 64
"""Random bytes of a key; munged wants 32 at least."""


def new_key() -> str:
    """Make a key; the file that holds it must be 0600."""
    return secrets.token_hex(KEY_BYTES)


def munged_argv(plan: LabPlan) -> tuple[str, ...]:
    """Make the command line of the munged behind the lab's socket."""
    return (
        find_program("munged"),
        "--foreground",
        "--force",  # munged is made for all users of a machine, and refuses a directory that others cannot enter
        f"--key-file={plan.munge_key}",
        f"--socket={plan.munge_socket}",
        f"--pid-file={plan.run}/munged.pid",
        f"--seed-file={plan.run}/munged.seed",
        "--origin=127.0.0.1",  # else it looks up the machine's name, which may take long
        "--group-update-time=-1",  # no list of all groups and members: SLURM restricts no credential to a group
    )


def munge_answers(plan: LabPlan) -> bool:
    """Say whether a munged listens at the lab's socket."""
    with socket.socket(socket.AF_UNIX) as trial:
        return trial.connect_ex(str(plan.munge_socket)) == 0
