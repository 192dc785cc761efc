"""How far a map is: a bar where it can move, a line now and then where it cannot."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO, TypeVar

from jobpool.model.units import Duration

__all__ = ["Lines", "with_progress"]

T = TypeVar("T")

FIRST, EVERY = 10.0, 60.0
"""Seconds before the first line in a file, and between two: a log of a night has some hundreds of them."""


def with_progress(results: Iterator[T], total: int | None) -> Iterator[T]:
    """Yield the results and tell how many came."""
    stream = sys.stderr
    if "ipykernel" in sys.modules or _is_terminal(stream):
        from tqdm.auto import tqdm

        with tqdm(total=total, unit=" call") as bar:
            yield from map(_telling(bar.update), results)
        return
    lines = Lines(stream, total)
    try:
        yield from map(_telling(lines.update), results)
    finally:
        lines.close()


def _telling(update: Callable[[], object]) -> Callable[[T], T]:
    # A map, and not a loop with a variable, nor tqdm's own iterator: these hold each result until the next one.
    def tell(result: T) -> T:
        update()
        return result

    return tell


def _is_terminal(stream: TextIO | None) -> bool:
    with contextlib.suppress(ValueError):  # it is closed
        return stream is not None and stream.isatty()
    return False


class Lines:
    """Writes whole lines: in a file, what a bar draws over and over is a mess."""

    def __init__(
        self, stream: TextIO | None, total: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._total, self._clock = stream, total, clock
        self._count, self._told = 0, 0
        self._began = clock()
        self._next = self._began + FIRST

    def update(self) -> None:
        """Count one more."""
        self._count += 1
        if (now := self._clock()) >= self._next:
            self._next = now + EVERY
            self._say(now)

    def close(self) -> None:
        """Tell the last count, if any was told before."""
        if self._told and self._told != self._count:
            self._say(self._clock())

    def _say(self, now: float) -> None:
        self._told, passed = self._count, now - self._began
        text = f"jobpool: {self._count} calls"
        if self._total:
            text = f"jobpool: {self._count} of {self._total} calls ({100 * self._count // self._total} %)"
            left = passed / self._count * (self._total - self._count)
            text += f", about {Duration(round(left))} left" if left >= 1 else ""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more: no reason to end a map
                self._stream.write(f"{text} after {Duration(round(passed))}\n")
                self._stream.flush()
