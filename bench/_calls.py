"""What the calls of the benches do. A module of its own, so that every peer can send the functions by name."""

from __future__ import annotations

import os
import socket
import time
import uuid
from pathlib import Path

__all__ = ["burn", "echo", "hold", "nothing", "place", "toil"]


def nothing(item: int) -> int:
    return item


def burn(seconds: float) -> float:
    """Use this much CPU: on a busy machine a call takes longer, but is the same work."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return seconds


def echo(payload: bytes) -> bytes:
    return payload


def place(_: int) -> tuple[str, int]:
    """Say which worker this is, slowly enough that others get a call, too."""
    time.sleep(0.02)
    return socket.gethostname(), os.getpid()


def hold(gate: str) -> None:
    """Keep the worker until there is a file of this name."""
    while not Path(gate).exists():
        time.sleep(0.02)


def toil(directory: str, number: int, seconds: float) -> int:
    """Take so long, and leave a file that tells since when, how far it came, and at last that it came to its end.

    The file's time is touched on the way, so that it is known of a call that was killed, too, how long it ran.
    """
    path = Path(directory, f"{number}-{uuid.uuid4().hex}")
    begin = time.time()
    path.write_text(f"{begin}")
    while (left := begin + seconds - time.time()) > 0:
        time.sleep(min(left, 0.1))
        path.touch()
    path.write_text(f"{begin} done")
    return number
