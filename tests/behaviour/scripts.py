"""Scripts as users write them, run as processes of their own: started, watched, interrupted, killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sites import MARK, PATIENCE, PYTHON, Site, script_environment

from jobpool.testing import wait_until
from jobpool.testing.labs.machine import processes_of

__all__ = ["Script", "run_script", "started"]


def _hear_control_c() -> None:
    """Undo what a shell does to its background jobs, and these tests may run in one: SIGINT is ignored there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Script:
    """A running script, and all processes that come of it."""

    def __init__(self, site: Site, directory: Path, code: str, *, name: str = "script.py") -> None:
        self.site, self.directory = site, directory
        self.pool = f"s{uuid.uuid4().hex[:12]}"
        self.mark = f"{MARK}={self.pool}"
        (directory / name).write_text(textwrap.dedent(code))
        self.stderr_path = directory / "stderr"
        with (directory / "stdout").open("w") as out, self.stderr_path.open("w") as err:
            self.process = subprocess.Popen(
                [PYTHON, name],
                cwd=directory,
                env={**script_environment(site, directory, self.mark), "JOBPOOL_NAME": self.pool},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_hear_control_c,
            )

    @property
    def stdout(self) -> str:
        return (self.directory / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text()

    def wait_for(self, word: str) -> None:
        """Wait until it has printed this word."""

        def there() -> bool:
            assert self.process.poll() is None or word in self.stdout, f"it ended: {self.stdout}\n{self.stderr}"
            return word in self.stdout

        assert wait_until(there, PATIENCE), f"{word!r} is not in: {self.stdout}\n{self.stderr}"

    def interrupt(self) -> None:
        """Press Ctrl-C: every process of the terminal's group gets it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def server(self) -> psutil.Process:
        """Return the pool's server."""
        (server,) = [process for process, words in self.command_lines() if "jobpool.server" in words]
        return server

    def processes(self) -> list[psutil.Process]:
        """Return all living processes that come of it."""
        return processes_of([self.mark])

    def command_lines(self) -> list[tuple[psutil.Process, list[str]]]:
        """Return them with their command lines; without those that end just now."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append((process, process.cmdline()))
        return found

    def left(self) -> list[str]:
        """Return what is left of its pool: processes, and jobs in the queue."""
        told = [f"{process.pid} {' '.join(words)}" for process, words in self.command_lines()]
        return told + [f"job {job}" for job in self.site.jobs_in_queue(self.pool)]

    def nothing_left(self, seconds: float = PATIENCE) -> None:
        """Wait until nothing of its pool is left; fail when there is."""
        assert wait_until(lambda: not self.left(), seconds), (self.left(), self.stderr)

    def end(self) -> None:
        """Kill all, whatever came of the test."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()


@contextmanager
def started(site: Site, directory: Path, code: str, *, name: str = "script.py") -> Iterator[Script]:
    """Start a script; its processes are killed at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    script = Script(site, directory, code, name=name)
    try:
        yield script
    finally:
        script.end()


def run_script(site: Site, directory: Path, code: str, *, name: str = "script.py") -> Script:
    """Run a script to its end and return it."""
    with started(site, directory, code, name=name) as script:
        script.process.wait(2 * PATIENCE)
        return script
