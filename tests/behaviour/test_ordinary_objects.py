"""What scripts are made of runs in calls: what the standard library has for classes and functions, and its objects."""

from __future__ import annotations

import abc
import collections.abc
import contextlib
import copyreg
import dataclasses
import decimal
import enum
import functools
import logging
import mimetypes
import os
import random
import struct
import sys
import weakref
from collections.abc import Callable
from copyreg import dispatch_table
from decimal import DefaultContext
from http.client import responses
from mimetypes import knownfiles
from os import environ
from pkgutil import iter_importer_modules  # type: ignore[attr-defined]
from random import _inst, gauss, shuffle
from secrets import choice
from sys import path
from typing import Any, ClassVar, Generic, NamedTuple, NewType, ParamSpec, TypeVar

import pytest
from sites import PATIENCE

from jobpool import JobPoolExecutor

T = TypeVar("T")
P = ParamSpec("P")
Number = NewType("Number", int)
NAME = "__name__"
"""Type checkers know nothing of it in some objects."""

HEADER = struct.Struct("<IH")
REMEMBERED: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
system_random = random.SystemRandom()
logger = logging.getLogger("a.logger")
stdout, stdin = sys.__stdout__, sys.__stdin__


class Frame:
    size = 3


class Registered:
    """Wants to know its subclasses."""

    kinds: ClassVar[list[type]] = []

    def __init_subclass__(cls) -> None:
        Registered.kinds.append(cls)


class Plugin(Registered):
    """Is one."""


class Video:
    """Has what a class may have that the standard library makes."""

    def __init__(self, *frames: float) -> None:
        self.frames = frames

    @functools.cached_property
    def mean(self) -> float:
        return sum(self.frames) / len(self.frames)

    @functools.lru_cache  # noqa: B019 - a class of a script
    def total(self) -> float:
        return sum(self.frames)

    @functools.singledispatchmethod
    def add(self, other: Any) -> Any:
        return "any", other

    @add.register
    def _(self, other: int) -> Any:
        return "int", other + 1

    @add.register(Frame)
    def _(self, other: Frame) -> Any:
        return "frame", other.size, len(self.frames)

    first = functools.partialmethod(lambda self, place: self.frames[place], 0)


class Longer(Video):
    @functools.cached_property
    def mean(self) -> float:
        return 2 * super().mean


@functools.singledispatch
def size(what: Any) -> Any:
    """Say how large."""
    return "unknown"


@size.register
def _(what: list) -> Any:  # type: ignore[type-arg]
    return sum(size(item) for item in what)


@size.register
def _(what: int) -> Any:
    return what


@size.register(Video)
def _(what: Video) -> Any:
    return len(what.frames)


@size.register
def _(what: collections.abc.Mapping) -> Any:  # type: ignore[type-arg]
    return size(list(what.values()))


