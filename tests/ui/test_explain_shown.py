"""``jobpool explain``, and the picture of a node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import jobpool
from jobpool.cli.main import ExitCode, main
from jobpool.model.request import Request
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Memory
from jobpool.show.node_picture import as_svg, as_text_lines
from jobpool.site.explain import OnNode, explain
from jobpool.testing import FakeCluster

GIB = 2**30


def node(cores: int = 8, threads: int = 2, *, partition: str = "p", **asked: int | Memory) -> OnNode:
    shape = NodeShape(count=1, cores=cores, threads_per_core=threads, memory=Memory(64 * GIB))
    limits = Limits(partitions=(Partition(name=partition, default=True, nodes=(shape,)),), confined=True)
    (found,) = explain(
        Request(**asked),  # type: ignore[arg-type]
        limits,
        system="slurm",
        directives=(),
        max_workers=99,
    ).nodes
    return found


def test_a_node_with_two_workers() -> None:
    assert as_text_lines(node(cores=8)) == [
        "core       0 1 2 3 4 5 6 7",
        "thread 0   A . . . . . . .",
        "thread 1   a . . . . . . .",
    ]
    lines = as_text_lines(node(8, 2, memory=Memory(16 * GIB), workers_per_job=2))
    assert lines[1:] == [
        "thread 0   A B . . . . . .",
        "thread 1   a b . . . . . .",
        "memory     [AAAAAAAAAAAABBBBBBBBBBBB........................]",
    ]


def test_both_threads_and_no_threads() -> None:
    assert as_text_lines(node(4, 2, threads_per_core=2))[1:] == ["thread 0   A . . .", "thread 1   A . . ."]
    assert as_text_lines(node(4, 1, workers_per_job=3))[1:] == ["thread 0   A B C ."]


def test_a_large_node_is_drawn_in_lines_of_32_cores() -> None:
    lines = as_text_lines(node(128, 1, workers_per_job=100))
    assert len([line for line in lines if line.startswith("core")]) == 4
    assert max(map(len, lines)) <= 11 + 32 * 4


def test_the_picture_is_svg_with_a_box_for_each_thread() -> None:
    root = ElementTree.fromstring(as_svg(node(8, 2, partition="<long> & co", workers_per_job=2, memory=Memory(GIB))))
    boxes = root.findall("{http://www.w3.org/2000/svg}rect")
    # The ground, the threads; of memory: the whole, the job's, and each worker's.
    assert len(boxes) == 1 + 8 * 2 + 2 + 2
    pale = [box for box in boxes if box.get("fill-opacity")]
    assert len(pale) == 2
    texts = [text.text for text in root.findall("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "node of partition <long> & co: 8 cores with 2 hardware threads, 64 GiB"
    assert texts[1:3] == ["A", "B"]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with FakeCluster(tmp_path / "fake") as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        yield cluster


def test_the_command(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    keywords = ["scheduler=slurm", "cores=3", "walltime=5h", "memory=8 GiB", "partition=auto"]
    assert main(["explain", *keywords]) == ExitCode.DONE
    out, _ = capsys.readouterr()
    lines = out.splitlines()
    assert any(line.split()[:1] == ["--cpus-per-task=3"] and "3 whole core(s)" in line for line in lines)
    assert "--partition=long" in out
    assert "thread 0    A  A  A  .  .  .  .  .  .  .  .  .  .  .  .  ." in lines
    assert any(line.startswith("CPUs it may run on    6: 3 core(s), of its own") for line in lines)
    assert any(line.startswith("deadline              5 h after") for line in lines)


def test_json(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json", "scheduler=slurm", "cores=3"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["nodes"][0]["job"]["cpus"] == 6
    assert found["nodes"][0]["call"]["threads"] == 3


def test_in_a_notebook_it_is_a_picture(cluster: FakeCluster) -> None:
    found = jobpool.explain(scheduler="slurm", cores=2, job_extra=["--comment=<b>"])
    page = found._repr_html_()
    assert "<svg" in page
    assert "--comment=&lt;b&gt;" in page
    assert "<b>" not in page.replace("<b>Note:", "").replace("<b>Problem:", "")


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "scheduler=local", "max_workers=1"]) == ExitCode.DONE
    assert "On a node of partition 'this machine'" in capsys.readouterr().out
