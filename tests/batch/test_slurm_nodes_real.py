"""What nodes can: features, sizes and whole nodes, compared with what a real SLURM refuses and gives."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import jobpool
from jobpool.batch.slurm.system import Slurm
from jobpool.commands.shell import run_now
from jobpool.host.user import user_name
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Memory
from jobpool.site.check import check
from jobpool.site.explain import OnNode
from jobpool.testing import SlurmLab, wait_until
from jobpool.tools.explain_script import explain_script

# The lab of all tests says, or fails, where there is no SLURM.
pytestmark = pytest.mark.usefixtures("slurm_lab")
slurm = Slurm()


def make_lab(directory: Path, **settings: str) -> SlurmLab:
    return SlurmLab(directory, nodes=2, gpus=0, settings={"MaxNodeCount": "9", **settings})


def add_nodes(lab: SlurmLab) -> None:
    """Give a node features, and add one that is powered down: SLURM compares requests with it all the same."""
    lab.run("scontrol", "update", f"node={lab.nodes[0]}", "availablefeatures=fast,ib", "activefeatures=fast,ib")
    shape = ("Sockets=1", "CoresPerSocket=4", "ThreadsPerCore=2", "RealMemory=128000", "Feature=old,large")
    lab.run("scontrol", "create", "NodeName=away", *shape, "State=CLOUD", "NodeAddr=127.0.0.1", "Port=1")
    lab.run("scontrol", "create", "PartitionName=mixed", f"Nodes={lab.nodes[0]},away", "MaxTime=60", "State=UP")
    lab.run("scontrol", "update", "partition=long", "oversubscribe=exclusive")


@pytest.fixture(scope="module")
def lab(slurm_lab: SlurmLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    with make_lab(tmp_path_factory.mktemp("lab-nodes"), PrivateData="cloud") as lab:
        add_nodes(lab)
        yield lab


def limits_now() -> Limits:
    return slurm.parse_limits([run_now(command) for command in slurm.limits(user_name())])


CONSTRAINTS = [
    "fast", "old", "nowhere", "fast&ib", "fast,ib", "fast&old", "fast|old", "fast|nowhere", "fast|ib&old",
    "old&ib|fast", "fast|(ib&old)", "(fast|ib)&old", "fast*1", "fast*2", "[fast|old]", "[fast|old]&ib", "[fast*2]",
    "[fast*1&old*1]", "[(fast&ib)*1]", "fast*1&ib*1", "fast&(old|ib)",
]  # fmt: skip
SIZES = [(1, 1), (4, 100), (8, 100)]


def submit(lab: SlurmLab, asked: Request) -> subprocess.CompletedProcess[str]:
    lines = [f"#SBATCH {directive.text}" for directive in slurm.directives(asked, Limits())]
    return lab.run("sbatch", "--output=/dev/null", input="\n".join(["#!/bin/sh", *lines, "true", ""]), check=False)


def test_sbatch_refuses_what_the_check_refuses(lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab]) -> None:
    enter_lab(lab)
    limits = limits_now()
    assert limits.unknown == ()
    agreed = []
    for constraint in [None, *CONSTRAINTS]:
        for cores, gigabytes in SIZES:
            memory = Memory(gigabytes * 2**30)
            asked = Request(cores=cores, memory=memory, partition="mixed", constraint=constraint)
            done = submit(lab, asked)
            problems = check(asked, limits)
            assert bool(problems) == bool(done.returncode), (asked, done.stderr, problems)
            agreed.append(not problems)
    assert 10 < sum(agreed) < len(agreed) - 10


def test_nodes_that_sinfo_hides_are_not_taken_for_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make_lab(tmp_path / "lab") as lab:
        add_nodes(lab)
        monkeypatch.setenv("SLURM_CONF", str(lab.conf))
        limits = limits_now()
        asked = Request(memory=Memory(100 * 2**30), partition="mixed", constraint="old")
        lab.run(
            "sbatch",
            "--output=/dev/null",
            "--wrap=true",
            *(directive.text for directive in slurm.directives(asked, Limits())),
        )
        assert check(asked, limits) == []
        assert "nodes of partition 'mixed': sinfo shows 1 of 2, so none of them is compared" in limits.unknown


def charged(lab: SlurmLab, *options: str) -> tuple[int, int]:
    """Run a job and return its CPUs and MiB, as SLURM accounts them."""
    id = lab.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 60", *options).stdout.strip()

    def told() -> str:
        return lab.run("scontrol", "--oneliner", "show", "job", id).stdout

    assert wait_until(lambda: "JobState=RUNNING" in told(), 30), told()
    found = re.search(r" TRES=cpu=(\d+),mem=([\d.]+)([MG])", told())
    lab.run("scancel", "--signal=KILL", id)
    assert wait_until(lambda: "JobState=RUNNING" not in told(), 30)
    assert found is not None
    return int(found[1]), round(float(found[2]) * {"M": 1, "G": 1024}[found[3]])


def agrees(lab: SlurmLab, **keywords: object) -> OnNode:
    explained = jobpool.explain(scheduler="slurm", **keywords)
    node = explained.nodes[0]
    cpus, mebibytes = charged(lab, *(text for text, _ in explained.directives))
    assert node.job.cpus == cpus
    assert node.job.memory is not None
    assert node.job.memory.mebibytes == pytest.approx(mebibytes, rel=0.02)  # it prints two digits
    (note,) = [note for note in explained.notes if "whole node" in note]
    assert "16 cores are taken and charged" in note
    assert "workers_per_job=16 shares a node" in note
    return node


def test_a_partition_that_gives_whole_nodes(lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab]) -> None:
    enter_lab(lab)
    assert agrees(lab, partition="long", cores=1, memory="1 GiB").job.cores == 16
    assert agrees(lab, partition="long", cores=1).call.cores == 1
    script = "#!/bin/sh\n#SBATCH --cpus-per-task=1 --mem=1G --partition=long -t 5\ntrue\n"
    assert explain_script(script).nodes[0].job.cpus == 32


def test_a_site_that_gives_whole_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = {"SelectType": "select/linear", "SelectTypeParameters": "CR_Memory"}
    with SlurmLab(tmp_path / "lab", nodes=1, gpus=0, settings=linear) as lab:
        monkeypatch.setenv("SLURM_CONF", str(lab.conf))
        agrees(lab, cores=1, memory="1 GiB")
        agrees(lab, cores=1)
