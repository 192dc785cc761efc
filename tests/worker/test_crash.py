"""Workers that die, of whatever, and what that costs: the call that ran, and nothing else."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import psutil
import pytest
from test_workers import hold, in_loop, pid, square
from workerskit import reached_soon, run_workers, value, wait_until

from jobpool.agent.reports import CannotStart
from jobpool.transport import packing


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def segfault() -> None:
    print("last words")
    ctypes.string_at(0)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    print("leaving")
    os._exit(3)


@pytest.mark.parametrize(
    ("crash", "exit_code", "number", "tail"),
    [
        (segfault, None, signal.SIGSEGV, "last words\nFatal Python error: Segmentation fault"),
        (os.abort, None, signal.SIGABRT, "Fatal Python error: Aborted"),
        (kill_itself, None, signal.SIGKILL, ""),
        (leave, 3, None, "leaving"),
    ],
)
@in_loop
async def test_a_crash_costs_its_own_call_only(
    tmp_path: Path, crash: Callable[[], None], exit_code: int | None, number: int | None, tail: str
) -> None:
    def maybe(crashes: bool) -> int:
        print("before")
        if crashes:
            crash()
        return os.getpid()

    async with run_workers(tmp_path) as watched:
        one, two, three, four, five = watched.submit(maybe, (False,), (False,), (True,), (False,), (False,))
        await watched.outcome(five)
        (died,) = watched.died
        assert died.call == three
        assert (died.death.exit_code, died.death.signal) == (exit_code, number)
        assert died.death.tail.startswith(f"before\n{tail}")
        assert died.death.tail.count("before") == 1  # its own output only
        assert died.death.peak_memory > 1_000_000
        assert not died.death.out_of_memory
        assert sorted(watched.outcomes) == [one, two, four, five]
        assert value(watched.outcomes[one]) == value(watched.outcomes[two]) != value(watched.outcomes[four])
        assert not watched.returned


@in_loop
async def test_a_worker_killed_from_outside(tmp_path: Path) -> None:
    held = tmp_path / "held"
    async with run_workers(tmp_path) as watched:
        victim = await watched.run(pid)
        (id,) = watched.submit(hold, (str(held),))
        await reached_soon(held.exists)
        os.kill(victim, signal.SIGKILL)
        await watched.until(lambda: watched.died)
        assert (watched.died[0].call, watched.died[0].death.signal) == (id, signal.SIGKILL)
        assert await watched.run(square, 3) == 9


@in_loop
async def test_an_idle_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        os.kill(await watched.run(pid), signal.SIGKILL)
        await watched.until(lambda: watched.died)
        assert watched.died[0].call is None
        assert await watched.run(square, 3) == 9


@in_loop
async def test_a_worker_that_dies_while_its_place_is_taken(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        victim = await watched.run(pid)
        await watched.workers.occupy()
        os.kill(victim, signal.SIGKILL)
        await watched.until(lambda: watched.died)
        (id,) = watched.submit(square, (3,))
        await asyncio.sleep(0.1)
        assert id not in watched.outcomes
        watched.workers.release()
        assert value(await watched.outcome(id)) == 9


@in_loop
async def test_sigterm_and_sigint_are_the_agents_business(tmp_path: Path) -> None:
    def interrupted() -> str:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        return "still here"

    async with run_workers(tmp_path) as watched:
        assert await watched.run(interrupted) == "still here"
        # Programs that a call starts have the usual reactions, an interrupted Python among them.
        assert await watched.run(_interrupt_a_program) == -signal.SIGINT


@in_loop
async def test_so_is_another_signal_by_which_the_batch_system_gives_notice(tmp_path: Path) -> None:
    def told() -> int:
        os.kill(os.getppid(), signal.SIGUSR2)  # all processes of the job get it, the fork-server too
        os.kill(os.getpid(), signal.SIGUSR2)
        return os.getpid()

    async with run_workers(tmp_path, notice=(int(signal.SIGUSR2),)) as watched:
        assert await watched.run(told) == await watched.run(pid)
        assert not watched.died


def _interrupt_a_program() -> int:
    program = "import signal, sys; print('up', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        return process.wait(20)


def parent_of_many(path: str) -> None:
    """Leave descendants of each kind, write their pids, and run on."""
    same_session = subprocess.Popen(["sleep", "1000"])
    other_group = subprocess.Popen(["sleep", "1000"], process_group=0)
    other_session = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    script = "import subprocess; print(subprocess.Popen(['sleep', '1000'], stdout=subprocess.DEVNULL).pid)"
    orphan = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout
    pids = [os.getpid(), same_session.pid, other_group.pid, other_session.pid, int(orphan)]
    Path(path).with_suffix(".tmp").write_text(json.dumps(pids))
    Path(path).with_suffix(".tmp").rename(path)
    time.sleep(1000)


@in_loop
async def test_a_retracted_call_takes_its_processes_along(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    async with run_workers(tmp_path) as watched:
        (id,) = watched.submit(parent_of_many, (str(file),))
        await reached_soon(file.exists)
        pids = json.loads(file.read_text())
        assert all(map(psutil.pid_exists, pids))
        watched.workers.retract([id])
        await reached_soon(lambda: not any(map(psutil.pid_exists, pids)))
        await watched.until(lambda: watched.returned == [id])


@in_loop
async def test_a_crash_takes_the_processes_of_its_session_along(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    async with run_workers(tmp_path) as watched:
        watched.submit(parent_of_many, (str(file),))
        await reached_soon(file.exists)
        worker, same_session, other_group, other_session, orphan = json.loads(file.read_text())
        os.kill(worker, signal.SIGKILL)
        for pid in (same_session, other_group, orphan):
            await reached_soon(functools.partial(_is_gone, pid))
        assert await watched.run(square, 2) == 4
    assert not psutil.pid_exists(other_session)  # when the workers end at the latest


AGENT = """
    import asyncio, sys
    from pathlib import Path
    sys.path[:0] = {path!r}
    from workerskit import run_workers
    from test_crash import parent_of_many

    async def main():
        async with run_workers(Path({directory!r}), size=2) as watched:
            watched.submit(parent_of_many, ({directory!r} + "/pids-0",))
            watched.submit(parent_of_many, ({directory!r} + "/pids-1",))
            print(watched.workers._lifecycle.server_pid, flush=True)
            await asyncio.sleep(1000)

    asyncio.run(main())
