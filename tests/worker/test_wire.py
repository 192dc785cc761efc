"""Framing: any chunking gives the same messages, and nothing but plain data gets through."""

from __future__ import annotations

import enum
import mmap
import pickle
import struct
from typing import Any, NoReturn

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.model.units import Memory
from jobpool.transport import frames
from jobpool.transport.frames import BUFFER, Spare, Unpacker, WireError, pack

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.sets(st.integers(), max_size=4)
    ),
    max_leaves=10,
)


def joined(*messages: object) -> bytes:
    return b"".join(piece for message in messages for piece in pack(message))


@given(st.lists(PLAIN, max_size=6), st.data())
def test_any_chunking_gives_the_same_messages(messages: list[Any], data: st.DataObject) -> None:
    stream = joined(*messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    unpacker, got = Unpacker(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += unpacker.feed(stream[start:end])
    assert got == messages
    assert unpacker.pending == 0


SIZES = st.sampled_from([0, 1, BUFFER - 100, BUFFER, BUFFER + 1, 3 * BUFFER, 5 * BUFFER])
CHUNKS = st.sampled_from([997, 16384, BUFFER, 10**9])


@given(st.lists(SIZES, min_size=1, max_size=8), CHUNKS, st.sampled_from([BUFFER, 4 * BUFFER, 2**30]))
def test_large_frames_are_read_into_their_place(sizes: list[int], chunk: int, kept: int) -> None:
    messages = [(number, bytes([number]) * size) for number, size in enumerate(sizes)]
    stream, unpacker, got, place = joined(*messages), Unpacker(kept=kept), [], 0
    while place < len(stream):
        room = unpacker.room()
        count = min(len(room), len(stream) - place, chunk)
        room[:count] = stream[place : place + count]
        got += unpacker.filled(count)
        place += count
    assert got == messages
    assert unpacker.pending == 0
    assert len(unpacker.room()) <= max(kept, BUFFER)


@given(st.lists(SIZES, min_size=1, max_size=8), CHUNKS, st.sampled_from([0, 4 * BUFFER, 2**30]))
def test_connections_that_use_the_same_large_buffers_do_not_mix_them(sizes: list[int], chunk: int, limit: int) -> None:
    messages = {side: [(side, number, side * size) for number, size in enumerate(sizes)] for side in (b"a", b"b")}
    streams = {side: joined(*some) for side, some in messages.items()}
    unpackers = {side: Unpacker() for side in streams}
    got: dict[bytes, list[Any]] = {side: [] for side in streams}
    spare = Spare()
    spare.limit = limit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "SPARE", spare)
        while any(streams.values()):
            for side, stream in streams.items():
                room = unpackers[side].room()
                count = min(len(room), len(stream), chunk)
                room[:count] = stream[:count]
                streams[side] = stream[count:]
                got[side] += unpackers[side].filled(count)
    assert got == messages


def test_buffers_of_large_frames_are_used_again_up_to_a_limit() -> None:
    spare = Spare()
    large = bytearray(10 * BUFFER)
    spare.give(large)
    assert spare.take(10 * BUFFER) is not large  # no limit: nothing is held
    spare.limit = 15 * BUFFER
    spare.give(large)
    spare.give(bytearray(10 * BUFFER))
    assert spare.take(2 * BUFFER) is not large  # too large for so little
    assert spare.take(9 * BUFFER) is large
    assert len(spare.take(9 * BUFFER)) == 9 * BUFFER  # the second one was above the limit


@given(st.lists(PLAIN, max_size=3))
def test_byte_by_byte(messages: list[Any]) -> None:
    unpacker, got = Unpacker(), []
    for byte in joined(*messages):
        got += unpacker.feed(bytes([byte]))
    assert got == messages


@given(st.binary(max_size=200))
def test_a_frame_of_garbage_raises_wire_error_or_is_plain_data(garbage: bytes) -> None:
    try:
        messages = Unpacker().feed(struct.pack("<Q", len(garbage)) + garbage)
    except WireError:
        return
    assert all(type(message) in PLAIN_TYPES for message in messages)


PLAIN_TYPES = {type(None), bool, int, float, str, bytes, bytearray, tuple, list, dict, set, frozenset}


def test_a_frame_above_the_limit_raises_before_its_bytes_come() -> None:
    unpacker = Unpacker(limit=1000)
    with pytest.raises(WireError, match="1001 bytes"):
        unpacker.feed(struct.pack("<Q", 1001))
    with pytest.raises(WireError, match="more than the 1000"):
        pack(b"x" * 1001, limit=1000)
    assert Unpacker(limit=1000).feed(joined(b"x" * 900)) == [b"x" * 900]


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return psutil.Process().memory_info().rss


@pytest.mark.alone
def test_an_announcement_takes_no_memory_its_bytes_do() -> None:
    before, unpackers = resident(), [Unpacker() for _ in range(5)]
    for unpacker in unpackers:
        unpacker.feed(struct.pack("<Q", 256 * 2**20))
        unpacker.feed(bytes(2**20))
    assert resident() - before < 50 * 2**20
    chunk = bytes(2**20)
    for _ in range(100):
        unpackers[0].feed(chunk)
    assert 90 * 2**20 < resident() - before < 200 * 2**20


def test_no_memory_for_a_message_is_an_error_of_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: Any, **__: Any) -> NoReturn:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", none_left)
    with pytest.raises(WireError, match="no memory for a message of 200000008 bytes: Cannot allocate"):
        Unpacker().feed(struct.pack("<Q", 200_000_000))


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize("value", [print, object(), Memory(5), Colour.RED, Exception("x"), memoryview(b"x"), int])
def test_only_plain_data_can_be_packed(value: object) -> None:
    with pytest.raises(WireError, match="only plain data"):
        pack(("message", [value]))


@pytest.mark.parametrize("value", [print, Memory(5), Exception("x"), Colour.RED])
def test_a_foreign_pickle_with_a_global_is_refused(value: object) -> None:
    pickled = pickle.dumps(value)
    with pytest.raises(WireError, match="names"):
        Unpacker().feed(struct.pack("<Q", len(pickled)) + pickled)


def test_large_bytes_are_not_copied_when_packed() -> None:
    payload = b"x" * 10_000_000
    pieces = pack((7, payload))
    assert any(piece is payload for piece in pieces)
    assert Unpacker().feed(b"".join(pieces)) == [(7, payload)]


def test_a_large_frame_in_chunks_of_a_socket() -> None:
    message = (1, b"y" * 3_000_000, "end")
    stream, unpacker, got = joined(message, "next"), Unpacker(), []
    for start in range(0, len(stream), 65536):
        got += unpacker.feed(stream[start : start + 65536])
    assert got == [message, "next"]


def test_a_message_that_contains_itself() -> None:
    endless: list[Any] = []
    endless.append(endless)
    (back,) = Unpacker().feed(joined(endless))
    assert back[0] is back
