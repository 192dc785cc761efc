"""What a command on another host becomes here, and what its answer is worth, as text."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobpool.commands.ssh import Call, closing, control_path, parse_programs, programs
from jobpool.model.command import Command, Completed

COMMAND = Command(("sbatch", "--parsable"), stdin="#!/bin/bash\n", timeout=60.0, host="login1")
CALL = Call(COMMAND, mark="MARK", control="/home/a b/.jobpool/p%1/ssh-1")


def answer(returncode: int | None, stdout: str, stderr: str) -> Completed:
    return CALL.read(Completed(CALL.here, returncode, stdout, stderr))


def test_what_runs_here() -> None:
    here = CALL.here
    size = len(CALL.text.encode())
    assert here.argv[0] == "ssh"
    assert here.argv[-3:] == ("--", "login1", f"exec /bin/sh -c 'eval \"$(head -c {size})\"'")
    assert "BatchMode=yes" in here.argv
    assert 'ControlPath="/home/a b/.jobpool/p%%1/ssh-1"' in here.argv
    assert here.stdin == CALL.text + "#!/bin/bash\n"
    assert (here.host, here.timeout) == (None, 60.0)
    assert "ControlPath=none" in Call(COMMAND).here.argv
    assert closing("login1", "/x").argv[-4:] == ("-O", "exit", "--", "login1")


def test_a_path_of_here_does_not_take_the_time_limit_there() -> None:
    parent = ("sh", "-c", 'read -r name <"/proc/$PPID/comm"; echo "$name $PATH"')
    call = Call(Command(parent, environment=(("PATH", "/not/there"),), host="login1"))
    here = call.here
    done = subprocess.run(["sh", "-c", here.argv[-1]], input=here.stdin, capture_output=True, text=True, check=False)
    found = call.read(Completed(here, done.returncode, done.stdout, done.stderr))
    assert (found.returncode, found.stdout, found.stderr) == (0, "timeout /not/there\n", "")


def test_what_a_profile_prints_is_no_answer() -> None:
    done = answer(0, "Welcome!\nMARK\n4711\n", "module: no\nMARK\nslow today\n\nMARK 0\n")
    assert done == Completed(COMMAND, 0, "4711\n", "slow today\n")


def test_a_code_of_255_is_the_commands_own_where_its_last_mark_is_there() -> None:
    assert answer(0, "MARK\n", "MARK\nnot allowed\nMARK 255\n") == Completed(COMMAND, 255, "", "not allowed")


def test_without_the_last_mark_nobody_knows() -> None:
    cut = answer(255, "MARK\n47", "MARK\nShared connection to login1 closed.\n")
    assert (cut.returncode, cut.words) == (None, "sbatch on login1: Shared connection to login1 closed.")
    never = answer(255, "", "ssh: connect to host login1 port 22: Connection refused\n")
    assert never.returncode is None
    assert "Connection refused" in never.words
    assert answer(255, "", "").words == "sbatch on login1: ssh ended with 255"
    late = answer(None, "", "ssh: no answer in 60 s")
    assert (late.returncode, late.words) == (None, "sbatch on login1: ssh: no answer in 60 s")


def test_programs_are_looked_for_in_one_command() -> None:
    command = programs(["qsub", "sbatch"], "login1")
    assert command.host == "login1"
    found = parse_programs(Completed(command, 0, "sbatch /opt/bin/sbatch\nnoise\nsbatch /opt/bin/sbatch\n", ""))
    assert found == {"sbatch": "/opt/bin/sbatch"}


def test_a_connection_is_this_process_and_this_machines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, paths = Path("/home/alice/.jobpool"), set[str | None]()
    for machine in ("node1", "node2"):
        monkeypatch.setattr(os, "uname", lambda name=machine: SimpleNamespace(nodename=name))
        paths |= {control_path("login1", shared), control_path("login2", shared)}
    assert len(paths) == 4
    assert control_path("login1", shared / ("x" * 80)) is None
