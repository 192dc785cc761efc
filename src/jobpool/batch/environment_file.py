"""The variables of jobs on a batch system that hands none on, or so that everybody can read them.

The caller's own and those of ``environment=`` are in one file of the pool's directory, which each job's script reads:
no command line, no script and nothing that the batch system shows of a job holds them. Grid Engine keeps scripts where
everybody can read them (seen on 8.1.9). The file is deleted with the pool's keys (``host.home``), without which a job
that starts later can do nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from jobpool.batch.quoting import exports, shell_word

__all__ = ["FILE", "LONGEST", "handed_on", "reading", "text"]

FILE = "environment.sh"
"""Its name among the files of a submission; ``host.home`` knows it, too."""

LONGEST = 131_071
"""Bytes of a variable with its name that Linux hands to a program. With a longer one no job could start anything."""

_OF_A_SHELL = frozenset(
    {"_", "BASHOPTS", "BASH_VERSINFO", "EUID", "OLDPWD", "PPID", "PWD", "SHELLOPTS", "SHLVL", "UID"}
)
"""What each shell sets for itself. Some of them cannot be set."""

_OF_THE_NODE = frozenset(
    {
        *("HOSTNAME", "TMPDIR", "TMP", "TEMP", "DISPLAY", "XAUTHORITY", "WINDOWID"),
        *("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "HIP_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
        *("ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"),
    }
)
"""What a job has of its own, or what belongs to the host of the caller. The file is read when the batch system has set
them, and would replace them: the job's folder for files, and its GPUs."""


def handed_on(environment: Mapping[str, str], *, but: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the variables that jobs get of these. ``but`` are those that the batch system sets in each job.

    Functions that a bash exports are no variables for another shell, and stay out.
    """
    return {
        name: value
        for name, value in environment.items()
        if name not in _OF_A_SHELL | _OF_THE_NODE | but
        and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
        and len(os.fsencode(f"{name}={value}")) <= LONGEST
    }


def text(caller: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Write the file with variables of the caller, and ``own`` ones of the job, which win.

    Raises ``ConfigError`` for one of those that no program can be given.
    """
    return "\n".join([*exports({**caller, **own}), ""])


def reading(pool: Path) -> str:
    """Return the line of a job's script that reads the file. ``pool`` is the pool's directory."""
    path = shell_word(str(pool / FILE))
    return f"if [ -r {path} ]; then . {path}; fi"
