"""What OAR's commands see of a user's environment, and what a job gets of it: OAR hands on nothing by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jobpool.model.command import Command, Unset

__all__ = ["UNSET", "command", "for_commands", "handed_on"]

UNSET = Unset(("OAR",))
"""Inside of a job these describe that job (``OAR_JOB_ID``, ``OARDO_UID``); its commands read none of them."""

_OF_THE_SESSION = re.compile(
    r"(OAR|SSH_|XDG_|DBUS_|LESS|BASH_FUNC_).*"
    r"|_|PWD|OLDPWD|SHLVL|SHELLOPTS|BASHOPTS|BASH_ENV|ENV|USER|LOGNAME|MAIL|HOST|HOSTNAME|DISPLAY|XAUTHORITY|WINDOWID"
    r"|UID|EUID|PPID|TERM|TERMCAP|LS_COLORS"
)
"""Variables of the shell, the terminal or the login that a job has no use for, or has of its own."""

_DEVICES = frozenset({"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"})
"""Inside of a job: its GPUs, which are not those of the new job."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def command(*argv: str, timeout: float = 60.0) -> Command:
    """Make a command that runs without the variables of a job around it."""
    return Command(argv, timeout=timeout, unset=UNSET)


def for_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a command."""
    return UNSET.cleaned(environment)


def handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a job script sets, so that a job finds what its user has set: PATH, a venv, modules."""
    inside = _DEVICES if "OAR_JOB_ID" in environment else frozenset()
    return {
        name: value
        for name, value in environment.items()
        if _VARIABLE.fullmatch(name) and not _OF_THE_SESSION.fullmatch(name) and name not in inside
    }
