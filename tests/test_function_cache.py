"""A function's pickle is made again exactly when it would be another one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobpool.serialize import pickling

number = 1
mutable = [1]


def helper(value: int) -> int:
    return value + number


def other_helper(value: int) -> int:
    return -value


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    variables = globals()
    before = {name: variables[name] for name in ("number", "helper", "mutable")}
    yield
    variables.update(before)


def use_helper(value: int) -> str:
    return json.dumps(helper(value))


def use_mutable() -> int:
    return len(mutable)


def made_with(value: Any) -> Callable[[], Any]:
    def made() -> Any:
        return value

    return made


def made_again(function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a second pickle of the function is made."""
    with monkeypatch.context() as patch:
        count: list[Any] = []
        real = vars(pickling)["by_value"]

        def counted(*args: Any) -> Any:
            count.append(args)
            return real(*args)

        patch.setattr(pickling, "by_value", counted)
        pickling.dumps_function(function)
    return bool(count)


def test_a_function_that_uses_constants_is_pickled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made_again(use_helper, monkeypatch)  # imports what it needs; with other modules here, it would be pickled again
    first = pickling.dumps_function(use_helper)
    assert not made_again(use_helper, monkeypatch)
    assert pickling.dumps_function(use_helper) == first


def value_of(function: Callable[..., Any], *args: Any) -> Any:
    return pickling.loads_function(pickling.dumps_function(function)[1])(*args)


def test_a_change_is_seen_wherever_it_is() -> None:
    variables = globals()
    assert value_of(use_helper, 1) == "2"
    variables["number"] = 10  # of a function that it uses
    assert value_of(use_helper, 1) == "11"
    variables["helper"] = other_helper
    assert value_of(use_helper, 1) == "-1"


def test_what_changes_in_itself_is_pickled_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert value_of(use_mutable) == 1
    mutable.append(2)
    try:
        assert value_of(use_mutable) == 2
        assert made_again(use_mutable, monkeypatch)
    finally:
        mutable.pop()


def test_a_class_of_the_users_may_change_in_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Config:
        factor = 1

    def scaled() -> int:
        return Config.factor

    assert value_of(scaled) == 1
    Config.factor = 2
    assert value_of(scaled) == 2


@pytest.mark.parametrize("value", [1, True, "text", (1, ("a", None)), len, json, json.dumps, dict])
def test_constants_in_a_closure(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    function = made_with(value)
    pickling.dumps_function(function)
    assert not made_again(function, monkeypatch)


@pytest.mark.parametrize("value", [[1], {}, object(), ([],), "x" * 100_000])
def test_what_may_change_or_is_large_in_a_closure(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    function = made_with(value)
    pickling.dumps_function(function)
    assert made_again(function, monkeypatch)


def test_a_closure_that_is_assigned_anew() -> None:
    def outer() -> tuple[Callable[[], int], Callable[[int], None]]:
        value = 1

        def get() -> int:
            return value

        def put(new: int) -> None:
            nonlocal value
            value = new

        return get, put

    get, put = outer()
    assert value_of(get) == 1
    put(True)
    assert value_of(get) is True


def test_defaults_and_attributes() -> None:
    def function(value: int = 1) -> Any:
        return value, getattr(function, "mark", None)

    assert value_of(function) == (1, None)
    function.__defaults__ = (2,)
    assert value_of(function)[0] == 2
    function.mark = "here"  # type: ignore[attr-defined]
    assert value_of(function) == (2, "here")
