"""Numbers in messages: each has bounds, and a message with one beyond them is not read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from jobpool.model.call import Outcome, Usage
from jobpool.model.units import Memory
from jobpool.transport.frames import WireError
from jobpool.transport.messages import agent, base, client, worker
from jobpool.transport.messages.agent import Done, Ready, SlotsTaken, Started, WentOn
from jobpool.transport.messages.base import Message
from jobpool.transport.packing import Reader, pack

CLASSES = sorted(
    {
        kind
        for module in (agent, base, client, worker)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    },
    key=lambda kind: kind.__name__,
)


def numbers(kind: inspect.Type) -> Iterator[inspect.IntType | inspect.FloatType]:
    """Yield the types of all numbers in a value of this type."""
    match kind:
        case inspect.IntType() | inspect.FloatType():
            yield kind
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            for one in types:
                yield from numbers(one)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            yield from numbers(item)
        case inspect.DictType(key_type=key, value_type=value):
            yield from numbers(key)
            yield from numbers(value)
        case inspect.StructType(fields=fields) | inspect.DataclassType(fields=fields):
            for field in fields:
                yield from numbers(field.type)


def test_the_messages_are_those_with_numbers() -> None:
    found = {kind.__name__ for kind in CLASSES if [*numbers(inspect.type_info(kind))]}
    assert found >= {"Ready", "Done", "Died", "CallDone", "Cancel", "Exited", "Calls", "AgentSettings", "Question"}


@pytest.mark.parametrize("kind", CLASSES)
def test_each_number_in_a_message_has_bounds(kind: type) -> None:
    """None is negative, infinite or "not a number" by mistake: it would do harm much later."""
    assert [number for number in numbers(inspect.type_info(kind)) if number.ge is None or number.le is None] == []


def usage(**changes: Any) -> Usage:
    return Usage(**{"wall": 1.0, "cpu": 1.0, "peak_memory": Memory(1), "threads": 1, **changes})


@pytest.mark.parametrize(
    "message",
    [
        Ready(-1, None),
        Ready(2**40, None),
        Ready(1, math.nan),
        WentOn(math.inf),
        Started((-1,)),
        Started((2**63,)),
        SlotsTaken(-1),
        Done([Outcome(1, True, b"", rows=-3)]),
        Done([Outcome(1, True, b"", usage(wall=math.nan))]),
        Done([Outcome(1, True, b"", usage(peak_memory=Memory(-5)))]),
        Done([Outcome(1, True, b"", usage(peak_memory=1.5))]),
    ],
    ids=repr,
)
def test_a_message_with_an_absurd_number_is_not_read(message: Message) -> None:
    with pytest.raises(WireError, match="is not a message of this version of jobpool"):
        Reader(agent.AgentToServer).one(b"".join(pack(message)))


def test_a_message_whose_numbers_are_at_their_bounds_is_read() -> None:
    message = Done([Outcome(2**63 - 1, True, b"", usage(wall=0.0, cpu=1e10, peak_memory=Memory(2**60)), rows=1024)])
    reader: Reader[Message] = Reader(agent.AgentToServer)
    read = reader.one(b"".join(pack(message)))
    assert read == message
    assert isinstance(read, Done)
    assert read.outcomes[0].usage is not None
    assert type(read.outcomes[0].usage.peak_memory) is Memory
