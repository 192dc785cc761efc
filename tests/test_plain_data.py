"""Records as plain data: what was taken apart is made again, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobpool.config import resolve
from jobpool.config.call_options import CallKind
from jobpool.model.call_options import CallOptions
from jobpool.model.request import Request, Retry
from jobpool.model.units import Duration, Memory
from jobpool.transport.packing import pack_plain, unpack_plain
from jobpool.transport.plain_data import as_plain, from_plain

KIND = CallKind(
    request=Request(cores=2, memory=Memory(5), walltime=Duration(60), licenses=("a:1", "b"), bind=None),
    max_workers=3,
    terms=CallOptions(timeout=Duration(1.5), retry=Retry(lost=0, memory_growth=1.5, max_memory="2 GiB")),
    own=False,
)


def travelled(data: Any) -> Any:
    return unpack_plain(pack_plain(data))


@pytest.mark.parametrize("kind", [KIND, replace(KIND, terms=CallOptions()), CallKind(Request(), 1)])
def test_a_kind_of_calls_survives_the_way(kind: CallKind) -> None:
    again = from_plain(CallKind, travelled(as_plain(kind)))
    assert again == kind
    assert again.key == kind.key


def test_types_that_are_numbers_with_units_are_so_again() -> None:
    request = from_plain(CallKind, travelled(as_plain(KIND))).request
    assert (str(request.memory), str(request.walltime)) == ("5 B", "1 min")


def test_all_settings_survive_the_way(tmp_path: Path) -> None:
    given = {"scheduler": "local", "max_workers": 2, "memory": "1 GiB", "environment": {"A": "b"}, "idle_timeout": None}
    settings = resolve.resolve({**given, "log_directory": tmp_path})
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
