"""Fingerprints of unusual objects, and shared objects to which other objects refer."""

from __future__ import annotations

import os
import random
import types
from typing import Any

from sharedkit import Worker

from jobpool.worker.fingerprints import fingerprint_of


class Held:
    """Has attributes."""


def test_equal_objects_have_equal_fingerprints_whichever_of_their_names_are_one_object() -> None:
    fingerprints = []
    for name in ("first", "second"):
        text = "".join(["a", "ttribute"])
        held = Held()
        held.__dict__ = {"".join(["a", "ttribute"]) if name == "first" else text: {text: 1}}
        fingerprints.append(fingerprint_of(held, lambda _: None))
    assert fingerprints[0] == fingerprints[1]
    vars(held)["attribute"]["attribute"] = 2
    assert fingerprint_of(held, lambda _: None) != fingerprints[0]


def test_an_object_that_others_hold_is_one(worker: Worker, script: types.ModuleType) -> None:
    code = """
class Config: pass
class Engine:
    def __init__(self, config): self.config, self.all = config, [config]
config = Config()
config.scale = 1
engine = Engine(config)
def set_scale(s): config.scale = s
def through(x): return engine.config.scale, engine.all[0].scale
def by_default(x, given=config): return given.scale
def enclosing():
    held = config
    def inner(x): return held.scale
    return inner
inner = enclosing()
def both(x): return engine.config is config, config.scale
"""
    exec(code, vars(script))
    worker.initialize(script.set_scale, 5)
    assert worker.call(script.through, 0) == (5, 5)
    assert worker.call(script.by_default, 0) == 5
    assert worker.call(script.inner, 0) == 5
    assert worker.call(script.both, 0) == (True, 5)
    worker.call(script.set_scale, 6)
    assert worker.call(script.through, 0) == (6, 6)
    script.config.more = 1
    assert worker.call(script.through, 0) == (5, 5)
    assert worker.call(script.both, 0) == (True, 5)


def test_what_an_installed_module_holds_is_the_same_whatever_was_done_to_it() -> None:
    """Else calls of functions that draw from it in turns would put it in its place again, each time."""

    def fingerprints() -> list[Any]:
        return [fingerprint_of(value, lambda _: None) for value in (random.gauss, [random.gauss], os.environ)]

    before = fingerprints()
    random.gauss(0.0, 1.0)
    os.environ["JOBPOOL_TEST_PRINT"] = "1"
    try:
        assert fingerprints() == before
    finally:
        del os.environ["JOBPOOL_TEST_PRINT"]


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
    vars(script)["_"] = 1  # as after "for _ in range(2)" in the script
    first, second = worker.call(script.look, "a"), worker.call(script.look, "a")
    assert first == second
    assert first[:2] == ("text", "text")
    assert worker.call(script.kind, 1) == "number"
    assert worker.told == []
    script.kind.register(dict, lambda x: "table")
    assert worker.call(script.look, {})[0] == "table"
    assert ["kind" in told for told in worker.told] == [True]


def test_what_is_looked_up_when_it_is_unpickled_stands_for_itself(worker: Worker, script: types.ModuleType) -> None:
    """It is held by much that means this one, and not what a call has put into a variable in its place."""
    code = """
import enum, logging, re
class Color(enum.Enum):
    RED, BLUE = 1, 2
color, pattern, log = Color.RED, re.compile("a+"), logging.getLogger("a")
def choose():
    global color, pattern, log
    color, pattern, log = Color.BLUE, re.compile("b+"), logging.getLogger("b")
def look(): return [str(each) for each in (color, Color(1), Color["RED"], pattern.pattern, re.compile("a+").pattern,
                    log.name, logging.getLogger("a").name)]
def look_again(): return look()
"""
    exec(code, vars(script))
    worker.call(script.look)
    worker.call(script.choose)
    assert worker.call(script.look_again) == ["Color.BLUE", "Color.RED", "Color.RED", "b+", "a+", "b", "a"]
