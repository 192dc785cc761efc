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
import pickle
import struct
from typing import Any, NoReturn

__all__ = ["FRAME_LIMIT", "Unpacker", "WireError", "pack"]

FRAME_LIMIT = 4 * 2**30
"""Bytes of one frame at most. Above what a call should return, below what a garbled length would make us wait for."""

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


class Unpacker:
    """Puts frames together again from chunks, cut anywhere."""

    def __init__(self, *, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = _LENGTH.size  # bytes from the start of the first chunk before there is anything to do

    def feed(self, data: bytes) -> list[Any]:
        """Take the next chunk and return the messages that it completes.

        Raises ``WireError`` for a frame above the limit, one that is not a pickle, or one with more than plain data.
        """
        self._chunks.append(data)
        self._have += len(data)
        if self._have < self._need:
            return []
        # Chunks of a large frame are joined once, when all of it is there.
        buffer = data if len(self._chunks) == 1 else b"".join(self._chunks)
        stream = io.BytesIO(buffer)  # shares the bytes: nothing is copied to cut the frames out
        messages, start = [], 0
        while (left := len(buffer) - start) >= (need := self._frame_size(buffer, start)):
            start += need
            messages.append(_load(stream, start - need + _LENGTH.size, start))
        self._chunks = [buffer[start:]] if left else []
        self._have, self._need = left, need
        return messages

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet. Not 0 at the end of a connection: something was lost."""
        return self._have

    def _frame_size(self, buffer: bytes, start: int) -> int:
        """Return the bytes of the frame at ``start`` with its length, or of the length alone while that is cut."""
        if len(buffer) - start < _LENGTH.size:
            return _LENGTH.size
        size: int = _LENGTH.unpack_from(buffer, start)[0]
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


def _load(stream: io.BytesIO, start: int, end: int) -> Any:
    stream.seek(start)
    try:
        message = _PlainUnpickler(stream).load()
    except WireError:
        raise
    except Exception as reason:  # noqa: BLE001 - bytes that are no pickle raise nearly every kind of exception
        raise WireError(f"what came in is not a message: {type(reason).__name__}: {reason}") from None
    if stream.tell() != end:
        raise WireError(f"what came in is not a message: it ends {stream.tell() - end:+} bytes from its frame's end")
    return message
