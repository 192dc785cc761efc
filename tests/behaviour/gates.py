"""Ways to hold calls, and to wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from jobpool.testing import wait_until


class Gate:
    """A barrier in the file system: calls pass it when it is opened, and leave a trace when they come to it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory

    def hold(self, name: object = "call") -> Callable[..., Any]:
        """Return a function that waits at the gate and returns its argument."""
        path = str(self.path)

        def wait(value: object = None) -> object:
            import os
            import time
            from pathlib import Path

            Path(path, f"arrived-{name}-{os.getpid()}-{time.monotonic_ns()}").touch()
            while not Path(path, "open").exists():
                time.sleep(0.01)
            return value

        return wait

    def arrived(self, name: object = "call") -> int:
        """Return how many calls have come to it, those that ran again too."""
        return len(list(self.path.glob(f"arrived-{name}-*")))

    def wait_for(self, count: int, name: object = "call", seconds: float = 60.0) -> None:
        """Wait until so many calls have come to it."""
        assert wait_until(lambda: self.arrived(name) >= count, seconds), f"{self.arrived(name)} of {count} calls came"

    def open(self) -> None:
        """Let all calls pass."""
        (self.path / "open").touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate of the test's own, open at the end whatever happened."""
    directory = tmp_path / "gate"
    directory.mkdir()
    gate = Gate(directory)
    yield gate
    gate.open()


def running(future: Future[Any], seconds: float = 30.0) -> None:
    """Wait until a call runs."""
    end = time.monotonic() + seconds
    while not future.running():
        assert time.monotonic() < end, future
        time.sleep(0.01)
