"""100 calls on 20 workers of a real SLURM: how many ran, on how many workers, and with how many submissions.

The function has no arguments, so that a scheduler that takes equal calls for one and the same would run it once. Each
run of it adds a line to a file, and waits until as many workers as were asked for have done so: the count of workers
does not depend on how fast they start. Submissions are counted where they arrive, in slurmctld's log.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import _common

if TYPE_CHECKING:
    from jobpool.testing import SlurmLab


SUBMITTED = "_slurm_rpc_submit_batch_job: JobId="
"""How slurmctld's log tells one submission, be it a job or an array."""

WAIT = 60.0
"""Seconds that a call waits for the other workers."""

wanted = 0
"""Workers to wait for. A global variable that a function uses travels with it, as it is at the submit."""


def finished() -> str:
    place = f"{os.environ['SLURM_JOB_ID']} {os.getpid()}"
    executions, end = Path.home() / "executions", time.monotonic() + WAIT
    with executions.open("a") as file:
        file.write(f"{place}\n")  # below 4 KiB: whole lines, also from many writers at once
    while len({*executions.read_text().splitlines()}) < wanted and time.monotonic() < end:
        time.sleep(0.1)
    return place


def run(options: argparse.Namespace, workers_per_job: int) -> dict[str, float]:
    from jobpool import JobPoolExecutor

    global wanted
    wanted = options.workers
    executions = Path.home() / "executions"
    executions.unlink(missing_ok=True)
    start = time.perf_counter()
    with JobPoolExecutor(
        max_workers=options.workers,
        workers_per_job=workers_per_job,
        cores=2,
        memory="2 GiB",
        walltime="5h",
        scheduler="slurm",
        partition="long",
    ) as pool:
        futures = [pool.submit(finished) for _ in range(options.calls)]
        places = {future.result() for future in futures}
        answered = time.perf_counter()
    return {
        "seconds": answered - start,
        "executions": len(executions.read_text().splitlines()),
        "workers": len(places),
        "jobs": len({place.partition(" ")[0] for place in places}),
    }


WORKERS_PER_JOB = {"1 worker per job": 1, "2 workers per job": 2}
PARTS = {part: functools.partial(run, workers_per_job=count) for part, count in WORKERS_PER_JOB.items()}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(__doc__, PARTS, argv, repeats=1, calls=100, workers=20)
    print(f"{_common.machine()}\n\n{options.calls} submits of one function, {options.workers} workers")
    with _common.home() as env, _common.lab_environment(env) as here:
        if here is not None:
            _on_slurm(options, *here)
    return _common.finish(options)


def _on_slurm(options: argparse.Namespace, lab: SlurmLab, env: dict[str, str]) -> None:
    log = lab.plan.log / "slurmctld.log"
    submissions: list[int] = []

    def after_one() -> None:
        lab.cancel_jobs()
        submissions.append(log.read_text().count(SUBMITTED) - sum(submissions))

    runs = _common.in_turns(
        list(PARTS), repeats=options.repeats, env=env, between=after_one,
        options=["--calls", options.calls, "--workers", options.workers],
    )  # fmt: skip
    in_order = (runs[part][turn] for turn in range(options.repeats) for part in PARTS)
    for figures, count in zip(in_order, submissions, strict=True):
        figures["sbatch"] = count
    _common.show(runs, {"seconds": ".1f", "executions": ".0f", "workers": ".0f", "jobs": ".0f", "sbatch": ".0f"})
    for name, per_job in WORKERS_PER_JOB.items():
        right = {
            "executions": options.calls,
            "workers": options.workers,
            "jobs": -(-options.workers // per_job),
            "sbatch": 1,
        }
        for figure, expected in right.items():
            off = max(abs(turn[figure] - expected) for turn in runs[name])
            _common.limit(f"{name}: how far from {expected} {figure}", off, at_most=0)


if __name__ == "__main__":
    sys.exit(main())
