"""What is tried against a pool, counted: the table of ``docs/what-was-tried.md``.

    .venv/bin/python tests/tried.py

It counts what pytest collects here, and what is done in the rounds of the chaos test on a simulated cluster, which are
played for it. An input that is tried at three places (local workers, a fake cluster, a real SLURM) is one input and
three runs. ``--rounds 0`` leaves the rounds out.
"""

from __future__ import annotations

import argparse
import functools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from jobpool.testing.fake.dialects import DIALECTS, IMITATED

ROOT = Path(__file__).parents[1]

ROUNDS = 10_000
"""As many as the chaos test plays."""

TRIED: dict[str, tuple[str, ...]] = {
    "requests, settings and configuration files that are wrong": (
        "tests/behaviour/test_bad_input.py",
        "tests/config/test_files.py",
        "tests/config/test_jobqueue_yaml.py",
        "tests/config/test_problems.py",
        "tests/config/test_project_file.py",
        "tests/core/test_limits.py",
        "tests/core/test_limits_rights.py",
        "tests/core/test_constraint.py",
        "tests/server/test_real_limits.py",
        "tests/test_units.py",
    ),
    "text that must not reach a shell or a job script as it is": ("tests/batch/test_quoting.py",),
    "functions, arguments and results that do not simply travel": (
        "tests/behaviour/test_pickling_faults.py",
        "tests/behaviour/test_where_functions_live.py",
        "tests/behaviour/test_ordinary_objects.py",
        "tests/behaviour/test_random_numbers.py",
        "tests/behaviour/test_refused_objects.py",
        "tests/behaviour/test_hash_seed.py",
        "tests/test_pickling.py",
        "tests/test_function_cache.py",
    ),
    "what initializers and earlier calls leave, and what changes between two submits": (
        "tests/behaviour/test_what_stays.py",
        "tests/worker/test_initializer_globals.py",
        "tests/worker/test_shared_objects.py",
        "tests/worker/test_replaced_objects.py",
        "tests/worker/test_versions_of_functions.py",
    ),
    "recorded answers of batch systems, odd ones among them": (
        "tests/batch/test_slurm_answers.py",
        "tests/batch/test_slurm_remaining_limits.py",
        "tests/batch/test_slurm_limits.py",
        "tests/batch/test_slurm_log.py",
        "tests/batch/test_slurm_read.py",
        "tests/batch/test_slurm_reasons.py",
        "tests/batch/test_slurm_held.py",
        "tests/batch/test_slurm_options_real.py",
        "tests/batch/test_slurm_nodes_real.py",
    ),
    "jobs that are refused, killed, lost, held, suspended or come too late": (
        "tests/behaviour/test_endings.py",
        "tests/behaviour/test_held_and_suspended.py",
        "tests/behaviour/test_over_walltimes.py",
        "tests/behaviour/test_same_name_again.py",
        "tests/core/test_engine_losses.py",
        "tests/core/test_engine_submits.py",
        "tests/core/test_job_states.py",
        "tests/core/test_held_jobs.py",
        "tests/core/test_suspended_jobs.py",
        "tests/core/test_recovery.py",
        "tests/core/test_walltime.py",
        "tests/faults/test_bad_node.py",
        "tests/faults/test_held_jobs_seen.py",
        "tests/faults/test_preempted_by_suspension.py",
        "tests/faults/test_suspended_jobs_seen.py",
    ),
    "calls that crash, exit, fork, close, change or fill what is around them": (
        "tests/behaviour/test_what_leaves_a_call.py",
        "tests/faults/test_misbehaving_calls.py",
        "tests/pool/test_callbacks.py",
        "tests/pool/test_forks.py",
        "tests/pool/test_odd_processes.py",
        "tests/worker/test_crash.py",
        "tests/worker/test_every_call_ends.py",
        "tests/worker/test_left_behind.py",
    ),
    "memory, processes and descriptors that run out": (
        "tests/core/test_growth.py",
        "tests/faults/test_polled_memory_limit.py",
        "tests/faults/test_connection_flood.py",
        "tests/pool/test_exhausted.py",
        "tests/server/test_listener.py",
        "tests/worker/test_memory.py",
        "tests/worker/test_shortage.py",
    ),
    "processes that die or give up": (
        "tests/behaviour/test_no_orphans.py",
        "tests/pool/test_ends.py",
        "tests/pool/test_interrupted.py",
        "tests/pool/test_server_gives_up.py",
        "tests/server/test_server_process.py",
    ),
    "processes and file systems that stand still or go away, networks that are cut": (
        "tests/behaviour/test_directory_gone.py",
        "tests/faults/test_files_and_network.py",
        "tests/faults/test_frozen_processes.py",
        "tests/faults/test_shared_file_system.py",
        "tests/faults/test_standing_still.py",
        "tests/server/test_silent_agents.py",
        "tests/test_nonblocking_log.py",
        "tests/test_peer_silence.py",
        "tests/worker/test_silent_server.py",
        "tests/worker/test_standstill.py",
    ),
    "a controller or a command of the site that is down, frozen, slow, forgetful or odd": (
        "tests/behaviour/test_wrapped_commands.py",
        "tests/core/test_engine_listings.py",
        "tests/faults/test_control_side.py",
        "tests/faults/test_politeness.py",
        "tests/server/test_shell.py",
    ),
    "clocks that are off": ("tests/faults/test_clocks.py", "tests/test_tls.py"),
    "messages that are broken, too large or not ours": (
        "tests/server/test_large_messages.py",
        "tests/server/test_version_mismatch.py",
        "tests/test_connections.py",
        "tests/test_message_numbers.py",
        "tests/test_plain_data.py",
        "tests/test_size_limit.py",
        "tests/worker/test_frames.py",
    ),
    "other users of the same machine": (
        "tests/behaviour/test_log_places.py",
        "tests/behaviour/test_security.py",
        "tests/lab/test_lab_strangers.py",
        "tests/test_home.py",
    ),
    "commands given wrong words, or a host that lacks something": (
        "tests/ui/test_cli.py",
        "tests/ui/test_no_traceback.py",
        "tests/ui/test_pools.py",
    ),
}
"""What is tried, and the files of its tests. A file stands under one of them."""

