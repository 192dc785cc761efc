"""Rows of a map: what comes out is what went in, whatever it was."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.model.errors import NotPicklable
from jobpool.serialize.chunks import PAYLOAD, ROWS, Raised, Results, dumps_rows, loads_results, loads_rows

SMALL = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.binary(max_size=20))
ANY = st.one_of(SMALL, st.lists(SMALL, max_size=3), st.dictionaries(st.text(max_size=3), SMALL, max_size=3))


def packed(items: list[tuple[Any, ...]], most: int = ROWS) -> list[tuple[bytes, int]]:
    found = []
    for payload, count in dumps_rows(iter(items), most):
        assert isinstance(payload, bytes)
        found.append((payload, count))
    return found


@given(st.lists(st.tuples(ANY, ANY), max_size=600), st.integers(1, ROWS))
def test_arguments_arrive_in_their_order(items: list[tuple[Any, ...]], most: int) -> None:
    payloads = packed(items, most)
    assert all(0 < count <= most for _, count in payloads)
    rows = [loads_rows(payload)[place] for payload, count in payloads for place in range(count)]
    assert rows == items


@given(st.lists(st.one_of(ANY, st.builds(ValueError, st.text())), max_size=50))
def test_results_and_exceptions_arrive_in_their_order(values: list[Any]) -> None:
    results = Results()
    for value in values:
        if isinstance(value, Exception):
            results.add_exception(value)
        else:
            results.add(value)
    found = loads_results(results.take())
    assert [repr(value.error) if isinstance(value, Raised) else value for value in found] == [
        repr(value) if isinstance(value, Exception) else value for value in values
    ]
    assert loads_results(results.take()) == []


def test_calls_share_no_object_that_one_of_them_could_change() -> None:
    shared = [0]
    ((payload, count),) = packed([(shared,), (shared,)])
    rows = loads_rows(payload)
    assert count == 2
    assert rows[0][0] is not rows[1][0]


def test_a_result_is_as_it_was_when_its_call_ended() -> None:
    results, state = Results(), [1]
    results.add(state)
    state.append(2)
    results.add(state)
    assert loads_results(results.take()) == [[1], [1, 2]]


@pytest.mark.parametrize("large", [b"x" * PAYLOAD, "x" * PAYLOAD, [b"x" * PAYLOAD]], ids=["bytes", "str", "list"])
def test_large_arguments_travel_one_by_one(large: Any) -> None:
    assert [count for _, count in packed([(large,)] * 5)] == [1] * 5


def test_what_cannot_travel_costs_its_own_place() -> None:
    found = list(dumps_rows(iter([(1,), (threading.Lock(),), (3,)])))
    assert [count for _, count in found] == [1, 1, 1]
    assert isinstance(found[1][0], NotPicklable)
    assert "argument 1, of type _thread.lock" in str(found[1][0])


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


def test_what_cannot_be_made_again_costs_its_own_place() -> None:
    results = Results()
    results.values.append(1)
    results.add(Bomb())
    results.values.append(3)
    first, bad, last = loads_results(results.take())
    assert (first, last) == (1, 3)
    assert isinstance(bad, Raised)
    assert "invalid literal" in str(bad.error)


def test_small_plain_items_cost_a_few_bytes_each() -> None:
    ((payload, count),) = packed([(number,) for number in range(ROWS)])
    assert count == ROWS
    assert len(payload) < 8 * ROWS < len(pickle.dumps([pickle.dumps((number,)) for number in range(ROWS)]))
