"""What a view of a pool changes, and what of it is refused."""

from __future__ import annotations

import pytest

from jobpool import ConfigError, Retry
from jobpool.config.call_options import CallKind
from jobpool.model.request import Request
from jobpool.model.units import Duration, Memory

OWN = CallKind(Request(cores=2, memory=Memory(2**30), workers_per_job=8, partition="long"), 16)


def test_what_is_not_changed_stays() -> None:
    view = OWN.changed({"walltime": "5h", "timeout": "10 min"}, system="slurm")
    assert view.request.walltime == 5 * 3600.0
    assert (view.request.cores, view.request.partition, view.request.workers_per_job) == (2, "long", 8)
    assert (view.max_workers, view.terms.timeout) == (16, Duration(600))
    again = view.changed({"expected_time": 60}, system="slurm")
    assert (again.terms.timeout, again.terms.expected_time) == (Duration(600), Duration(60))


def test_options_of_the_batch_system_may_differ() -> None:
    view = OWN.changed({"system_options": {"b": True, "a": "x"}}, system="slurm")
    assert view.request.system_options == (("a", "x"), ("b", "true"))
    assert view.key


def test_kinds_that_are_alike_have_one_key() -> None:
    one, other = (OWN.changed({"memory": text}, system="slurm") for text in ("2 GiB", "2048 MiB"))
    assert one.key == other.key
    assert one.key != OWN.changed({"memory": "2 GiB", "timeout": 1}, system="slurm").key
    assert OWN.key == ""


def test_a_larger_worker_is_alone_in_its_job() -> None:
    assert OWN.changed({"memory": "64 GiB"}, system="slurm").request.workers_per_job == 1
    assert OWN.changed({"memory": "64 GiB", "workers_per_job": 2}, system="slurm").request.workers_per_job == 2
    assert OWN.changed({"qos": "high"}, system="slurm").request.workers_per_job == 8


def test_on_this_machine_larger_workers_are_fewer() -> None:
    own = CallKind(Request(cores=1, workers_per_job=8), 8)
    view = own.changed({"cores": 4}, system="local")
    assert (view.max_workers, view.request.workers_per_job) == (2, 2)
    assert own.changed({"cores": 16}, system="local").max_workers == 1
    assert own.changed({"cores": 4, "max_workers": 3}, system="local").max_workers == 3


def test_all_problems_are_told_at_once() -> None:
    bad = {"core": 1, "memory": "8G", "timeout": 0, "expected_time": "soon", "retry": 3, "max_workers": 0, "name": "x"}
    with pytest.raises(ConfigError) as caught:
        OWN.changed(bad, system="slurm")
    text = str(caught.value)
    assert "did you mean cores?" in text
    assert all(f"{name}=" in text for name in bad)


@pytest.mark.parametrize("bad", [{"lost": -1}, {"crashed": 1.5}, {"memory_growth": 1}, {"max_memory": "8"}])
def test_a_retry_that_cannot_be_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Retry(**bad)  # type: ignore[arg-type]


def test_a_retry_may_be_written_as_users_write() -> None:
    assert Retry(memory_growth=1.5, max_memory="64 GiB").max_memory == Memory(64 * 2**30)
    assert Retry(max_memory="1 GiB") == Retry(max_memory=2**30)