"""


def test_nothing_outlives_a_killed_agent(tmp_path: Path) -> None:
    program = textwrap.dedent(AGENT.format(path=[str(Path(__file__).parent)], directory=str(tmp_path)))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        pids = [int(agent.stdout.readline())]
        files = [tmp_path / "pids-0", tmp_path / "pids-1"]
        wait_until(lambda: all(file.exists() for file in files))
        pids += [pid for file in files for pid in json.loads(file.read_text())]
        assert len(pids) == 11
        assert all(map(psutil.pid_exists, pids))
        agent.kill()
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), 10)


@in_loop
async def test_a_fork_server_that_is_killed_is_started_again(tmp_path: Path) -> None:
    held = [tmp_path / "a", tmp_path / "b"]
    async with run_workers(tmp_path, size=2) as watched:
        pids = [await watched.run(pid)]
        ids = [watched.submit(hold, (str(file),))[0] for file in held]
        (waiting,) = watched.submit(square, (5,))
        await reached_soon(lambda: all(file.exists() for file in held))
        os.kill(watched.workers._lifecycle.server_pid, signal.SIGKILL)
        await watched.until(lambda: len(watched.died) == 2)
        assert sorted(died.call for died in watched.died if died.call is not None) == ids
        assert [packing.pack(died) for died in watched.died]  # what is told must be fit to be sent
        assert value(await watched.outcome(waiting)) == 25
        await reached_soon(lambda: not any(map(psutil.pid_exists, pids)))


@in_loop
async def test_workers_that_die_in_the_initializer_again_and_again(tmp_path: Path) -> None:
    async with run_workers(tmp_path, initializer=cloudpickle.dumps((segfault, ()))) as watched:
        (id,) = watched.submit(square, (1,))
        await watched.until(lambda: id in watched.returned)
        (given_up,) = [report for report in watched.reports if isinstance(report, CannotStart)]
        assert "signal 11 (SIGSEGV) before it was ready" in given_up.text
        assert "last words" in given_up.text
        assert [died.call for died in watched.died] == [None] * 3


@in_loop
async def test_a_call_that_closes_all_descriptors_dies_alone(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        (id,) = watched.submit(lambda: os.closerange(3, 1000), ())
        await watched.until(lambda: watched.died)
        assert watched.died[0].call == id
        assert await watched.run(square, 3) == 9


@in_loop
async def test_no_zombies_and_no_descriptors_are_left(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with run_workers(tmp_path, size=2, max_tasks_per_child=1) as watched:
        await watched.run(square, 1)
        await reached_soon(lambda: len(psutil.Process(watched.workers._lifecycle.server_pid).children()) == 2)
        before = descriptors()
        for n in range(10):
            await watched.run(square, n)
            watched.submit(leave, ())
        await watched.until(lambda: len(watched.died) == 10)
        server = psutil.Process(watched.workers._lifecycle.server_pid)
        await reached_soon(lambda: len(server.children(recursive=True)) == 2)
        assert not [child for child in server.children() if child.status() == psutil.STATUS_ZOMBIE]
        assert descriptors() == before


@in_loop
async def test_memory_of_the_whole_tree_of_a_long_call(tmp_path: Path) -> None:
    def with_a_child(path: str) -> None:
        code = "import sys; block = bytearray(b'x') * 200_000_000; print('up', flush=True); sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            hold(path)
            child.communicate()

    held = tmp_path / "held"
    async with run_workers(tmp_path) as watched:
        (id,) = watched.submit(with_a_child, (str(held),))
        await reached_soon(lambda: watched.workers.memory.get(id, 0) > 200_000_000)
        held.unlink()
        usage = (await watched.outcome(id)).usage
        assert usage is not None
        assert 200_000_000 < usage.peak_memory < 300_000_000


OOM_AGENT = """
    import asyncio, json, multiprocessing, os, subprocess, sys
    from pathlib import Path
    Path({procs!r}).write_text(str(os.getpid()))
    sys.path[:0] = {path!r}
    from workerskit import run_workers
    from test_workers import square
    from test_crash import kill_itself

    def too_much():
        print("allocating", flush=True)
        return len(bytearray(b"x") * 400_000_000)

    def in_a_pool():
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.map(exec, ["bytearray(b'x') * 400_000_000"])  # waits for ever when the process is gone

    def in_a_program():
        subprocess.run([sys.executable, "-c", "bytearray(b'x') * 400_000_000"], check=True)

    async def main():
        async with run_workers(Path({directory!r})) as watched:
            first, = watched.submit(too_much, ())
            await watched.until(lambda: len(watched.died) == 1)
            second, = watched.submit(kill_itself, ())
            await watched.until(lambda: len(watched.died) == 2)
            assert await watched.run(square, 3) == 9
            watched.submit(in_a_pool, ())
            await watched.until(lambda: len(watched.died) == 3)
            watched.submit(in_a_program, ())
            await watched.until(lambda: len(watched.died) == 4)
            assert await watched.run(square, 3) == 9
            print(json.dumps([[died.call, died.death.signal, died.death.out_of_memory, died.death.peak_memory,
                               died.death.tail, died.death.child] for died in watched.died]))

    asyncio.run(main())
