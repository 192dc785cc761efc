"""Messages between processes: plain data only, in frames that any chunking leaves whole.

A frame is a length (8 bytes, little endian) and one pickle of protocol 5. Nothing but None, bool, int, float, str,
bytes, bytearray, tuple, list, dict, set and frozenset crosses: the packer refuses any other type, and the unpickler
knows no globals, so that bytes from the other side can never name code to run. Functions, arguments and results cross
as bytes inside a message; only their owner opens them.

Large bytes are not copied when packed: CPython's pickler, given a file, hands bytes of 64 KiB and more to ``write`` as
they are (``_Pickler_write_bytes`` in Modules/_pickle.c), so :func:`pack` returns the very objects of the message
between small pieces, ready for ``sendmsg`` or ``writelines``. No out-of-band buffers are needed for that.
"""

from __future__ import annotations

import io
import mmap
import pickle
import struct
from typing import Any, NoReturn

__all__ = ["FRAME_LIMIT", "Unpacker", "WireError", "pack"]

FRAME_LIMIT = 4 * 2**30
"""Bytes of one frame at most. Above what a call should return, below what a garbled length would make us wait for."""

BUFFER = 64 * 1024
"""Bytes that are read at once, and held for each connection: the server of a thousand jobs has a thousand of them."""

AT_ONCE = 2**20
"""Bytes of a buffer that are taken when a frame is announced. What is larger takes memory as its bytes come."""

_LENGTH = struct.Struct("<Q")


class WireError(Exception):
    """The message is not plain data, or what came in is not a message. A connection cannot be used after this."""


def pack(message: object, *, limit: int = FRAME_LIMIT) -> list[bytes]:
    """Turn one message into the pieces of one frame, to be written in this order.

    Raises ``WireError`` when the message holds anything but plain data, or is larger than ``limit`` bytes.
    """
    pieces = _Pieces()
    try:
        _PlainPickler(pieces, 5).dump(message)
    except RecursionError:
        raise WireError("the message is nested too deeply") from None
    size = sum(map(len, pieces))
    if size > limit:
        raise WireError(f"the message has {size} bytes, more than the {limit} that may travel at once")
    pieces[0] = _LENGTH.pack(size) + pieces[0]
    return pieces


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


class Unpacker:
    """Puts frames together again from chunks, cut anywhere, in a buffer that is read into without a copy between."""

    def __init__(self, *, limit: int = FRAME_LIMIT, kept: int = BUFFER) -> None:
        """``kept``: bytes of the buffer at most that are held for this connection's next frame; see also ``SPARE``."""
        self._limit, self._kept = limit, kept
        self._buffer: bytearray | mmap.mmap = bytearray(BUFFER)
        self._have = 0
        self._need = _LENGTH.size  # bytes of the buffer before there is anything to do

    def room(self) -> memoryview:
        """Return where the next bytes go. Never empty."""
        # Up to the end of a large frame, so that nothing comes behind it, which would have to be copied.
        return memoryview(self._buffer)[self._have : self._need if self._need > BUFFER else None]

    def filled(self, count: int) -> list[Any]:
        """Take so many bytes that were written to :meth:`room`, and return the messages that they complete.

        Raises ``WireError`` for a frame above the limit, one that is not a pickle, or one with more than plain data.
        """
        self._have += count
        if self._have < self._need:
            return []
        messages, start = [], 0
        while (left := self._have - start) >= (need := self._frame_size(start)):
            messages.append(_load(self._buffer, start + _LENGTH.size, start + need))
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
        return messages

    def feed(self, data: bytes) -> list[Any]:
        """Take the next chunk and return the messages that it completes. Raises as :meth:`filled`."""
        messages, rest = [], memoryview(data)
        while rest:
            room = self.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            rest = rest[count:]
            messages += self.filled(count)
        return messages

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet. Not 0 at the end of a connection: something was lost."""
        return self._have

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


class _Pieces(list[bytes]):
    """A list that the pickler can write to."""

    write = list.append


class _PlainPickler(pickle.Pickler):
    def reducer_override(self, value: object) -> NoReturn:
        # Asked only for what is not exactly one of the plain types, a subclass of int included.
        kind = type(value)
        raise WireError(f"only plain data can be sent, not {kind.__module__}.{kind.__qualname__}")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise WireError(f"a message names {module}.{name}, but only plain data may be sent")


class _Reader:
    """A file over a part of a buffer: large bytes go from there to where they belong."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._place = 0

    def read(self, size: int) -> bytes:
        part = bytes(self._content[self._place : self._place + size])
        self._place += len(part)
        return part

    def readinto(self, target: memoryview) -> int:
        part = self._content[self._place : self._place + len(target)]
        target[: len(part)] = part
        self._place += len(part)
        return len(part)

    def tell(self) -> int:
        return self._place

    def readline(self) -> bytes:
        raise WireError("what came in is not a message: it has text in it")  # of older protocols, which pack() has not


def _load(buffer: bytearray | mmap.mmap, start: int, end: int) -> Any:
    # A small copy costs less than calls of Python's.
    reader = io.BytesIO(buffer[start:end]) if end - start < BUFFER else _Reader(memoryview(buffer)[start:end])
    try:
        message = _PlainUnpickler(reader).load()
    except WireError:
        raise
    except Exception as reason:  # noqa: BLE001 - bytes that are no pickle raise nearly every kind of exception
        raise WireError(f"what came in is not a message: {type(reason).__name__}: {reason}") from None
    if reader.tell() != end - start:
        raise WireError(
            f"what came in is not a message: it ends {reader.tell() - end + start:+} bytes from its frame's end"
        )
    return message
