"""Processes that are not as a terminal's child is: without stdin, with many files, with signals ignored."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import jobpool
from jobpool import JobPoolExecutor, PoolBroken
from jobpool.executor.start_server import try_to_write
from jobpool.host.home import home
from jobpool.host.versions import python_path
from jobpool.model.errors import ConfigError

RunScript = Callable[..., "subprocess.CompletedProcess[str]"]

ONE_CALL = """
from pathlib import Path
from jobpool import JobPoolExecutor

with JobPoolExecutor(1, scheduler="local") as pool:
    Path("result").write_text(str(pool.submit(abs, -1).result()))
"""


@pytest.mark.alone  # on a busy machine the script would be told that it waits for a worker
@pytest.mark.parametrize(
    "before",
    [
        "import os; os.closerange(0, 3)",
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "import signal; signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())",
        "import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000)); "
        "files = [os.open('/dev/null', 0) for _ in range(1500)]",
        "import sys; sys.stderr = sys.stdout = None",
    ],
    ids=["no stdin stdout stderr", "SIGCHLD ignored", "all signals blocked", "1500 open files", "sys.stderr is None"],
)
def test_a_pool_works_in(run_script: RunScript, tmp_path: Path, before: str) -> None:
    done = run_script(f"{before}\n{ONE_CALL}", cwd=tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert (tmp_path / "result").read_text() == "1"


@pytest.mark.alone  # asyncio warns of what takes longer than 0.1 s
def test_nothing_is_warned_of_in_development_mode(run_script: RunScript, tmp_path: Path) -> None:
    environment = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}
    done = run_script(ONE_CALL, cwd=tmp_path, env={**_environment(), **environment})
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def test_server_and_jobs_import_the_jobpool_of_the_client() -> None:
    root = Path(jobpool.__file__).parents[1]
    path = python_path().get("PYTHONPATH", "").split(":")[0]
    assert path == ("" if root.name == "site-packages" else str(root))


def test_what_is_installed_needs_no_variable(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "jobpool").symlink_to(Path(jobpool.__file__).parent)
    code = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('versions', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "module.Path.resolve = lambda self: self\n"
        "print(module.python_path())\n"
    )
    argv: list[Any] = [sys.executable, "-c", code, site / "jobpool" / "host" / "versions.py"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "{}\n"


def test_a_home_that_is_a_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("JOBPOOL_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="must be a directory"):
        jobpool.JobPoolExecutor(1, scheduler="local")
    assert home().is_file()


def test_the_trial_in_a_log_directory_follows_no_link(tmp_path: Path) -> None:
    import os

    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".jobpool-{os.getpid()}").symlink_to(victim)
    try_to_write(tmp_path)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("what", ["subprocess.Popen", "threading.Thread.start"])
def test_a_pool_that_cannot_be_started_leaves_no_descriptor_open(
    home: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A notebook that tries again and again would have none left at last."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "no more processes") if "Popen" in what else RuntimeError("can't start new thread")

    before = psutil.Process().num_fds()
    with monkeypatch.context() as patch:
        patch.setattr(what, refuse)
        with pytest.raises(PoolBroken, match="could not be started"):
            JobPoolExecutor(1, scheduler="local")
    assert psutil.Process().num_fds() == before
