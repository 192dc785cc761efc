"""Which batch system is taken where the commands of several are installed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from jobpool import JobPoolExecutor, check
from jobpool.batch import registry
from jobpool.batch.base import Machine, NoCluster
from jobpool.batch.registry import SYSTEMS, Entry, Found, detect, find
from jobpool.cli.main import main
from jobpool.model.errors import BatchSystemUnavailable
from jobpool.testing import FakeCluster
from jobpool.testing.fake.dialects import DIALECTS, FULL_SUITE

NONE_HERE = NoCluster("it finds no master", words="no master", advice="")


@dataclass
class Presence:
    """What a system says of a machine, and how often it was asked."""

    says: NoCluster | BatchSystemUnavailable | None
    asked: int = 0

    def presence(self, machine: Machine) -> NoCluster | None:
        self.asked += 1
        if isinstance(self.says, BatchSystemUnavailable):
            raise self.says
        return self.says


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Presence]:
    """Three systems, two of which share a command; what each says of the machine can be changed."""
    systems = {name: Presence(None) for name in ("first", "second", "third")}
    commands = {"first": ("f-sub",), "second": ("qsub", "s-conf"), "third": ("qsub", "t-nodes")}
    table: dict[str, Entry] = {"local": SYSTEMS["local"]}
    for name, presence in systems.items():
        module = ModuleType(f"made_up_{name}")
        module.make = lambda directory, found=presence: found  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        table[name] = Entry(title=name.title(), commands=commands[name], module=module.__name__)
    monkeypatch.setattr(registry, "SYSTEMS", table)
    return systems


def on(*commands: str) -> Machine:
    return Machine(lambda command: f"/usr/bin/{command}" if command in commands else None)


EVERYTHING = on("f-sub", "qsub", "s-conf", "t-nodes")


def test_where_one_is_installed_it_alone_is_asked_and_nothing_is_told(installed: dict[str, Presence]) -> None:
    assert find(on("f-sub", "qsub")) == Found("first")
    assert find(on("qsub", "t-nodes")) == Found("third")
    assert [system.asked for system in installed.values()] == [1, 0, 1]
    assert find(on("qsub")) == Found("local")


def test_the_one_with_a_cluster_is_taken_and_the_reason_told(installed: dict[str, Presence]) -> None:
    installed["first"].says = installed["third"].says = NONE_HERE
    found = find(EVERYTHING)
    assert found.name == detect(EVERYTHING) == "second"
    assert found.why == (
        "scheduler='auto' took Second: there is no cluster behind the commands of others (First: it finds no master)"
    )


def test_commands_of_others_without_a_cluster_are_no_choice(installed: dict[str, Presence]) -> None:
    installed["second"].says = installed["third"].says = NONE_HERE
    assert find(EVERYTHING) == Found("first")


def test_of_two_clusters_the_first_is_taken_and_the_other_named(installed: dict[str, Presence]) -> None:
    installed["second"].says = NONE_HERE
    found = find(EVERYTHING)
    assert found.name == "first"
    assert found.why == "scheduler='auto' took First: there is also Third (scheduler='third' takes it)"


def test_without_any_cluster_each_reason_is_told(installed: dict[str, Presence]) -> None:
    for system in installed.values():
        system.says = NONE_HERE
    found = find(on("f-sub", "qsub", "s-conf"))
    assert found.name == "local"
    assert "no cluster behind them, and runs the work on this machine" in found.why
    assert "(First: it finds no master; Second: it finds no master)" in found.why


def test_one_that_cannot_be_used_does_not_hide_a_cluster_after_it(installed: dict[str, Presence]) -> None:
    unusable = BatchSystemUnavailable("its commands are of another make", words="qstat 6.1", advice="use another")
    installed["first"].says = unusable
    found = find(EVERYTHING)
    assert found.name == "second"
    assert "(First: its commands are of another make)" in found.why
    assert "scheduler='third' takes it" in found.why
    installed["first"].says, installed["second"].says = None, unusable
    assert find(on("f-sub", "qsub", "s-conf")) == Found("first")


def test_without_any_cluster_one_that_cannot_be_used_is_not_passed_over(installed: dict[str, Presence]) -> None:
    installed["first"].says = installed["third"].says = NONE_HERE
    installed["second"].says = BatchSystemUnavailable("its configuration is lost")
    with pytest.raises(BatchSystemUnavailable, match="its configuration is lost"):
        find(EVERYTHING)


def test_what_was_taken_is_told_once_by_pools_and_always_by_config_and_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JOBPOOL_SCHEDULER", "auto")
    entry = SYSTEMS["fake"]
    listed = Entry(title=entry.title, commands=entry.commands, module=entry.module)
    # SLURM's commands, as Debian's packages bring them, on a machine without a cluster of it; and a cluster beside.
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in SYSTEMS["slurm"].commands:
        program = programs / name
        program.write_text(
            "#!/bin/sh\necho 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1\n"
        )
        program.chmod(0o755)
    with FakeCluster(tmp_path / "fake", dialect=DIALECTS[FULL_SUITE]) as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PATH", f"{programs}:{cluster.environment['PATH']}")
        monkeypatch.setenv("JOBPOOL_ADDRESSES", "127.0.0.1")
        monkeypatch.delenv("SLURM_CONF", raising=False)
        monkeypatch.setitem(SYSTEMS, "fake", listed)
        said = "took the fake cluster: there is no cluster behind the commands of others (SLURM: its commands find no"
        assert any(said in note for note in check().notes)
        for times in (1, 0):
            with JobPoolExecutor(1) as pool:
                assert pool.settings.system == "fake"
                assert pool.submit(abs, -2).result(60) == 2
            assert capfd.readouterr().err.count(said) == times
        for _ in range(2):
            assert main(["config"]) == 0
            shown = capfd.readouterr()
            assert said in shown.err
            assert "auto: fake" in shown.out
