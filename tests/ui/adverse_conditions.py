"""Runs commands of jobpool, each in a fork, under conditions that users and hosts bring about: for its test.

``adverse_conditions.py PLACE POOL`` reads a list of command lines from stdin, and writes one JSON line for each
command line under each condition. It imports everything once: a command costs some milliseconds.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import jobpool
from jobpool.batch.explainer import Surroundings
from jobpool.cli import main as cli
from jobpool.tools.collect_facts import collect

HOME, PROJECT = Path("home"), Path("home/project")
NOBODY = 65534
OF_JOBS = ("agent", "worker", "server.dask", "transport.dask", "faces.joblib", "show.profile_plot")
"""Beginnings of modules of jobpool that no command imports, or that need libraries which may be missing."""


def leave(*_: object) -> None:
    raise SystemExit(0)


def broken_pipe() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - it cannot seek


def full_disk() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def closed_output() -> None:
    os.close(1)
    sys.stdout = None


def narrow_output() -> None:
    sys.stdout.reconfigure(encoding="ascii", errors="strict")  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding="ascii", errors="backslashreplace")  # type: ignore[union-attr]


def no_input() -> None:
    os.close(0)
    sys.stdin = None


def without_libraries() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("matplotlib", "cv2")]:
        del sys.modules[name]
    for name in ("matplotlib", "cv2"):
        sys.modules[name] = None  # type: ignore[assignment]


def set_home(value: str | None) -> Callable[[], None]:
    def change() -> None:
        os.environ.pop("HOME", None)
        if value is not None:
            os.environ["HOME"] = str(Path(value).absolute())

    return change


def set_jobpool_home(value: str) -> Callable[[], None]:
    return lambda: os.environ.update(JOBPOOL_HOME=value)


def home_of_another_user() -> None:
    os.environ["HOME"] = str(HOME.absolute())
    for folder in (HOME / ".jobpool", HOME / ".config"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0)
    become_nobody()


def unreadable_pool() -> None:
    (HOME / ".jobpool/demo").chmod(0)
    (HOME / ".jobpool").chmod(0o755)
    become_nobody()


def become_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def no_place_to_write() -> None:
    os.chdir("/proc/self")


def no_directory() -> None:
    gone = PROJECT.absolute() / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()


def damaged(name: str, content: bytes | None) -> Callable[[], None]:
    """Write a file of the pool, or put a directory in its place."""

    def change() -> None:
        path = HOME / ".jobpool/demo" / name
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        path.mkdir() if content is None else path.write_bytes(content)

    return change


def configured(content: bytes | None) -> Callable[[], None]:
    def change() -> None:
        path = PROJECT / "jobpool.toml"
        path.mkdir() if content is None else path.write_bytes(content)
        os.chdir(PROJECT)

    return change


def no_batch_system() -> None:
    os.environ |= {"PATH": "/nonexistent", "JOBPOOL_SCHEDULER": "slurm"}


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))


def another_batch_system() -> None:
    os.environ["JOBPOOL_SCHEDULER"] = "pbs"


CONDITIONS: dict[str, Callable[[], None]] = {
    "all is well": lambda: None,
    "the reader of stdout is gone": broken_pipe,
    "the disk under stdout is full": full_disk,
    "stdout is closed": closed_output,
    "stdout takes ASCII alone": narrow_output,
    "stdin is closed": no_input,
    "libraries are missing": without_libraries,
    "HOME is not set": set_home(None),
    "HOME does not exist": set_home("nowhere"),
    "HOME is a file": set_home(__file__),
    "HOME may not be read": home_of_another_user,
    "JOBPOOL_HOME is a file": set_jobpool_home(__file__),
    "JOBPOOL_HOME cannot be made": set_jobpool_home("/proc/self/jobpool"),
    "JOBPOOL_HOME has a null byte's neighbour": set_jobpool_home("\udc80/\n"),
    "the pool may not be read": unreadable_pool,
    "the current directory cannot be written": no_place_to_write,
    "the current directory is gone": no_directory,
    "the config file is no TOML": configured(b"= 3"),
    "the config file is no text": configured(b"\xff\xfe"),
    "the config file is a directory": configured(None),
    "the record is no JSON": damaged("record.json", b"{"),
    "the record is another thing": damaged("record.json", b"[1]"),
    "the record is no text": damaged("record.json", b"\xff"),
    "the record is a directory": damaged("record.json", None),
    "the server's log is a directory": damaged("server.log", None),
    "the address is no text": damaged("connection.json", b"\xff"),
    "the address has no pid": damaged("connection.json", b'{"host": "here", "port": 1}'),
    "the address is a directory": damaged("connection.json", None),
    "the list of submissions is no text": damaged("submissions", b"\xff\n"),
    "the list of submissions is a directory": damaged("submissions", None),
    "there is no batch system": no_batch_system,
    "another batch system is wanted": another_batch_system,
    "the terminal's size is odd": lambda: os.environ.update(COLUMNS="x", LINES="-1", TERM="none"),
    "there is no place for temporary files": lambda: os.environ.update(TMPDIR="/nonexistent"),
    "no file can be opened": few_files,
}


def in_a_fork(arguments: list[str], condition: Callable[[], None], pool: Path) -> dict[str, object]:
    """Run one command; return its exit code, and what it said on stderr."""
    shutil.rmtree("home", ignore_errors=True)
    (HOME / ".jobpool").mkdir(parents=True, mode=0o700)
    PROJECT.mkdir()
    shutil.copytree(pool, HOME / ".jobpool/demo")
    if not (pid := os.fork()):
        code = 99
        try:
            signal.alarm(60)
            for descriptor, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            os.execv = leave  # type: ignore[assignment] # the demo becomes another program
            condition()
            code = cli.main(arguments)
            sys.stdout.flush()  # as Python does when it ends, with words of its own where that fails
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 - what would end the process with a traceback
            os.write(2, traceback.format_exc().encode(errors="replace"))
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for folder in (HOME / ".jobpool", HOME / ".jobpool/demo", HOME / ".config"):
        with contextlib.suppress(FileNotFoundError):
            folder.chmod(0o700)
    return {"code": code, "err": Path("err").read_text(errors="replace")}


def main() -> None:
    place, pool = map(Path, sys.argv[1:])
    os.chdir(place)
    os.environ["HOME"] = str(HOME.absolute())
    # All that commands import late: it need not be imported in each fork, where nobody may be unable to.
    modules = [module.name for module in pkgutil.walk_packages(jobpool.__path__, "jobpool.")]
    for name in ["gettext", "yaml", *modules]:
        if not (name.endswith("__main__") or name.removeprefix("jobpool.").startswith(OF_JOBS)):
            importlib.import_module(name)
    collect(str(HOME), str(PROJECT), {}, Surroundings())  # with all that it imports late
    gc.freeze()  # forks share what they do not change
    output = os.dup(1)
    for arguments in json.load(sys.stdin):
        for name, condition in CONDITIONS.items():
            result = in_a_fork(arguments, condition, pool)
            os.write(output, json.dumps({"command": arguments, "condition": name, **result}).encode() + b"\n")


if __name__ == "__main__":
    main()