def logged(function: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        logger.debug("called")
        return function(*args, **kwargs)

    return inner


@logged
def next_number(number: Number) -> Number:
    return Number(number + 1)


@contextlib.contextmanager
def three() -> Any:
    yield 3


@dataclasses.dataclass(slots=True)
class Point:
    x: int


@dataclasses.dataclass(frozen=True, slots=True)
class Box(Generic[T]):
    content: T


class Hidden(Point):
    __slots__ = ("__hidden",)

    def __init__(self) -> None:
        super().__init__(1)
        self.__hidden = 2

    def both(self) -> tuple[int, int]:
        return self.x, self.__hidden


class Colour(enum.Flag):
    RED = 1
    BLUE = 2


class Pair(NamedTuple):
    left: int
    right: int = 2


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def area(self) -> float:
        return 4.0


def enter_three() -> Any:
    with three() as value:
        return value


def slots_are_slots() -> bool:
    return not hasattr(Point(1), "__dict__") and Hidden.__slots__ is not None


@iter_importer_modules.register  # type: ignore[untyped-decorator]
def _(importer: Frame, prefix: str = "") -> Any:
    return "of the user's class", importer.size


def in_an_order_of_its_own() -> bool:
    numbers = list(range(1000))
    shuffle(numbers)
    return numbers != sorted(numbers) and choice(numbers) < 1000


CASES: dict[str, Callable[[], Any]] = {
    "cached_property": lambda: (Video(1, 2).mean, Longer(1, 2).mean),
    "lru_cache in a class": lambda: Video(1, 2).total(),
    "singledispatchmethod": lambda: (Video(1).add("a"), Video(1).add(1), Video(1).add(Frame())),
    "partialmethod": lambda: Video(5, 2).first(),
    "singledispatch": lambda: (size([1, [2, Video(1)]]), size({"a": 4}), size("a"), getattr(size, NAME), size.__doc__),
    "installed singledispatch": lambda: iter_importer_modules(Frame()),
    "NewType and ParamSpec": lambda: (next_number(Number(1)), getattr(P, NAME), Number.__name__),
    "contextmanager": enter_three,
    "slots": slots_are_slots,
    "hidden slots": lambda: Hidden().both(),
    "flag": lambda: (Colour.RED | Colour.BLUE).value,
    "named tuple": lambda: Pair(1),
    "abstract class": lambda: Square().area(),
    "Struct": lambda: HEADER.unpack(HEADER.pack(1, 2)),
    "weak dictionary": lambda: len(REMEMBERED),
    "SystemRandom": lambda: system_random.random() < 1,
    "hidden generator": in_an_order_of_its_own,
}
"""What returns the same here and there."""

BY_NAME: dict[str, Callable[[], bool]] = {
    "bound method": lambda: gauss is random.gauss,
    "its object": lambda: _inst is random._inst,
    "context": lambda: DefaultContext is decimal.DefaultContext,
    "registry": lambda: dispatch_table is copyreg.dispatch_table,
    "environment": lambda: environ is os.environ,
    "list": lambda: knownfiles is mimetypes.knownfiles,
    "path": lambda: path is sys.path,
    "streams": lambda: (stdout, stdin) == (sys.stdout, sys.stdin),
    "logger": lambda: logger is logging.getLogger("a.logger"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_runs_in_a_call(pool: JobPoolExecutor, name: str) -> None:
    assert pool.submit(CASES[name]).result(PATIENCE) == CASES[name]()


@pytest.mark.parametrize("name", BY_NAME)
def test_what_an_installed_module_holds_is_the_workers_own(
    pool: JobPoolExecutor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A library that another test imported may have replaced the list since this module was read.
    monkeypatch.setattr(sys, "path", path)
    assert pool.submit(BY_NAME[name]).result(PATIENCE) is True


def test_what_a_library_puts_in_the_place_of_a_list_of_sys_is_the_workers_own(
    pool: JobPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool.submit(BY_NAME["registry"]).result(PATIENCE)  # what modules hold has been looked at
    monkeypatch.setattr(sys, "path", replaced := list(sys.path))
    assert pool.submit(lambda: replaced is sys.path).result(PATIENCE)


def test_so_it_is_in_a_closure_and_in_a_default_value(pool: JobPoolExecutor) -> None:
    from random import gauss as draw

    assert pool.submit(lambda: draw is random.gauss).result(PATIENCE)
    assert pool.submit(lambda held=_inst: held is random._inst).result(PATIENCE)  # type: ignore[misc]
    assert pool.submit(functools.partial(_is_gauss, gauss)).result(PATIENCE)
    assert pool.submit(_is_gauss, gauss).result(PATIENCE)


def _is_gauss(function: Any) -> bool:
    return function is random.gauss


def test_a_table_that_is_an_argument_is_what_it_holds_here(
    pool: JobPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(responses, 299, "as it is here")
    assert pool.submit(lambda table: table[299], responses).result(PATIENCE) == "as it is here"
    assert pool.submit(lambda: 299 in responses).result(PATIENCE) is False


def test_an_implementation_that_is_registered_later_is_seen(pool: JobPoolExecutor) -> None:
    class Later:
        pass

    def of_later() -> Any:
        return size(Later())

    assert pool.submit(of_later).result(PATIENCE) == "unknown"
    size.register(Later, lambda what: "known")
    assert pool.submit(of_later).result(PATIENCE) == "known"


@pytest.mark.parametrize("made", [Point(1), Box(2), Pair(1), Hidden(), Colour.RED, Frame], ids=repr)
def test_instances_go_and_come_home(pool: JobPoolExecutor, made: Any) -> None:
    back = pool.submit(lambda value: value, made).result(PATIENCE)
    assert type(back) is type(made)
    assert back == made or vars(type(made)).get("__eq__") is None


def test_what_is_made_there_comes_home(pool: JobPoolExecutor) -> None:
    assert pool.submit(lambda: Point(7)).result(PATIENCE) == Point(7)
    assert pool.submit(Hidden).result(PATIENCE).both() == (1, 2)
    assert pool.submit(lambda: Box(Video(1, 3))).result(PATIENCE).content.mean == 2
    video = pool.submit(_with_mean, Video(1, 3)).result(PATIENCE)
    assert vars(video)["mean"] == 2


def test_a_registry_of_subclasses_sees_none_again_when_objects_come_home(pool: JobPoolExecutor) -> None:
    assert type(pool.submit(lambda: Plugin()).result(PATIENCE)) is Plugin
    assert Registered.kinds == [Plugin]


def _with_mean(video: Video) -> Video:
    assert video.mean
    return video
