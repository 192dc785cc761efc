"""Submit, poll and cancel jobs on this machine. Run by the commands of ``batch.local``::

    python -m jobpool.local_jobs.commands submit DIRECTORY NAME COUNT < script
    python -m jobpool.local_jobs.commands poll   DIRECTORY NAME ...
    python -m jobpool.local_jobs.commands cancel DIRECTORY NAME|ID ...

Each prints one line of JSON. Exit codes: 0 done, 1 refused (``{"refused": why}``), 2 usage.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobpool.local_jobs import processes
from jobpool.local_jobs.records import LocalSubmission, load, save
from jobpool.local_jobs.supervisor import Plan, Supervisor

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Carry out one command."""
    os.umask(0o077)
    match argv:
        case ["submit", directory, name, count] if count.isdecimal():
            return _submit(Path(directory), name, int(count), sys.stdin.read())
        case ["poll", directory, *names]:
            _print({"jobs": [job for name in names for job in _poll(Path(directory) / name)]})
        case ["cancel", directory, *targets]:
            _cancel(Path(directory), targets)
            _print({})
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


# Submit


def _submit(root: Path, name: str, count: int, script: str) -> int:
    directory = root / name
    try:
        plan = _plan(directory, name, count, script)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700)
        (directory / "script").write_text(script)
    except FileExistsError:
        return _refuse(f"a submission named {name} exists already")
    except (OSError, ValueError) as error:
        return _refuse(str(error))
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _supervise(plan, writer)
        return 0
    os.close(writer)
    with os.fdopen(reader) as pipe:
        started = pipe.read()
    if not started:
        # Neither a yes nor a no: some jobs may run.
        print(f"the supervisor died; see {directory}/supervisor.log", file=sys.stderr)
        return 3
    _print({"jobs": [f"{name}.{index}" for index in range(count)]})
    return 0


def _supervise(plan: Plan, started: int) -> None:
    """Run the jobs in a process that nobody waits for, with its own session and no output of the command's."""
    os.setsid()
    log = os.open(plan.directory / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, descriptor)
    os.chdir("/")
    Supervisor(plan, os.environ).run(lambda: _say(started))


def _say(started: int) -> None:
    os.write(started, b"started")
    os.close(started)


def _plan(directory: Path, name: str, count: int, script: str) -> Plan:
    """Read the directives, which end with the first line that is no comment."""
    options: dict[str, str] = {}
    for line in script.splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("#JOBPOOL "):
            for word in shlex.split(line.removeprefix("#JOBPOOL ")):
                key, _, options[key] = word.partition("=")
    walltime = options.get("--walltime")
    return Plan(
        name,
        count,
        directory.absolute(),
        Path(options.get("--log-directory", directory)).absolute(),
        Path(options.get("--working-directory", "/")),
        None if walltime is None else float(walltime),
        float(options.get("--notice", 0)),
    )


# Poll and cancel


def _poll(directory: Path) -> list[dict[str, Any]]:
    record = _current(directory)
    if record is None:
        return []
    return [
        {"id": f"{record.name}.{job.index}", "name": record.name, "node": os.uname().nodename, **job.as_data()}
        for job in record.jobs
    ]


def _current(directory: Path) -> LocalSubmission | None:
    """Return what is known of a submission, after cleaning up behind a supervisor that was killed."""
    record = load(directory)
    if record is None or record.over or processes.alive(record.pid, record.start):
        return record
    # Between the two looks it may have ended well.
    record = load(directory)
    if record is not None and not record.over:
        _bury(directory, record)
    return record


def _bury(directory: Path, record: LocalSubmission) -> None:
    """Kill what the jobs of a dead supervisor left; when nothing is left, note that they are lost.

    The kernel killed their main processes with it. What those had started is recognised by its environment.
    """
    left = [pid for pid in processes.table() if processes.marked(pid, f"{record.name}.")]
    for pid in left:
        processes.kill(pid, signal.SIGKILL)
    for job in record.jobs:
        if job.state != "ended":
            job.state = "completing" if left else "ended"
            job.kind, job.words = "lost", "its supervisor process was killed"
    if not left:
        save(directory, record)


def _cancel(root: Path, targets: Iterable[str]) -> None:
    orders: dict[str, set[str]] = {}
    for target in targets:
        name, _, index = target.partition(".")
        orders.setdefault(name, set()).add(index or "all")
    for name, indices in orders.items():
        record = _current(root / name)
        if record is not None and not record.over:
            for index in indices:
                (root / name / f"cancel-{index}").touch(mode=0o600)
            if processes.alive(record.pid, record.start):
                processes.kill(record.pid, signal.SIGUSR1)


def _refuse(why: str) -> int:
    _print({"refused": why})
    return 1


def _print(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
