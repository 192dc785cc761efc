"""Frames and messages: any chunking gives the same messages, and nothing but the expected ones gets through."""

from __future__ import annotations

import mmap
import pickle
import struct
from typing import Any, NoReturn

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobpool.model.bounded import MOST_ROWS
from jobpool.model.call import Call, Outcome, Usage
from jobpool.model.units import Duration, Memory
from jobpool.server.peers import ToServer
from jobpool.transport import frames, packing
from jobpool.transport.frames import BUFFER, Spare, WireError, frame
from jobpool.transport.messages.agent import AgentHello, Done, NotWanted, Ping
from jobpool.transport.messages.base import Answer, Function, Functions, Message, Question
from jobpool.transport.messages.client import (
    Calls,
    ClientHello,
    Facts,
    JobCancelled,
    Notice,
    ServerAnswer,
    ServerToClient,
    Stop,
)
from jobpool.transport.packing import LARGE, Reader, pack, pack_plain

TEXTS = st.text(st.characters())  # with what UTF-8 has no bytes for
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | st.binary()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abé", max_size=5), inner, max_size=4),
    max_leaves=10,
)
FACTS = st.builds(Facts, facts=st.dictionaries(st.text("abc", max_size=3), PLAIN, max_size=3))
CONTENTS = st.sampled_from([0, 1, LARGE - 1, LARGE, LARGE + 1, 5 * LARGE]).map(lambda size: b"x" * size)
USAGES = st.none() | st.builds(
    Usage, wall=st.floats(0, 1e9), cpu=st.floats(0, 1e9), peak_memory=st.integers(0, 2**60).map(Memory),
    threads=st.integers(0, 2**20),
)  # fmt: skip
COUNTS = st.integers(0, 2**62)
ROWS = st.integers(0, MOST_ROWS)
OUTCOMES = st.builds(Outcome, COUNTS, st.booleans(), CONTENTS, USAGES, st.binary(max_size=9), ROWS, ROWS, TEXTS)
CALLS = st.builds(Call, COUNTS, TEXTS, CONTENTS, skip=ROWS, rows=ROWS, timeout=st.none() | st.floats(0, 1e9))
FROM_PEERS = (
    st.builds(Calls, TEXTS, st.lists(CALLS, max_size=4))
    | st.builds(Done, st.lists(OUTCOMES, max_size=4))
    | st.builds(Functions, st.lists(st.builds(Function, TEXTS, CONTENTS), max_size=4))
    | st.builds(
        AgentHello,
        job=st.tuples(TEXTS, COUNTS),
        id=TEXTS,
        node=TEXTS,
        pid=st.integers(0, 2**22),
        versions=st.dictionaries(st.text("abc"), TEXTS),
    )
)
FROM_SERVER: Reader[Message] = Reader(ServerToClient | ServerAnswer)
HEARD: Reader[Message] = Reader(ToServer)


def joined(*messages: Message) -> bytes:
    return b"".join(piece for message in messages for piece in pack(message))


def framed(data: bytes) -> bytes:
    return struct.pack("<QI", len(data) + 4, 0) + data


