"""What CPython's tests take from ``multiprocessing``, for processes on several nodes: files in a shared directory."""

from __future__ import annotations

import pickle
import queue
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

POLL = 0.01
"""Seconds between two looks at a directory."""


class _Shared:
    """A directory; copies in other processes share it."""

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="shared-", dir=Path.home())  # which nodes share, and the test removes

    def _put(self, data: bytes = b"") -> None:
        # Renamed into its place, so that nobody finds half of it.
        name = f"{time.time_ns():020}-{uuid.uuid4().hex}"
        hidden = Path(self._directory, f".{name}")
        hidden.write_bytes(data)
        hidden.rename(Path(self._directory, name))

    def _take(self) -> bytes | None:
        for path in self._items():
            mine = path.with_name(f".{path.name}-taken-{uuid.uuid4().hex}")
            try:
                path.rename(mine)
            except FileNotFoundError:  # another process was faster
                continue
            return mine.read_bytes()
        return None

    def _items(self) -> list[Path]:
        return sorted(path for path in Path(self._directory).iterdir() if not path.name.startswith("."))


class Queue(_Shared):
    """As ``multiprocessing.Queue``."""

    def put(self, item: object) -> None:
        self._put(pickle.dumps(item))

    put_nowait = put

    def get(self, timeout: float | None = None) -> Any:
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            try:
                return self.get_nowait()
            except queue.Empty:
                if time.monotonic() > end:
                    raise
            time.sleep(POLL)

    def get_nowait(self) -> Any:
        data = self._take()
        if data is None:
            raise queue.Empty
        return pickle.loads(data)


class Semaphore(_Shared):
    """As ``multiprocessing.Semaphore``."""

    def __init__(self, value: int = 1) -> None:
        super().__init__()
        for _ in range(value):
            self.release()

    def acquire(self) -> bool:
        while self._take() is None:
            time.sleep(POLL)
        return True

    def release(self) -> None:
        self._put()


class Event(_Shared):
    """As ``multiprocessing.Event``."""

    def set(self) -> None:
        self._put()

    def is_set(self) -> bool:
        return bool(self._items())

    def wait(self, timeout: float | None = None) -> bool:
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while not self.is_set() and time.monotonic() < end:
            time.sleep(POLL)
        return self.is_set()


class Context:
    """As a context of ``multiprocessing``, and as its manager."""

    Queue, Semaphore, Event = Queue, Semaphore, Event
    Process = None  # for a test that sees that none is made of it

    def get_start_method(self, allow_none: bool = False) -> str:
        """Workers are fresh processes."""
        return "spawn"

    def Manager(self) -> Context:
        return self

    def shutdown(self) -> None:
        pass

    def join(self) -> None:
        pass