FAULTS = {
    "cancel": "calls are cancelled",
    "cut an agent off": "a job's agent is cut off, for a while or for good",
    "end a job": "a job ends: failed, cancelled, preempted, its node lost, out of memory, at its walltime",
    "hold a job": "a job is held, by somebody or by SLURM itself",
    "kill a worker": "a worker is killed: by a signal, by the kernel for memory, by itself",
    "lose a host": "a node vanishes, and is told of at once, late or never",
    "lose a job": "a job vanishes without a word",
    "messages come twice": "messages come twice",
    "refuse for good": "the batch system takes no more jobs",
    "release a job": "a held job is released",
    "requeue a job": "a job is requeued",
    "scale": "the pool is scaled by hand",
    "shut down": "the pool is shut down in the midst of it",
    "stand still": "an agent stands still",
    "suspend a job": "a job is suspended, with and without notice",
    "trouble in an agent": "an agent cannot work",
    "trouble with jobs": "scripts fail, agents never connect, nodes are full",
    "trouble with submits": "submits are refused, doubtful or late",
    "trouble with the queue": "the queue is silent, forgetful, late, an old listing, or loses cancels",
    "unknown state": "a job is in a state that nobody knows",
}
"""What is done in the rounds besides ordinary work, in words."""

_PLACE = rf"(?:local|slurm|fake(?:-(?:{'|'.join([*DIALECTS, *IMITATED])}))?)\b"
_PLACES = re.compile(rf"\b{_PLACE}-?|-{_PLACE}")


def collected(files: Iterable[str]) -> list[str]:
    """Return the ids of the tests in these files."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    listed = subprocess.run(
        [*command, "-o", "addopts="], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    if listed.returncode:
        raise RuntimeError(f"pytest cannot collect the tests: {listed.stdout[-1000:]}{listed.stderr}")
    return [line for line in listed.stdout.splitlines() if "::" in line]


def counts(ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return (inputs, runs) for each kind of ``TRIED``."""
    by_file: dict[str, list[str]] = {}
    for id in ids:
        by_file.setdefault(id.partition("::")[0], []).append(id)
    told = {}
    for kind, files in TRIED.items():
        runs = [id for file in files for id in by_file.get(file, [])]
        told[kind] = len({_without_place(id) for id in runs}), len(runs)
    return told


def _without_place(id: str) -> str:
    name, bracket, parameters = id.partition("[")
    return name + bracket + _PLACES.sub("", parameters)


def faults_of(number: int) -> Counter[str]:
    """Play a round of the chaos test and return what was done in it, by kind."""
    sys.path[:0] = [str(ROOT / "tests" / "chaos")]
    from rounds import Round

    class Counted(Round):
        def _note(self, what: str, *details: object) -> None:
            faults[what] += 1
            super()._note(what, *details)

    faults: Counter[str] = Counter()
    Counted(number).play()
    return faults


def played(count: int) -> Counter[str]:
    """Play this many rounds, on all cores. Raises ``AssertionError`` when one breaks a promise."""
    from jobpool import JobPoolExecutor

    with JobPoolExecutor(scheduler="local") as pool:
        return functools.reduce(lambda total, more: total + more, pool.map(faults_of, range(count)), Counter())


def table(tried: dict[str, tuple[int, int]]) -> str:
    """Write the table of what is tried."""
    rows = [("what is tried", "inputs", "runs"), ("---", "---:", "---:")]
    rows += [(kind, f"{inputs:,}", f"{runs:,}") for kind, (inputs, runs) in tried.items()]
    inputs, runs = (sum(column) for column in zip(*tried.values(), strict=True))
    return _written([*rows, ("together", f"{inputs:,}", f"{runs:,}")])


def table_of_rounds(faults: Counter[str], rounds: int) -> str:
    """Write the table of what is done in the rounds."""
    rows = [(f"in {rounds:,} simulated pools", "times"), ("---", "---:")]
    told = {FAULTS[kind]: times for kind, times in faults.most_common() if kind in FAULTS}
    rows += [(words, f"{times:,}") for words, times in told.items()]
    return _written([*rows, ("together", f"{sum(told.values()):,}")])


def _written(rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Count what is tried against a pool.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of the chaos test to play and count")
    options = parser.parse_args()
    print(table(counts(collected([file for files in TRIED.values() for file in files]))))
    if options.rounds:
        print(f"\n{table_of_rounds(played(options.rounds), options.rounds)}")


if __name__ == "__main__":
    main()