@given(st.lists(FACTS, max_size=6), st.data())
def test_any_chunking_gives_the_same_messages(messages: list[Facts], data: st.DataObject) -> None:
    stream = joined(*messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    unpacker, got = FROM_SERVER.unpacker(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += unpacker.feed(stream[start:end])
    assert got == messages
    assert unpacker.pending == 0


@settings(deadline=None)  # megabytes, in small chunks
@given(FROM_PEERS)
def test_a_message_arrives_as_it_was_sent_and_stays_as_it_was(message: Message) -> None:
    before = pickle.dumps([getattr(message, name) for name in message.__struct_fields__])
    assert HEARD.one(joined(message)) == message
    assert pickle.dumps([getattr(message, name) for name in message.__struct_fields__]) == before


SIZES = st.sampled_from([0, 1, BUFFER - 100, BUFFER, BUFFER + 1, 3 * BUFFER, 5 * BUFFER])
CHUNKS = st.sampled_from([997, 16384, BUFFER, 10**9])


def numbered(key: str, number: int, size: int) -> Functions:
    """A message with a content of this size beside a small one."""
    return Functions([Function(f"{key}{number}", b"small"), Function(key, bytes([number]) * size)])


@settings(deadline=None)  # megabytes, in small chunks
@given(st.lists(SIZES, min_size=1, max_size=8), CHUNKS, st.sampled_from([BUFFER, 4 * BUFFER, 2**30]))
def test_large_frames_are_read_into_their_place(sizes: list[int], chunk: int, kept: int) -> None:
    messages = [numbered("f", number, size) for number, size in enumerate(sizes)]
    stream, unpacker, place = joined(*messages), HEARD.unpacker(kept=kept), 0
    got: list[Message] = []
    while place < len(stream):
        room = unpacker.room()
        count = min(len(room), len(stream) - place, chunk)
        room[:count] = stream[place : place + count]
        got += unpacker.filled(count)
        place += count
    assert got == messages
    assert unpacker.pending == 0
    assert len(unpacker.room()) <= max(kept, BUFFER)


@settings(deadline=None)  # megabytes, in small chunks
@given(st.lists(SIZES, min_size=1, max_size=8), CHUNKS, st.sampled_from([0, 4 * BUFFER, 2**30]))
def test_connections_that_use_the_same_large_buffers_do_not_mix_them(sizes: list[int], chunk: int, limit: int) -> None:
    messages = {side: [numbered(side, number, size) for number, size in enumerate(sizes)] for side in "ab"}
    streams = {side: joined(*some) for side, some in messages.items()}
    unpackers = {side: HEARD.unpacker() for side in streams}
    got: dict[str, list[Message]] = {side: [] for side in streams}
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


@given(st.lists(FACTS, max_size=3))
def test_byte_by_byte(messages: list[Facts]) -> None:
    unpacker, got = FROM_SERVER.unpacker(), []
    for byte in joined(*messages):
        got += unpacker.feed(bytes([byte]))
    assert got == messages


@given(st.binary(max_size=200), st.integers(0, 3))
def test_a_frame_of_garbage_raises_wire_error_or_is_a_message(garbage: bytes, contents: int) -> None:
    stream = struct.pack("<QI", len(garbage) + 4, contents) + garbage
    try:
        messages = HEARD.unpacker().feed(stream)
    except WireError:
        return
    assert all(isinstance(message, Message) for message in messages)


@given(st.integers(0, 3), st.integers(0, 2**64 - 1), st.sampled_from([0, 7, 2**31]))
def test_contents_that_are_not_there_raise_wire_error(count: int, size: int, place: int) -> None:
    message = pack(ClientHello())[0][12:]
    body = struct.pack("<I", count) + count * struct.pack("<IQ", place, size) + message
    stream = struct.pack("<Q", len(body)) + body
    if count == 0:
        assert HEARD.one(stream) == ClientHello()
    else:
        with pytest.raises(WireError):
            HEARD.one(stream)


@settings(deadline=None)  # megabytes, in small chunks
@given(FROM_PEERS, st.data())
def test_a_message_that_is_changed_in_one_place_is_another_or_none(message: Message, data: st.DataObject) -> None:
    stream = bytearray(joined(message))
    place = data.draw(st.integers(8, len(stream) - 1))
    stream[place] ^= data.draw(st.integers(1, 255))
    try:
        got = HEARD.unpacker().feed(bytes(stream))
    except WireError:
        return
    assert all(isinstance(one, Message) for one in got)


def test_a_message_that_only_others_may_say_is_told_with_what_to_do() -> None:
    with pytest.raises(WireError, match=r"Notice.*same version of jobpool"):
        HEARD.one(joined(Notice("x", warning=True)))


def test_a_later_version_may_append_fields() -> None:
    longer = packing.pack_plain(["Notice", "text", True, "what this version does not know"])
    assert FROM_SERVER.one(framed(longer)) == Notice("text", warning=True)
    with pytest.raises(WireError):
        FROM_SERVER.one(framed(packing.pack_plain(["Notice", "text"])))


def test_a_frame_above_the_limit_raises_before_its_bytes_come() -> None:
    unpacker = frames.Unpacker(HEARD.read, limit=1000)
    with pytest.raises(WireError, match="1001 bytes"):
        unpacker.feed(struct.pack("<Q", 1001))
    message = Functions([Function("f", b"x" * LARGE)])
    with pytest.raises(WireError, match="more than the 1000"):
        pack(message, limit=1000)
    assert message.functions[0].payload == b"x" * LARGE


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return psutil.Process().memory_info().rss


@pytest.mark.alone
def test_an_announcement_takes_no_memory_its_bytes_do() -> None:
    before, unpackers = resident(), [HEARD.unpacker() for _ in range(5)]
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
        HEARD.unpacker().feed(struct.pack("<Q", 200_000_000))


@pytest.mark.parametrize("value", [print, object(), Exception("x"), int, 2**64])
def test_only_plain_data_can_be_packed(value: object) -> None:
    with pytest.raises(WireError, match="only plain data"):
        pack(Facts(facts={"value": [value]}))


def test_sizes_and_times_travel_as_numbers() -> None:
    got = FROM_SERVER.one(joined(Facts(facts={"size": Memory(5), "time": Duration(1.5)})))
    assert got == Facts(facts={"size": 5, "time": 1.5})


def test_a_key_that_utf8_has_no_bytes_for_travels_with_a_name_for_them() -> None:
    got = FROM_SERVER.one(joined(Facts(facts={"cannot read \udcfc": 1, "é": "\udcfc"})))
    assert got == Facts(facts={"cannot read \\udcfc": 1, "é": "\udcfc"})


def test_large_bytes_are_not_copied_when_packed() -> None:
    payloads = [b"x" * 10_000_000, b"small", b"y" * LARGE]
    message = Functions([Function("f", payload) for payload in payloads])
    pieces = pack(message)
    assert [any(piece is payload for piece in pieces) for payload in payloads] == [True, False, True]
    assert HEARD.one(b"".join(pieces)) == message


def test_a_large_frame_in_chunks_of_a_socket() -> None:
    messages = [Functions([Function("f", b"y" * 3_000_000)]), ClientHello()]
    stream, unpacker = joined(*messages), HEARD.unpacker()
    got: list[Message] = []
    for start in range(0, len(stream), 65536):
        got += unpacker.feed(stream[start : start + 65536])
    assert got == messages


def test_a_message_that_contains_itself_cannot_be_sent() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(WireError, match="nested too deeply"):
        pack(Facts(facts={"endless": endless}))


def test_a_later_version_may_append_fields_and_is_answered_all_the_same() -> None:
    hello = HEARD.one(b"".join(frame(pack_plain(["AgentHello", 7, ["jp-x-1", 0], "1", "n", 2, {}, "a later field"]))))
    assert hello == AgentHello(job=("jp-x-1", 0), id="1", node="n", pid=2, versions={}, reference=7)
    answer = FROM_SERVER.one(b"".join(frame(pack_plain(["JobCancelled", 7, True, "a later field"]))))
    assert answer == JobCancelled(known=True, reference=7)


def test_the_number_of_every_question_and_answer_is_its_first_field() -> None:
    kinds = [kind for base in (Question, Answer) for kind in base.__subclasses__()]
    assert {AgentHello, NotWanted, Stop, Facts} <= set(kinds)
    assert {kind.__struct_encode_fields__[0] for kind in kinds} == {"reference"}


@pytest.mark.parametrize("wrong", [["Checkpointed", 7, "QUJD"], ["Started", [1.0]], [], ["Nobody"]])
def test_what_has_another_type_is_no_message(wrong: list[Any]) -> None:
    with pytest.raises(WireError, match="with the same version of jobpool"):
        HEARD.one(b"".join(frame(pack_plain(wrong))))


def test_bytes_that_nest_deeply_are_no_message() -> None:
    with pytest.raises(WireError):
        HEARD.one(framed(b"\x91" * 100_000))


def test_bytes_that_are_not_one_frame_are_not_one_message() -> None:
    whole = joined(Ping())
    for data in (b"", whole[:-1], whole + whole):
        with pytest.raises(WireError, match="not one message"):
            Reader[Message](Ping).one(data)


def test_small_messages_are_one_piece() -> None:
    assert len(pack(ClientHello())) == 1
    assert frame(b"12345") == [struct.pack("<QI", 9, 0) + b"12345"]
