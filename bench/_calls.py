"""What the calls of the benches do. A module of its own, so that every peer can send the functions by name."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

__all__ = ["burn", "echo", "hold", "nothing", "place"]


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
