"""Which batch system is meant, and which one is here."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from batch_steps import job_script

from jobpool.batch.base import BatchSystem
from jobpool.batch.local.system import Local
from jobpool.batch.registry import (
    NAMES,
    SYSTEMS,
    Entry,
    Machine,
    capabilities,
    detect,
    explainer,
    explainers,
    get,
    require,
    title,
)
from jobpool.batch.settings import OPTIONAL
from jobpool.model.command import Command, Completed
from jobpool.model.errors import BatchSystemUnavailable, ConfigError
from jobpool.model.site import Limits
from jobpool.testing.fake.dialects import FULL_SUITE, VARIABLE


@pytest.fixture(autouse=True)
def one_fake_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead to one of the fake clusters, of which there are several."""
    monkeypatch.setenv(VARIABLE, FULL_SUITE)


@pytest.mark.parametrize("name", SYSTEMS)
def test_known_systems(name: str, tmp_path: Path) -> None:
    system: BatchSystem = get(name, tmp_path)
    assert system.name == name


def test_local_keeps_its_records_in_the_pools_directory(tmp_path: Path) -> None:
    system = get("local", tmp_path)
    assert isinstance(system, Local)
    assert system.directory == tmp_path / "local"


def test_a_pool_loads_its_own_system_alone() -> None:
    for name, others in (("local", "jobpool.batch.slurm"), ("slurm", "jobpool.batch.local")):
        code = (
            "import sys; from pathlib import Path; from jobpool.batch import registry\n"
            f"registry.get({name!r}, Path()); print(any(module.startswith({others!r}) for module in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n", name


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_every_system_says_of_itself(name: str, tmp_path: Path) -> None:
    system = get(name, tmp_path)
    notices = system.notices(Limits())
    assert set(notices.signals) <= {"TERM", "INT", "USR1", "USR2"}
    assert notices.longest >= notices.after_delete >= 0
    assert system.cancel((), ()) == ()
    made = system.prepare(job_script(tmp_path, ["true"]), count=3, environment={})
    assert "test.sh" in made.files
    assert made.files["test.sh"].startswith("#!/bin/bash\n")
    assert (system.settings or set()) <= set(OPTIONAL)


def test_a_system_that_users_are_not_told_of_is_there_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = Entry(title="a practice cluster", commands=("sh",), module="jobpool.batch.local.system", listed=False)
    monkeypatch.setitem(SYSTEMS, "practice", entry)
    assert get("practice", tmp_path).name == "local"
    assert detect(Machine(str)) == "slurm"
    with pytest.raises(BatchSystemUnavailable) as caught:
        get("practise", tmp_path)
    assert "'practice'" not in str(caught.value)


def test_unknown_systems(tmp_path: Path) -> None:
    with pytest.raises(BatchSystemUnavailable, match=r"Did you mean 'slurm'\?.*'local', 'slurm'"):
        get("Slrum", tmp_path)
    with pytest.raises(BatchSystemUnavailable, match=r"no batch system named 'zzz'\. Known"):
        get("zzz", tmp_path)


def test_the_fake_cluster_is_neither_told_nor_detected() -> None:
    assert "fake" in SYSTEMS
    assert "fake" not in NAMES
    assert detect(Machine(lambda command: command if command.startswith("fake-") else None)) == "local"


def test_detect() -> None:
    def here(*commands: str) -> str:
        return detect(Machine(lambda command: f"/usr/bin/{command}" if command in commands else None))

    assert here() == "local"
    assert here("sbatch", "squeue", "scancel", "scontrol", "sinfo") == "slurm"
    # SLURM has a qsub of its own, for people who come from PBS.
    assert here("sbatch", "squeue", "scancel", "scontrol", "sinfo", "qsub", "pbsnodes") == "slurm"
    # A client package without its other half.
    assert here("qsub") == "local"


NO_CLUSTER = """scontrol: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host
scontrol: error: fetch_config: DNS SRV lookup failed
scontrol: error: _establish_config_source: failed to fetch config
scontrol: fatal: Could not establish a configuration source
"""


@pytest.mark.parametrize(
    ("returncode", "stderr", "system"),
    [
        (1, NO_CLUSTER, "local"),  # Debian's packages on a laptop
        (0, "", "slurm"),
        (1, "Slurmctld(primary) at host is DOWN", "slurm"),  # its commands work again when it is back
        (None, "scontrol: no answer in 10 s", "slurm"),
    ],
)
def test_slurms_packages_alone_are_no_cluster(returncode: int | None, stderr: str, system: str) -> None:
    asked: list[Command] = []

    def run(command: Command) -> Completed:
        asked.append(command)
        return Completed(command, returncode, stderr=stderr)

    assert detect(Machine(lambda command: command if command in SYSTEMS["slurm"].commands else None, run)) == system
    assert [command.argv for command in asked] == [("scontrol", "ping")]


def test_a_system_is_required_with_its_commands() -> None:
    require("local")
    require("slurm", Machine(lambda command: command))
    with pytest.raises(BatchSystemUnavailable, match=r"SLURM was asked for.*sbatch.*cannot be found") as caught:
        require("slurm", Machine(lambda command: None))
    assert "scheduler='local'" in str(caught.value)


def test_slurm_is_required_with_a_cluster() -> None:
    packages_alone = Machine(str, lambda command: Completed(command, 1, stderr=NO_CLUSTER))
    with pytest.raises(BatchSystemUnavailable, match="belongs to no cluster") as caught:
        require("slurm", packages_alone)
    assert "Could not establish a configuration source" in str(caught.value)


def test_a_lost_configuration_is_told_before_any_command_waits_for_it() -> None:
    def run(command: Command) -> Completed:
        raise AssertionError(f"{command.argv} would hang")

    commands = SYSTEMS["slurm"].commands
    variables = {"SLURM_CONF": "/gone/slurm.conf"}
    lost = Machine(lambda name: name if name in commands else None, run, variables, lambda path: False)
    for ask in (detect, partial(require, "slurm")):
        with pytest.raises(BatchSystemUnavailable, match=r"/gone/slurm\.conf") as caught:
            ask(lost)
        assert "unset SLURM_CONF" in str(caught.value)
    require("local", lost)


def test_what_explains_a_batch_system_is_its_own() -> None:
    assert explainer("slurm").explain_reason("Priority").startswith("Other jobs are before it")
    assert [name for name, found in explainers().items() if not found.reads_scripts] == ["local"]
    for name in ("local", "zzz"):
        assert explainer(name).explain_reason("Priority") == ""
        with pytest.raises(ConfigError, match="cannot be explained"):
            explainer(name).read_script("#!/bin/sh\n")


def test_a_name_of_a_log_tells_the_job_where_no_system_says_otherwise() -> None:
    found = explainer("zzz")
    assert found.job_of_log("jp-a-b-0123abcd-2-13[4].node-1") == ("jp-a-b-0123abcd-2", "13[4].node-1", None)
    assert found.job_of_log("other") is None


@pytest.mark.parametrize("name", NAMES)
def test_only_this_machine_is_shared_and_refuses_nothing(name: str) -> None:
    able = capabilities(name)
    assert (able.shares_machine, not able.refuses, not able.queues) == (name == "local",) * 3


def test_titles_are_those_that_people_write() -> None:
    assert (title("slurm"), title("sge"), title("zzz")) == ("SLURM", "Grid Engine", "zzz")


def test_nothing_of_a_batch_system_is_loaded_before_it_is_asked_for() -> None:
    code = (
        "import sys, jobpool.batch.registry as registry; registry.capabilities('local');"
        "print(*sorted(name for name in sys.modules if name.startswith('jobpool.batch.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert "jobpool.batch.local.system" in loaded
    assert not [name for name in loaded if name.startswith("jobpool.batch.slurm") or "explainer" in name]
