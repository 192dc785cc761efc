"""The process that ends a lab whose owner was killed. Started by the lab itself.

A handler in the owner would not run after ``kill -9``, and a death signal (``PR_SET_PDEATHSIG``) would not reach the
jobs, which are no children of the owner, nor remove cgroups and files.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from jobpool.testing.labs.registry import attached

__all__ = ["main"]

INTERVAL = 0.5
"""Seconds between two looks for the owner."""


def main(directory: Path, owner: int) -> None:
    """Wait for the end of the owner, our parent, then bring its lab down."""
    # An orphan gets another parent. A look for the pid itself would be deceived by a successor with the same pid.
    while os.getppid() == owner:
        time.sleep(INTERVAL)
    attached(directory).down()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
