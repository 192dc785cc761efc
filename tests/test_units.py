from __future__ import annotations

import contextlib
import datetime
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.model.units import Duration, Memory

GiB = 2**30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8 GiB", 8 * GiB),
        ("8GiB", 8 * GiB),
        ("  8 gib ", 8 * GiB),
        ("8 GB", 8 * 10**9),
        ("1.5 GiB", 3 * GiB // 2),
        (".5 MB", 500_000),
        ("1. KiB", 1024),
        ("512 MiB", 2**29),
        ("3 TB", 3 * 10**12),
        ("100 B", 100),
        ("0.3 B", 1),
        ("9007199254740993 B", 2**53 + 1),
        (4096, 4096),
        (0, 0),
    ],
)
def test_a_size_is_read_exactly_and_rounded_up_to_a_byte(text: str | int, size: int) -> None:
    assert Memory.parse(text) == size


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("8GBB", "has the unknown unit 'GBB'"),
        ("8G", "is ambiguous: write '8 GiB' (binary, as batch systems count) or '8 GB' (decimal)"),
        ("1.5 m", "write '1.5 MiB'"),
        ("8", "has no unit"),
        ("", "is not a size"),
        ("lots", "is not a size"),
        ("-8 GiB", "is not a size"),
        ("8 GiB 3 MiB", "is not a size"),
        ("1e3 MiB", "is not a size"),
        ("9" * 400 + " GiB", "more than 8 EiB"),
        (-1, "cannot be negative"),
        (10**30, "more than 8 EiB"),
        (True, "text with a unit"),
        (1.5, "text with a unit"),
        (None, "text with a unit"),
    ],
)
def test_what_is_not_clearly_a_size_is_refused(value: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Memory.parse(value)  # type: ignore[arg-type]
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1000, "1000 B"),
        (1536, "1.5 KiB"),
        (8 * GiB, "8 GiB"),
        (8 * 10**9, "7.45 GiB"),
        (GiB - 1, "1 GiB"),
        (1000 * GiB, "1000 GiB"),
        (3 * 2**40, "3 TiB"),
    ],
)
def test_a_size_prints_with_the_largest_binary_unit(size: int, text: str) -> None:
    assert str(Memory(size)) == text
    assert repr(Memory(size)) == f"Memory('{text}')"


def test_mebibytes_are_rounded_up() -> None:
    assert [Memory(size).mebibytes for size in (0, 1, 2**20, 2**20 + 1)] == [0, 1, 1, 2]


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert Memory.parse(numpy.int64(4096)) == 4096
    assert Duration.parse(numpy.int32(90)) == 90.0
    assert Duration.parse(numpy.float32(0.5)) == 0.5


def test_units_travel() -> None:
    assert pickle.loads(pickle.dumps([Memory(5), Duration(5)])) == [Memory(5), Duration(5)]


@given(st.integers(0, 2**63))
def test_a_size_that_was_printed_is_read_back_within_the_printed_digits(size: int) -> None:
    printed = str(Memory(size))
    unit = Memory.parse("1 " + printed.split()[1])
    assert abs(Memory.parse(printed) - size) <= 0.0051 * unit + 1
    assert str(Memory.parse(printed)) == printed


@given(st.integers(0, 2**23), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]))
def test_a_whole_number_of_a_unit_survives_printing_exactly(count: int, unit: str) -> None:
    size = Memory.parse(f"{count} {unit}")
    if count < 1024:
        assert Memory.parse(str(size)) == size


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.binary())
def test_any_input_gives_a_size_or_a_value_error(value: object) -> None:
    try:
        size = Memory.parse(value)  # type: ignore[arg-type]
    except ValueError:
        return
    assert 0 <= size <= 2**63


ALMOST_A_QUANTITY = st.from_regex(
    r"\s*[0-9.]{0,30}\s*[a-zA-Z]{0,4}( [0-9]{1,3}-?[0-9:]{0,9} ?[a-z]{0,3})?", fullmatch=True
)


@given(ALMOST_A_QUANTITY)
def test_near_misses_raise_nothing_but_value_error(text: str) -> None:
    for kind in (Memory, Duration):
        with contextlib.suppress(ValueError):
            assert kind.parse(text) >= 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5h", 18000),
        ("5 hours", 18000),
        ("1h 30min", 5400),
        ("1h30m", 5400),
        ("90 min", 5400),
        ("1.5 h", 5400),
        ("2 d", 172800),
        ("1 week", 604800),
        ("30 s", 30),
        ("0.5s", 0.5),
        ("00:30:00", 1800),
        ("100:00:00", 360000),
        ("1-12:00:00", 129600),
        (" 5 h ", 18000),
        (90, 90),
        (1.5, 1.5),
        (datetime.timedelta(hours=2, milliseconds=500), 7200.5),
    ],
)
def test_a_time_is_read(value: str | float | datetime.timedelta, seconds: float) -> None:
    assert Duration.parse(value) == seconds


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("soon", "is not a time"),
        ("", "is not a time"),
        ("  ", "is not a time"),
        ("90", "has no unit"),
        ("5:00", "has no unit"),
        ("1:75:00", "has no unit"),
        ("1 h 30", "has no unit"),
        ("-5 h", "is not a time"),
        ("5 parsecs", "has the unknown unit 'parsecs'"),
        ("9" * 400 + " d", "more than a hundred years"),
        ("9" * 5000 + ":00:00", "more than a hundred years"),
        (10**400, "more than a hundred years"),
        (-1, "not negative"),
        (datetime.timedelta(seconds=-1), "not negative"),
        (math.inf, "must be finite"),
        (math.nan, "must be finite"),
        (True, "text with a unit"),
        (None, "text with a unit"),
    ],
)
def test_what_is_not_clearly_a_time_is_refused(value: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Duration.parse(value)  # type: ignore[arg-type]
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.25, "0.25 s"), (59.999, "1 min"), (90, "1 min 30 s"), (5400, "1 h 30 min"), (90000, "1 d 1 h")],
)
def test_a_time_prints_as_people_write_it(seconds: float, text: str) -> None:
    assert str(Duration(seconds)) == text


def test_a_time_in_the_grain_of_batch_systems_is_rounded_up() -> None:
    assert [Duration(seconds).minutes for seconds in (0, 1, 60, 60.5)] == [0, 1, 1, 2]
    assert [Duration(seconds).clock() for seconds in (0, 0.2, 5400, 360_000)] == [
        "00:00:00",
        "00:00:01",
        "01:30:00",
        "100:00:00",
    ]


@given(st.integers(0, 10**9))
def test_whole_seconds_survive_printing_exactly(seconds: int) -> None:
    assert Duration.parse(str(Duration(seconds))) == float(seconds)
    assert Duration.parse(Duration(seconds).clock()) == float(seconds)


@given(st.floats(0, 10**9))
def test_a_time_that_was_printed_is_read_back_within_a_second(seconds: float) -> None:
    printed = str(Duration(seconds))
    assert abs(Duration.parse(printed) - seconds) <= (0.0051 if seconds < 59 else 0.51)
    assert str(Duration.parse(printed)) == printed


@given(st.text() | st.integers() | st.floats() | st.timedeltas() | st.none() | st.booleans() | st.binary())
def test_any_input_gives_a_time_or_a_value_error(value: object) -> None:
    try:
        duration = Duration.parse(value)  # type: ignore[arg-type]
    except ValueError:
        return
    assert 0 <= duration < math.inf
