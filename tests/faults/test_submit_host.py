"""The batch system's commands on another host, by ssh: a real sshd on the loopback address, before a real SLURM."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from gates import Gate
from sshkit import HOST, SSHD, Sshd

from jobpool import BatchSystemUnavailable, ConfigError, JobPoolExecutor, check
from jobpool.batch import registry
from jobpool.cli.main import main
from jobpool.commands import shell, ssh
from jobpool.config.resolve import resolve
from jobpool.host.home import PoolDirectory
from jobpool.model.command import Command, Completed, Unset
from jobpool.server.cleanup import reap
from jobpool.testing import SlurmLab, wait_until
from jobpool.testing.labs.machine import processes_of

COMMANDS = {name for entry in registry.SYSTEMS.values() for name in entry.commands} | {"sacct", "sacctmgr", "sprio"}


@pytest.fixture(scope="session")
def other_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs of this machine but for those of batch systems."""
    folder = tmp_path_factory.mktemp("programs")
    found = {program.name: program.path for place in ("/bin", "/usr/bin") for program in os.scandir(place)}
    for name in found.keys() - COMMANDS:
        os.symlink(found[name], folder / name)  # noqa: PTH211 - some thousand of them
    return folder


@pytest.fixture
def sshd(
    request: pytest.FixtureRequest, home: Path, other_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sshd]:
    """A host ``login1``, on which SLURM's commands lead to the lab if the test uses it. Here they cannot be found."""
    if SSHD is None:
        if os.environ.get("CI"):
            pytest.fail("sshd is missing; on Debian: apt-get install --no-install-recommends openssh-server")
        pytest.skip("NOT TESTED: submit_host; on Debian: apt-get install --no-install-recommends openssh-server")
    there: dict[str, str] = {}
    if "slurm_lab" in request.fixturenames:
        there = request.getfixturevalue("slurm_lab").environment
    (home / "sshd").mkdir()
    made = Sshd(home / "sshd", there)
    monkeypatch.setenv("PATH", f"{made.bin}:{other_programs}")
    monkeypatch.setenv("JOBPOOL_ADDRESSES", "127.0.0.1")
    made.start()
    yield made
    shell.disconnect()
    made.stop()


def run(*argv: str, **more: object) -> Completed:
    command = Command(argv, host=HOST, **more)  # type: ignore[arg-type]
    done, again = asyncio.run(shell.run(command)), shell.run_now(command)
    assert (done.returncode, done.stdout, done.stderr) == (again.returncode, again.stdout, again.stderr)
    assert done.command == command
    return done


HOSTILE = ("a b", "'\"", "$HOME `id` $(id)", "\\n", "x\ny", "*", "-x", "", "é", ";exit 9")


def test_a_command_there_is_as_one_here(sshd: Sshd) -> None:
    assert run("printf", "%s|", *HOSTILE).stdout == "".join(f"{word}|" for word in HOSTILE)
    assert run("cat", stdin="a script\n$HOME\n" * 10_000).stdout == "a script\n$HOME\n" * 10_000
    assert run("cat").stdout == ""
    done = run("sh", "-c", "echo out; echo err >&2; exit 255")
    assert (done.returncode, done.stdout, done.stderr) == (255, "out\n", "err\n")
    assert run("pwd").stdout == "/\n"
    missing = run("no-such-program")
    assert missing.returncode is None
    assert missing.words == "no-such-program on login1: no-such-program: not found"
    slow = run("sleep", "60", timeout=1.0, environment=(("X_SLEEPS", "1"),))
    assert slow.returncode is None
    assert slow.words == "sleep on login1: ssh: no answer in 1 s"
    # It does not hang there for ever.
    assert wait_until(lambda: not processes_of(["X_SLEEPS=1"]), 30)


