"""Which options are sbatch's and which are srun's, compared with what the real commands say."""

from __future__ import annotations

import re

from jobpool.batch.slurm.options import SRUN_ONLY, SRUN_ONLY_SHORT, named
from jobpool.testing import SlurmLab

VALUES = {"mpi": "none", "bcast": "/tmp/x", "relative": "0", "jobid": "1", "het-group": "0", "cpu-bind": "cores"}


def options(lab: SlurmLab, command: str) -> set[str]:
    text = lab.run(command, "--help").stdout
    return set(re.findall(r"^\s+(?:-\w,?\s+)?--([a-z-]+)", text, re.MULTILINE))


def refused(lab: SlurmLab, option: str) -> bool:
    """Ask sbatch; nothing is submitted, since there is no such partition."""
    done = lab.run("sbatch", option, "--partition=none", input="#!/bin/sh\ntrue\n", check=False)
    return "unrecognized option" in done.stderr or "invalid option" in done.stderr


def test_each_option_of_sbatch_is_known(slurm_lab: SlurmLab) -> None:
    found = options(slurm_lab, "sbatch")
    assert "cpus-per-task" in found
    assert [name for name in found if not named(name) or name in SRUN_ONLY] == []


def test_each_option_of_srun_that_sbatch_refuses_is_known_as_such(slurm_lab: SlurmLab) -> None:
    names = options(slurm_lab, "srun") - options(slurm_lab, "sbatch") | {"cpu-bind", "cpu_bind"}
    for name in names:
        value = f"={VALUES[name]}" if name in VALUES else ""
        assert refused(slurm_lab, f"--{name}{value}") == (name in SRUN_ONLY), name
    assert len(names & SRUN_ONLY) > 20


def test_the_short_ones_too(slurm_lab: SlurmLab) -> None:
    assert all(refused(slurm_lab, f"-{letter}") for letter in SRUN_ONLY_SHORT)
