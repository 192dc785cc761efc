"""Records as plain data: what was taken apart is made again, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobpool import config, wire
from jobpool.kinds import Kind
from jobpool.model import Request, Retry, Terms
from jobpool.plain import as_plain, from_plain
from jobpool.units import Duration, Memory

KIND = Kind(
    request=Request(cores=2, memory=Memory(5), walltime=Duration(60), licenses=("a:1", "b"), bind=None),
    max_workers=3,
    terms=Terms(timeout=Duration(1.5), retry=Retry(lost=0, memory_growth=1.5, max_memory="2 GiB")),
    own=False,
)


def travelled(data: Any) -> Any:
    return wire.Unpacker().feed(b"".join(wire.pack(data)))[0]


@pytest.mark.parametrize("kind", [KIND, replace(KIND, terms=Terms()), Kind(Request(), 1)])
def test_a_kind_of_calls_survives_the_way(kind: Kind) -> None:
    again = from_plain(Kind, travelled(as_plain(kind)))
    assert again == kind
    assert again.key == kind.key


def test_types_that_are_numbers_with_units_are_so_again() -> None:
    request = from_plain(Kind, travelled(as_plain(KIND))).request
    assert (str(request.memory), str(request.walltime)) == ("5 B", "1 min")


def test_all_settings_survive_the_way(tmp_path: Path) -> None:
    given = {"scheduler": "local", "max_workers": 2, "memory": "1 GiB", "environment": {"A": "b"}, "idle_timeout": None}
    settings = config.resolve({**given, "log_directory": tmp_path})
    assert from_plain(type(settings), travelled(as_plain(settings))) == settings


def changed(**values: Any) -> Any:
    return {**as_plain(Request()), **values}


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"cos\nsystem\n(S'true'\ntR.",
        [],
        {},
        changed(more=1),
        changed(cores="2"),
        changed(cores=True),
        changed(cores=None),
        changed(bind="everything"),
        changed(setup="rm"),
        changed(setup=[1]),
        changed(memory=1.5),
        changed(walltime="long"),
    ],
)
def test_what_is_no_such_record_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="is no"):
        from_plain(Request, data)


def test_what_is_no_plain_data_is_not_sent() -> None:
    with pytest.raises(TypeError, match="no plain data"):
        as_plain(object())
