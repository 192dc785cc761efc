"""A batch system whose commands run on another host makes the same commands, for that host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from batch_steps import job_script

from jobpool.batch.base import Submission, Tracked
from jobpool.batch.elsewhere import at, commands_at
from jobpool.batch.registry import get
from jobpool.batch.slurm.system import Slurm
from jobpool.model.command import Command
from jobpool.model.job import JobId
from jobpool.model.site import Limits

JOBS = [Tracked("jp-a-1", {0: JobId("7")}, 1)]


def test_each_command_is_for_that_host(tmp_path: Path) -> None:
    here, there = Slurm(), get("slurm", tmp_path, host="login1")

    def moved(commands: tuple[Command, ...]) -> tuple[Command, ...]:
        return tuple(replace(command, host="login1") for command in commands)

    assert there.poll(JOBS) == moved(here.poll(JOBS)) != here.poll(JOBS)
    assert there.account(JOBS) == moved(here.account(JOBS))
    assert there.starts(JOBS) == moved(here.starts(JOBS))
    assert there.cancel(JOBS, [JobId("9")]) == moved(here.cancel(JOBS, [JobId("9")]))
    assert there.limits("alice") == moved(here.limits("alice"))
    assert there.find("jp-a-1") == ()
    job = job_script(tmp_path, ["true"])
    for method in ("prepare", "estimate"):
        count = {"count": 2} if method == "prepare" else {}
        one = getattr(here, method)(job, environment={"A": "1"}, **count)
        other = getattr(there, method)(job, environment={"A": "1"}, **count)
        assert isinstance(one, Submission)
        assert other == replace(one, command=replace(one.command, host="login1"))
    assert (there.name, there.capabilities, there.notices(Limits())) == (
        here.name,
        here.capabilities,
        here.notices(Limits()),
    )


def test_without_a_host_it_is_the_same(tmp_path: Path) -> None:
    system = get("local", tmp_path)
    assert at(system, None) is system
    assert get("local", tmp_path, host="login1").estimate(job_script(tmp_path, ["true"]), environment={}) is None
    assert commands_at((Command(("true",)),), None) == (Command(("true",)),)
