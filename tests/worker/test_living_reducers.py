"""What travels by a reducer of its own lives in a worker as all else does."""

from __future__ import annotations

import types

from test_living import Worker, script, worker

__all__ = ["script", "worker"]


def test_what_pickle_cannot_take_apart_by_itself_stays_too(worker: Worker, script: types.ModuleType) -> None:
    code = """
import struct, typing, weakref
from sys import __stdout__ as out

@functools.singledispatch
def kind(x): return "unknown"
@kind.register
def _(x: int): return "number"
class Kinds:
    @functools.singledispatchmethod
    def kind(self, x): return "unknown"
head, noted, Number = struct.Struct("<I"), weakref.WeakValueDictionary(), typing.NewType("Number", int)
others = head, noted, Number, out
def prepare():
    kind.register(str, lambda x: "text")
    Kinds.kind.register(str, lambda self, x: "text")
    return head, noted, Number, out
def look(x): return kind(x), Kinds().kind(x), *map(id, (kind, head, noted, Number, out))
"""
    exec(code, vars(script))
    worker.initialize(script.prepare)
    script._ = 1  # as after "for _ in range(2)" in the script
    first, second = worker.call(script.look, "a"), worker.call(script.look, "a")
    assert first == second
    assert first[:2] == ("text", "text")
    assert worker.call(script.kind, 1) == "number"
    assert worker.told == []
    script.kind.register(dict, lambda x: "table")
    assert worker.call(script.look, {})[0] == "table"
    assert ["kind" in told for told in worker.told] == [True]
