"""Settings that a batch system has no word for."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobpool.batch import registry
from jobpool.batch.settings import OPTIONAL, refuse_others
from jobpool.config.files import Places
from jobpool.config.resolve import resolve
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.site import Limits


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


@pytest.mark.parametrize("system", ["slurm", "sge", "lsf", "htcondor", "oar"])
def test_one_text_names_several_nodes_with_commas_on_every_batch_system(system: str, tmp_path: Path) -> None:
    def written(*exclude: str) -> list[str]:
        return [line.text for line in registry.get(system, tmp_path).directives(Request(exclude=exclude), Limits())]

    assert written("n7,n8") == written("n7", "n8") != written("n7")


@pytest.mark.parametrize("system", ["slurm", "pbs", "sge", "lsf", "oar"])
def test_one_text_names_several_licences_with_commas_on_every_batch_system(system: str, tmp_path: Path) -> None:
    def written(*licenses: str) -> list[str]:
        return [line.text for line in registry.get(system, tmp_path).directives(Request(licenses=licenses), Limits())]

    assert written("a:1,b:2") == written("a:1", "b:2") != written("a:1")


@pytest.mark.parametrize("system", ["pbs", "sge", "lsf", "oar"])
def test_a_licence_with_an_odd_count_is_refused(system: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a:many"):
        registry.get(system, tmp_path).directives(Request(licenses=("a:many",)), Limits())


@pytest.mark.parametrize("system", ["lsf", "htcondor", "oar"])
def test_nodes_in_brackets_are_refused_where_they_would_name_no_node(system: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exclude"):
        registry.get(system, tmp_path).directives(Request(exclude=("n[1-3]",)), Limits())


def test_amounts_that_a_site_may_count_for_the_whole_job_are_not_refused_unseen(tmp_path: Path) -> None:
    settings = resolve({"scheduler": "sge", "cores": 2, "gpus": 1}, environment={}, cwd=tmp_path, places=Places())
    assert settings.request.gpus == 1
