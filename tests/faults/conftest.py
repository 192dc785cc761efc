"""Fixtures of the faults: they are of the batch system, so all of this runs on a real SLURM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gates import gate  # noqa: F401 - a fixture
from sites import SlurmSite

from jobpool.testing import SlurmLab


@pytest.fixture
def site(slurm_lab: SlurmLab, home: Path) -> Iterator[SlurmSite]:
    """A real SLURM whose controller answers before and after."""
    site = SlurmSite(slurm_lab)
    with site.entered():
        yield site
    slurm_lab.wait_until_answering()


@pytest.fixture
def site_with_accounting(slurm_lab_accounting: SlurmLab, home: Path) -> Iterator[SlurmSite]:
    """One with accounts and limits."""
    site = SlurmSite(slurm_lab_accounting)
    with site.entered():
        yield site
    slurm_lab_accounting.wait_until_answering()