"""


@pytest.mark.alone
def test_a_call_killed_by_the_kernel_for_memory_is_told_from_one_that_was_not(
    tmp_path: Path, memory_cgroup: Callable[[int], Path]
) -> None:
    group = memory_cgroup(256 * 2**20)
    program = OOM_AGENT.format(
        path=[str(Path(__file__).parent)], directory=str(tmp_path), procs=str(group / "cgroup.procs")
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    killed, other, in_a_pool, in_a_program = json.loads(done.stdout)
    assert killed[1:3] == [signal.SIGKILL, True]
    assert 100_000_000 < killed[3] < 300_000_000
    assert killed[4] == "allocating\n"
    assert other[1:3] == [signal.SIGKILL, False]
    # Not the worker was killed, but what its call had started: one call would wait for ever, the other one fails.
    for death in (in_a_pool, in_a_program):
        assert (death[2], death[5]) == (True, True)


@pytest.fixture
def memory_cgroup(request: pytest.FixtureRequest) -> Callable[[int], Path]:
    """Make a memory cgroup with a limit, of whichever version the machine has."""

    def make(limit: int) -> Path:
        v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
        name = f"jobpool-test-{os.getpid()}"
        try:
            if (v1 / "cgroup.procs").exists():
                group = v1 / name
                group.mkdir()
                (group / "memory.limit_in_bytes").write_text(str(limit))
                swap = group / "memory.memsw.limit_in_bytes"
            else:
                group = v2 / name
                group.mkdir()
                (group / "memory.max").write_text(str(limit))
                swap = group / "memory.swap.max"
        except OSError as reason:
            pytest.skip(f"NOT TESTED, real kills for memory: no memory cgroup can be made here ({reason})")
        request.addfinalizer(group.rmdir)
        if swap.exists():
            swap.write_text(str(limit) if "memsw" in swap.name else "0")
        return group

    return make


@in_loop
async def test_a_call_that_had_begun_when_its_worker_was_killed_for_another_is_not_run_again_unasked(
    tmp_path: Path,
) -> None:
    """The one before it was cancelled in the moment in which it ended."""
    held = tmp_path / "held"
    async with run_workers(tmp_path) as watched:
        await watched.run(square, 3)
        first = watched.submit(square, (4,))[0]
        await watched.outcome(first)
        second, third = watched.submit(hold, (str(held),), (str(tmp_path / "third"),))
        await reached_soon(held.exists)
        (slot,) = watched.workers._slots.values()
        slot.killed.add(first)  # as it is when the kill comes too late for it
        watched.workers._lifecycle.kill(slot)
        await reached_soon(lambda: watched.died)
        assert [died.call for died in watched.died] == [second]
        assert watched.died[0].death.innocent
        await reached_soon((tmp_path / "third").exists)  # it had not begun, and so it runs
        (tmp_path / "third").unlink()
        assert value(await watched.outcome(third))
        assert second not in watched.returned
