"""Messages as bytes: MessagePack by msgspec, in frames; large contents beside the message, and never copied.

The side that reads names the messages that it expects. It makes instances of these classes and of plain types, so that
bytes from the other side can never name code to run. Functions, arguments and results are bytes to it.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

import msgspec

from jobpool.model.bounded import Count, Seconds
from jobpool.transport import frames
from jobpool.transport.frames import WireError
from jobpool.transport.messages.base import Message

__all__ = ["Reader", "pack", "pack_plain", "unpack_plain"]

M = TypeVar("M", bound=Message)

LARGE = 64 * 1024
"""Bytes of a content that travels beside its message. A smaller one is copied sooner than listed."""

_TEXT = 1
"""MessagePack's extension type for text that UTF-8 has no bytes for: names of files in another encoding."""

ADVICE = "start the script, its jobs and the command line with the same version of jobpool"


def pack(message: Message, *, limit: int = frames.FRAME_LIMIT) -> list[bytes]:
    """Turn one message into the pieces of one frame, to be written in this order.

    Raises ``WireError`` when the message holds anything but plain data, or is larger than ``limit`` bytes.
    """
    large = [(place, holder) for place, holder in enumerate(message.holders()) if len(holder.payload) >= LARGE]
    if not large:
        return frames.frame(_encode(message), limit=limit)
    beside = [(place, holder.payload) for place, holder in large]
    try:
        for _, holder in large:
            holder.payload = b""
        packed = _encode(message)
    finally:
        for (_, holder), (_, content) in zip(large, beside, strict=True):
            holder.payload = content
    return frames.frame(packed, beside, limit=limit)


class Reader(Generic[M]):
    """Reads messages of some classes, which are given as a union."""

    def __init__(self, expected: Any) -> None:
        self._expected = expected
        self._decoder = msgspec.msgpack.Decoder(expected, dec_hook=_from_number, ext_hook=_text)

    def unpacker(self, *, kept: int = frames.BUFFER) -> frames.Unpacker[M]:
        """Return what puts together the messages of one connection. It raises ``WireError`` for all others."""
        return frames.Unpacker(self.read, kept=kept)

    def read(self, packed: memoryview, beside: list[tuple[int, memoryview]]) -> M:
        """Return the message of one frame. Raises ``WireError`` when it is none of those that are expected."""
        try:
            message = cast(M, self._decode(packed))
            if beside:
                holders = message.holders()
                for place, content in beside:
                    holders[place].payload = bytes(content)
        except (msgspec.DecodeError, ValueError, IndexError, RecursionError, OverflowError, TypeError) as reason:
            raise WireError(f"what came in is not a message of this version of jobpool ({reason}); {ADVICE}") from None
        return message

    def one(self, data: bytes) -> M:
        """Return the message of bytes that are one whole frame. Raises ``WireError``."""
        messages = self.unpacker().feed(data)
        if len(messages) != 1:
            raise WireError(f"what came in is not one message but {len(messages)}")
        return messages[0]

    def _decode(self, packed: memoryview) -> Any:
        try:
            return self._decoder.decode(packed)
        except msgspec.ValidationError:
            # Text in another form than usual is no text to the decoder, but this one reads it.
            plain = msgspec.msgpack.decode(packed, ext_hook=_text)
            # ``bytes`` are bytes here: without the argument, text would be read as base64.
            return msgspec.convert(plain, self._expected, builtin_types=(bytes,), dec_hook=_from_number)


def pack_plain(data: object) -> bytes:
    """Return plain data as bytes. Raises ``WireError`` when it holds anything else."""
    return _encode(data)


def unpack_plain(packed: bytes) -> Any:
    """Return plain data from its bytes. Raises ``WireError``."""
    try:
        return msgspec.msgpack.decode(packed, ext_hook=_text)
    except (msgspec.DecodeError, ValueError, RecursionError) as reason:
        raise WireError(f"these are no packed data: {reason}") from None


def _encode(message: object) -> bytes:
    try:
        try:
            return _ENCODER.encode(message)
        except UnicodeEncodeError:
            return _ENCODER.encode(
                _with_any_text(msgspec.to_builtins(message, builtin_types=(bytes,), enc_hook=_plain))
            )
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as reason:
        raise WireError(f"only plain data can be sent: {reason}") from None
    except RecursionError:
        raise WireError("the message is nested too deeply") from None


def _plain(value: object) -> object:
    for kind in (int, float, str):  # ``Memory`` and ``Duration`` are numbers, too
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"not {type(value).__module__}.{type(value).__qualname__}")


def _from_number(kind: type, value: Any) -> Any:
    return kind(msgspec.convert(value, Seconds if issubclass(kind, float) else Count))


def _text(code: int, data: memoryview) -> str:
    if code != _TEXT:
        raise ValueError(f"extension {code}")
    return bytes(data).decode("utf-8", "surrogatepass")


def _with_any_text(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else msgspec.msgpack.Ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list | tuple):
        return [_with_any_text(item) for item in value]
    if isinstance(value, dict):
        return {_with_utf8(key): _with_any_text(item) for key, item in value.items()}
    return value


def _with_utf8(key: Any) -> Any:
    # An extension is no key. What stands in keys is told to people: there it may look a little different.
    return key.encode("utf-8", "backslashreplace").decode() if isinstance(key, str) else key


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
