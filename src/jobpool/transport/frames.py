"""Frames: how one message, and large bytes beside it, lie in a stream of bytes that may be cut anywhere.

A frame is its length (8 bytes, little endian) and the count of large contents (4 bytes); for each of these its place
in the message (4 bytes) and its length (8 bytes); the message, packed; and the contents, one after the other. What the
bytes of a message mean is said in ``messages``.

Large bytes are not copied when packed: :func:`frame` returns the very objects, ready for ``sendmsg`` or ``writelines``.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["FRAME_LIMIT", "Unpacker", "WireError", "frame"]

M = TypeVar("M")

FRAME_LIMIT = 4 * 2**30
"""Bytes of one frame at most. Above what a call should return, below what a garbled length would make us wait for."""

BUFFER = 64 * 1024
"""Bytes that are read at once, and held for each connection: the server of a thousand jobs has a thousand of them."""

AT_ONCE = 2**20
"""Bytes of a buffer that are taken when a frame is announced. What is larger takes memory as its bytes come."""

_LENGTH = struct.Struct("<Q")
_HEAD = struct.Struct("<QI")
_BESIDE = struct.Struct("<IQ")


class WireError(Exception):
    """A message that cannot be sent, or bytes that are no message. A connection cannot be used after this."""


def frame(message: bytes, beside: Sequence[tuple[int, bytes]] = (), *, limit: int = FRAME_LIMIT) -> list[bytes]:
    """Turn a packed message, and contents with their places in it, into the pieces of one frame, in order.

    Raises ``WireError`` when that is larger than ``limit`` bytes.
    """
    size = _HEAD.size - _LENGTH.size + len(message)
    if not beside and size < BUFFER:
        return [_HEAD.pack(size, 0) + message]
    size += sum(_BESIDE.size + len(content) for _, content in beside)
    if size > limit:
        raise WireError(f"the message has {size} bytes, more than the {limit} that may travel at once")
    table = b"".join(_BESIDE.pack(place, len(content)) for place, content in beside)
    return [_HEAD.pack(size, len(beside)) + table, message, *(content for _, content in beside)]


class Spare:
    """Buffers of large frames that are over, for the next ones of any connection: a fresh one is cleared first."""

    def __init__(self) -> None:
        self.limit = 0
        """Bytes that are held at most; 0 in processes whose memory is the user's."""
        self._buffers: list[bytearray | mmap.mmap] = []

    def take(self, size: int) -> bytearray | mmap.mmap:
        """Return a buffer of at least so many bytes, and not of many times as many."""
        for place, buffer in enumerate(self._buffers):
            if size <= len(buffer) <= 4 * size:
                return self._buffers.pop(place)
        if size <= AT_ONCE:
            return bytearray(size)
        # The other side may announce much and send nothing: the kernel gives pages of this when they are written to.
        try:
            return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise WireError(f"there is no memory for a message of {size} bytes: {error.strerror}") from None

    def give(self, buffer: bytearray | mmap.mmap) -> None:
        """Take back a buffer, where there is room for it."""
        if len(buffer) > BUFFER and sum(map(len, self._buffers)) + len(buffer) <= self.limit:
            self._buffers.append(buffer)


SPARE = Spare()
"""This process's."""


class Unpacker(Generic[M]):
    """Puts frames together again from chunks, cut anywhere, in a buffer that is read into without a copy between."""

    def __init__(
        self,
        decode: Callable[[memoryview, list[tuple[int, memoryview]]], M],
        *,
        limit: int = FRAME_LIMIT,
        kept: int = BUFFER,
    ) -> None:
        """Make one for the messages that ``decode`` makes of what stands in a frame.

        ``kept``: bytes of the buffer at most that are held for this connection's next frame; see also ``SPARE``.
        """
        self._decode, self._limit, self._kept = decode, limit, kept
        self._buffer: bytearray | mmap.mmap = bytearray(BUFFER)
        self._have = 0
        self._need = _LENGTH.size  # bytes of the buffer before there is anything to do
        self.error: WireError | None = None
        """Why the bytes after the last message are none, if so: nothing more can be read from this connection."""

    def room(self) -> memoryview:
        """Return where the next bytes go. Never empty."""
        # Up to the end of a large frame, so that nothing comes behind it, which would have to be copied.
        return memoryview(self._buffer)[self._have : self._need if self._need > BUFFER else None]

    def filled(self, count: int) -> list[M]:
        """Take so many bytes that were written to :meth:`room`, and return the messages that they complete.

        A frame above the limit, and one for which ``decode`` raises ``WireError``, is the end: see :attr:`error`.
        """
        self._have += count
        if self._have < self._need or self.error is not None:
            return []
        messages: list[M] = []
        try:
            self._take(messages)
        except WireError as error:
            self.error = error
        return messages

    def _take(self, messages: list[M]) -> None:
        start = 0
        while (left := self._have - start) >= (need := self._frame_size(start)):
            messages.append(self._open(memoryview(self._buffer)[start : start + need]))
            start += need
        if start or need > len(self._buffer):
            rest = memoryview(self._buffer)[start : self._have]
            if need > len(self._buffer) or len(self._buffer) > max(need, self._kept):
                before, self._buffer = self._buffer, SPARE.take(max(need, BUFFER))
                self._buffer[:left] = rest
                rest.release()
                SPARE.give(before)
            else:
                self._buffer[:left] = bytes(rest)
        self._have, self._need = left, need

    def feed(self, data: bytes) -> list[M]:
        """Take the next chunk and return the messages that it completes. Raises ``WireError`` for what is none."""
        messages: list[M] = []
        rest = memoryview(data)
        while rest:
            room = self.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            rest = rest[count:]
            messages += self.filled(count)
            if self.error is not None:
                raise self.error
        return messages

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet. Not 0 at the end of a connection: something was lost."""
        return self._have

    def _open(self, content: memoryview) -> M:
        """Return the message of one frame."""
        end = len(content)
        if end < _HEAD.size:
            raise WireError("what came in is not a message: its frame is too short")
        count: int = _HEAD.unpack_from(content)[1]
        if not count:
            return self._decode(content[_HEAD.size :], [])
        start = _HEAD.size + count * _BESIDE.size
        if start > end:
            raise WireError("what came in is not a message: its frame is too short for what it announces")
        table = [_BESIDE.unpack_from(content, _HEAD.size + number * _BESIDE.size) for number in range(count)]
        place = end - sum(size for _, size in table)
        if place < start:
            raise WireError("what came in is not a message: its contents are larger than its frame")
        message, beside = content[start:place], []
        for where, size in table:
            beside.append((where, content[place : place + size]))
            place += size
        return self._decode(message, beside)

    def _frame_size(self, start: int) -> int:
        """Return the bytes of the frame at ``start`` with its length, or of the length alone while that is cut."""
        if self._have - start < _LENGTH.size:
            return _LENGTH.size
        size: int = _LENGTH.unpack_from(self._buffer, start)[0]
        if size > self._limit:
            raise WireError(
                f"a frame of {size} bytes is announced, more than the {self._limit} that may travel at once"
            )
        return _LENGTH.size + size
