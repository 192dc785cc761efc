from __future__ import annotations

import copy
import pickle
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.model import errors
from jobpool.model.errors import ConfigError, JobPoolError, from_data

KINDS: list[type[JobPoolError]] = [getattr(errors, name) for name in errors.__all__ if name != "from_data"]

EVIDENCE: dict[str, Any] = {
    "job": "4711_3",
    "node": "n1",
    "words": "OUT_OF_MEMORY 0:125",
    "signal": 9,
    "exit_code": 0,
    "limit": "8 GiB",
    "used": "8.1 GiB",
    "log": "/logs/4711_3.log",
    "tail": "one\ntwo",
    "advice": "ask for 10 GiB",
}


def test_the_tree_is_the_one_that_is_drawn() -> None:
    assert errors.__doc__ is not None
    drawn = [line.split("──")[-1].split()[0] for line in errors.__doc__.splitlines() if "── " in line]
    assert sorted([*drawn, "JobPoolError"]) == sorted(kind.__name__ for kind in KINDS)


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        ("ConfigError", ValueError),
        ("BatchSystemUnavailable", ValueError),
        ("PoolBroken", BrokenProcessPool),
        ("JobsFailed", BrokenExecutor),
        ("InitializerFailed", BrokenExecutor),
        ("CallCrashed", BrokenProcessPool),
        ("CallOutOfMemory", MemoryError),
        ("CallTimedOut", TimeoutError),
        ("JobLost", BrokenProcessPool),
        ("NotPicklable", pickle.PicklingError),
        ("NotUnpicklable", BrokenProcessPool),
    ],
)
def test_code_written_for_the_standard_library_catches_them(kind: str, standard: type[Exception]) -> None:
    assert issubclass(getattr(errors, kind), standard)


def same(one: JobPoolError, other: JobPoolError) -> bool:
    return (type(one), one.args, one.as_data(), str(one)) == (type(other), other.args, other.as_data(), str(other))


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_survives_every_way_of_travelling(kind: type[JobPoolError]) -> None:
    error = kind("it went wrong", **EVIDENCE)
    assert error.args == ("it went wrong",)
    assert same(pickle.loads(pickle.dumps(error)), error)
    assert same(copy.copy(error), error)
    assert same(copy.deepcopy(error), error)
    assert same(from_data(error.as_data()), error)
    assert same(from_data(list(error.as_data())), error)  # as it comes out of JSON or msgpack


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_reads_as_attributes_and_what_is_not_known_as_none(kind: type[JobPoolError]) -> None:
    error = kind("it went wrong", job="4711", exit_code=0)
    assert (error.job, error.exit_code, error.node) == ("4711", 0, None)
    with pytest.raises(AttributeError, match="no attribute 'nodes'"):
        _ = error.nodes  # type: ignore[attr-defined]


def test_the_message_has_the_evidence_then_the_log_then_the_advice() -> None:
    assert str(JobPoolError("it went wrong", **EVIDENCE)).splitlines() == [
        "it went wrong",
        "  job: 4711_3",
        "  node: n1",
        "  the batch system says: OUT_OF_MEMORY 0:125",
        "  signal: 9",
        "  exit code: 0",
        "  limit: 8 GiB",
        "  used: 8.1 GiB",
        "  log: /logs/4711_3.log",
        "  the log's last lines:",
        "    | one",
        "    | two",
        "  what to do: ask for 10 GiB",
    ]


def test_what_is_not_known_takes_no_room() -> None:
    error = JobPoolError("it went wrong", job=None, node="", problems=(), signal=0)
    assert str(error) == "it went wrong\n  signal: 0"
    assert error.details == {"signal": 0}


def test_an_exception_without_details_is_its_message() -> None:
    assert str(JobPoolError("it went wrong")) == "it went wrong"


def test_one_problem_is_the_message_and_many_are_a_list() -> None:
    one = ConfigError.from_problems(["cores=0 cannot be used"])
    assert str(one) == "cores=0 cannot be used"
    many = ConfigError.from_problems(["a", "b"])
    assert str(many) == "2 settings cannot be used:\n  - a\n  - b"
    assert (one.problems, many.problems) == (["cores=0 cannot be used"], ["a", "b"])
    assert [ConfigError("a").problems, ConfigError("a", problems=None).problems] == [["a"], ["a"]]
    assert type(errors.BatchSystemUnavailable.from_problems(["a"])) is errors.BatchSystemUnavailable


@pytest.mark.parametrize("name", ["NoSuchError", "pickle", "from_data", "Sequence", "ValueError", ""])
def test_an_unknown_class_name_becomes_the_base(name: str) -> None:
    error = from_data((name, "it went wrong", {"job": "1"}))
    assert type(error) is JobPoolError
    assert (error.message, error.job) == ("it went wrong", "1")


def test_an_exception_that_was_never_initialised_can_be_looked_at() -> None:
    # Debuggers and pickle do.
    error = JobPoolError.__new__(JobPoolError)
    assert error.job is None
    with pytest.raises(AttributeError):
        _ = error.details


@given(
    st.sampled_from(KINDS),
    st.text(),
    st.dictionaries(st.sampled_from([*EVIDENCE, "problems"]), st.none() | st.integers() | st.text()),
)
def test_any_evidence_travels(kind: type[JobPoolError], message: str, details: dict[str, Any]) -> None:
    error = kind(message, **details)
    assert same(pickle.loads(pickle.dumps(error)), error)
    assert str(error).startswith(message)
