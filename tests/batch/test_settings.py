"""Settings that a batch system has no word for."""

from __future__ import annotations

import pytest

from jobpool.batch.settings import OPTIONAL, refuse_others
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request


def test_settings_that_it_has_and_those_without_a_value_are_taken() -> None:
    refuse_others(Request(partition="long", gpus=1), ["partition", "gpus"], title="OAR")
    refuse_others(Request(), (), title="OAR")


def test_all_others_are_refused_at_once_each_with_the_nearest_that_it_has() -> None:
    asked = Request(qos="long", licenses=("x:1",), partition="p")
    with pytest.raises(ConfigError) as caught:
        refuse_others(asked, ["partition", "constraint"], title="Grid Engine")
    assert caught.value.problems == [
        "qos='long' cannot be used: Grid Engine has no such setting; the nearest that it has is partition=",
        "licenses=['x:1'] cannot be used: Grid Engine has no such setting; the nearest that it has is constraint=",
    ]


def test_where_nothing_is_near_it_is_to_be_left_out() -> None:
    with pytest.raises(ConfigError, match="no such setting; leave it out"):
        refuse_others(Request(job_skip=("--mem",)), (), title="HTCondor")


def test_the_table_names_settings_of_a_request() -> None:
    for name, near in OPTIONAL.items():
        assert {name, *near} <= set(Request.__dataclass_fields__)