def test_its_variables_are_those_of_a_login_there_and_what_it_is_given(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X_HERE", "1")
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    given = (("X_SECRET", "it's\na $ecret"), ("X_WAY", "mine"), ("UID", "3"), ("BASH_FUNC_x%%", "() { :; }"))

    def environment(**more: object) -> dict[str, str]:
        found: dict[str, str] = json.loads(run("python3", "-c", code, **more).stdout)
        return found

    assert "X_HERE" not in environment()
    assert environment(environment=given)["X_SECRET"] == "it's\na $ecret"
    found = environment(environment=given, unset=Unset(("X_", "TESTS"), frozenset({"X_WAY"})))
    assert (found["X_SECRET"], found.get("X_WAY"), found.get("TESTS_OF")) == ("it's\na $ecret", None, None)
    # Nothing of it is on a command line, where others see it: neither here nor there.
    shown = shell.run_now(
        Command(("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), host=HOST, environment=given)
    ).stdout
    assert "head -c" in shown
    assert "ecret" not in shown


def test_all_commands_of_a_process_share_a_connection(sshd: Sshd) -> None:
    async def several() -> list[Completed]:
        commands = [Command(("sh", "-c", "echo $SSH_CONNECTION"), host=HOST) for _ in range(30)]
        return await shell.run_all(commands)

    assert len({done.stdout for done in asyncio.run(several())}) == 1
    control = ssh.control_path(HOST, Path(os.environ["HOME"], ".jobpool"))
    assert control is not None
    assert Path(control).exists()
    shell.disconnect()
    assert wait_until(lambda: not Path(control).exists(), 10)
    assert ssh.control_path(HOST, Path("/" + "x" * 90)) is None


def test_a_lost_connection_is_no_answer_and_comes_back(sshd: Sshd) -> None:
    assert run("true").returncode == 0
    sshd.stop()
    done = run("true")
    assert done.returncode is None
    assert done.words.startswith("true on login1: ")
    assert "Connection refused" in done.words
    sshd.start()
    assert run("false").returncode == 1

    async def cut() -> Completed:
        running = asyncio.create_task(shell.run(Command(("sleep", "5"), host=HOST)))
        await asyncio.sleep(1)  # for the command to be there: nothing tells
        sshd.stop()
        return await running

    assert asyncio.run(cut()).returncode is None


def test_a_host_is_a_host_and_no_option(sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in ("-oProxyCommand=touch x", "-x", "a b"):
        with pytest.raises(ConfigError, match="it must be a host as ssh takes it"):
            JobPoolExecutor(1, scheduler="slurm", submit_host=word)
    assert resolve({"scheduler": "local", "submit_host": HOST}).submit_host is None
    (home / "cloned" / ".git").mkdir(parents=True)
    (home / "cloned" / "jobpool.toml").write_text(f"submit_host = '{HOST}'\nscheduler = 'slurm'\n")
    monkeypatch.chdir(home / "cloned")
    with pytest.raises(ConfigError, match="a project's file must not name it"):
        resolve({})


def test_without_a_batch_system_there_nothing_runs_here_instead(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    sshd.stop()
    with pytest.raises(BatchSystemUnavailable, match="no command can be run on login1") as caught:
        JobPoolExecutor(1, submit_host=HOST)
    assert "Connection refused" in str(caught.value)
    assert "ssh login1 true" in str(caught.value)


def test_the_tools_ask_there(slurm_lab: SlurmLab, sshd: Sshd, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", f"submit_host={HOST}", "cores=2"]) == 0
    assert "--cpus-per-task=2" in capfd.readouterr().out
    assert main(["doctor", f"submit_host={HOST}", "--no-job", "--json"]) == 0
    found = {finding["subject"]: finding["text"] for finding in json.loads(capfd.readouterr().out)}
    assert "is disabled" in found["accounting"]
    assert "partition 'short' end after 1 h" in found["walltime"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_pool_whose_commands_run_on_another_host(slurm_lab: SlurmLab, sshd: Sshd, gate: Gate) -> None:
    assert resolve({}).system == "local"  # there is nothing here
    verdict = check(submit_host=HOST, cores=1000)
    assert not verdict.ok
    with JobPoolExecutor(2, submit_host=HOST, environment={"X_MARK": "1"}) as pool:
        assert pool.settings.system == "slurm"
        assert pool.check(start=True).ok
        held = [pool.submit(gate.hold(), number) for number in range(2)]
        gate.wait_for(2)
        # The connection is cut: what runs goes on, and what needs a new job waits for the host to come back.
        sshd.stop()
        more = [pool.submit(abs, -number) for number in range(50)]
        big = pool.with_request(cores=2).submit(os.getenv, "X_MARK")
        gate.open()
        assert [future.result(60) for future in held] == [0, 1]
        assert [future.result(60) for future in more] == list(range(50))
        assert wait_until(lambda: _unanswered(pool), 60)
        assert not big.done()
        sshd.start()
        assert big.result(90) == "1"
    assert _queue() == ""


def _queue() -> str:
    done = shell.run_now(Command(("squeue", "--noheader"), host=HOST))
    assert done.ok
    return done.stdout


def _unanswered(pool: JobPoolExecutor) -> bool:
    return "login1" in Path(pool.log_directory.parent, "server.log").read_text()


def test_jobs_of_a_dead_pool_are_cancelled_there(slurm_lab: SlurmLab, sshd: Sshd, gate: Gate) -> None:
    pool = JobPoolExecutor(1, submit_host=HOST, name="dead")
    pool.submit(gate.hold())
    gate.wait_for(1)
    directory = PoolDirectory.open("dead")
    os.kill(pool.status().pid, 9)
    assert wait_until(lambda: not directory.alive(), 30)
    assert asyncio.run(reap(directory)) == ()
    assert _queue() == ""
    pool.kill_workers()
