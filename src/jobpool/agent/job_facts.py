"""What the job's script tells the agent of its job: its command line, from the server and the batch system."""

from __future__ import annotations

import argparse
import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["JobFacts", "parse_arguments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """The job of this agent. Times are seconds since the epoch, by the batch system's clock."""

    pool: Path
    submission: str
    index: int
    id: str
    addresses: tuple[str, ...]
    port: int
    node: str
    """As the batch system calls it: what its commands take, and what it says of the job."""
    began: float | None = None
    ends: float | None = None
    """When its walltime ends."""
    cpus: int = 0
    """CPUs of the node that the batch system counts as the job's. 0: it does not say."""
    cluster: str = ""
    step_variables: str = ""
    """A regular expression for variables of the script's own place in the job: they would mislead programs of calls."""
    notice: tuple[signal.Signals, ...] = ()
    """Signals after which the batch system kills the job."""
    suspension: signal.Signals | None = None
    """The signal after which it stops the job."""
    script_age: float = 0.0
    """Seconds that the script had run when it started this process; 0 when it became this process."""


def parse_arguments(argv: Sequence[str] | None = None) -> JobFacts:
    """Read the agent's command line. Options whose value is empty are as if they were not there."""
    parser = argparse.ArgumentParser(prog="python -m jobpool.agent")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--submission", required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--job-id", required=True)
    parser.add_argument("--address", action="append", required=True)
    parser.add_argument("--port", type=int, required=True)
    for option in (
        "--node",
        "--began",
        "--ends",
        "--cpus",
        "--cluster",
        "--step-variables",
        "--notice",
        "--suspension",
    ):
        parser.add_argument(option, default="")
    parser.add_argument("--script-age", type=float, default=0.0)
    found = parser.parse_args(argv)
    return JobFacts(
        pool=found.pool,
        submission=found.submission,
        index=found.index,
        id=found.job_id,
        addresses=tuple(found.address),
        port=found.port,
        node=found.node or os.uname().nodename,
        began=_time(found.began),
        ends=_time(found.ends),
        cpus=int(found.cpus) if found.cpus.isdecimal() else 0,
        cluster=found.cluster,
        step_variables=found.step_variables,
        notice=tuple(signal.Signals[f"SIG{name}"] for name in found.notice.split(",") if name),
        suspension=signal.Signals[f"SIG{found.suspension}"] if found.suspension else None,
        script_age=found.script_age,
    )


def _time(text: str) -> float | None:
    """Read what a batch system's variable holds. What is no number says nothing."""
    return float(text) if re.fullmatch(r"\d{1,12}(\.\d*)?", text) else None
