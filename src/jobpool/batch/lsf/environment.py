"""What LSF's commands see of a user's environment: the way to the cluster, and nothing that changes what they do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobpool.model.command import Command, Unset

__all__ = ["ONE_TRY", "UNSET", "command", "for_jobs"]

_OWN = ("LSB_", "LSF_", "LS_", "BSUB_", "LSFUSER")
"""Variables of LSF: inside a job they describe *that* one (LSB_JOBINDEX, LSB_MCPU_HOSTS), or they would change what
our commands do (LSB_BSUB_ERR_RETRY submits twice), or print (LSB_BJOBS_FORMAT; with BSUB_QUIET no id is told)."""

_ACCESS = frozenset({"LSF_ENVDIR", "LSF_CONFDIR", "LSF_SERVERDIR", "LSF_BINDIR", "LSF_LIBDIR", "LSF_VERSION"})
"""How LSF is reached at all: its profile sets them."""

_SITE_DEFAULTS = {
    "LSB_DEFAULTQUEUE": "-q",
    "LSB_DEFAULTPROJECT": "-P",
    "LSB_DEFAULT_USERGROUP": "-G",
    "LSB_DEFAULT_JOBGROUP": "-g",
}
"""Defaults that sites tell people to set. They stay where no directive says otherwise."""

_DEVICES = frozenset({"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"})
"""Inside a job: its GPUs, which are not those of the new job."""

ONE_TRY = ("LSB_NTRIES", "1")
"""LSF's commands repeat what does not succeed, by default without end: while a daemon does not answer, and bsub while
the user has as many pending jobs as she may. With this one try is made, and the server asks again in its own time."""

UNSET = Unset(_OWN, _ACCESS)


def command(*argv: str, timeout: float = 60.0) -> Command:
    """Make a command that runs without the variables that would change what it does or prints, and tries once."""
    return Command(argv, timeout=timeout, unset=UNSET, variables=(ONE_TRY,))


def for_jobs(environment: Mapping[str, str], stated: Iterable[str]) -> dict[str, str]:
    """Return the environment for bsub, which hands it on to the job.

    PATH, LD_LIBRARY_PATH, a venv and loaded modules stay. ``stated`` are the options of the script's directives.
    """
    options = frozenset(stated)
    defaults = {
        name: environment[name]
        for name, option in _SITE_DEFAULTS.items()
        if name in environment and option not in options
    }
    inside = _DEVICES if "LSB_JOBID" in environment else frozenset()
    kept = {name: value for name, value in UNSET.cleaned(environment).items() if name not in inside}
    return {**kept, **defaults, **dict((ONE_TRY,))}
