"""Calls, bundles, retraction, slots: what a job's workers do while they are well."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor, process
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from workerskit import reached_soon, run_workers, value

from jobpool.host.private_directory import open_directory
from jobpool.model.call_options import CallOptions
from jobpool.model.errors import NotPicklable
from jobpool.model.units import Duration

Test = Callable[..., Coroutine[Any, Any, None]]


def in_loop(test: Test) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def square(x: int) -> int:
    return x * x


def pid() -> int:
    return os.getpid()


def fail(text: str) -> None:
    raise ValueError(text)


def hold(path: str) -> int:
    """Run until the file is removed."""
    Path(path).touch()
    while Path(path).exists():
        time.sleep(0.005)
    return os.getpid()


def touch(path: str) -> None:
    Path(path).touch()


@in_loop
async def test_100_calls_on_2_workers(tmp_path: Path) -> None:
    async with run_workers(tmp_path, size=2) as watched:
        ids = [watched.submit(square, (n,))[0] for n in range(100)]
        await watched.until(lambda: len(watched.outcomes) == 100)
        assert [value(watched.outcomes[id]) for id in ids] == [n * n for n in range(100)]
        assert not watched.died


@in_loop
async def test_workers_run_at_the_same_time(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    async with run_workers(tmp_path, size=2) as watched:
        ids = [watched.submit(hold, (str(file),))[0] for file in files]
        await reached_soon(lambda: all(file.exists() for file in files))
        await watched.until(lambda: sorted(set(watched.started)) == ids)
        for file in files:
            file.unlink()
        assert value(await watched.outcome(ids[0])) != value(await watched.outcome(ids[1]))


@in_loop
async def test_an_exception_is_the_calls_own_and_carries_its_traceback(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        with pytest.raises(ValueError, match="bad day") as caught:
            await watched.run(fail, "bad day")
        assert type(caught.value.__cause__) is process._RemoteTraceback
        assert "in fail" in str(caught.value.__cause__)
        assert "child.py" not in str(caught.value.__cause__)
        for error in (SystemExit, KeyboardInterrupt):
            with pytest.raises(error):
                await watched.run(_raise, error)
        with pytest.raises(NotPicklable, match="result, of type generator"):
            await watched.run(lambda: (x for x in "abc"))
        assert await watched.run(square, 3) == 9
        assert not watched.died


def _raise(error: type[BaseException]) -> None:
    raise error("from the call")


@in_loop
async def test_retracted_calls_that_have_not_started_never_run(tmp_path: Path) -> None:
    held, never = tmp_path / "held", tmp_path / "never"

    def either(hold_it: bool, path: str) -> None:
        (hold if hold_it else touch)(path)

    async with run_workers(tmp_path) as watched:
        running, waiting, kept = watched.submit(
            either, (True, str(held)), (False, str(never)), (False, str(tmp_path / "kept"))
        )
        (queued,) = watched.submit(touch, (str(never),))
        await reached_soon(held.exists)
        watched.workers.retract([waiting, queued, 999])
        await watched.until(lambda: queued in watched.returned)
        held.unlink()
        await watched.outcome(kept)
        assert sorted(watched.returned) == [waiting, queued]
        assert sorted(watched.outcomes) == [running, kept]
        assert not never.exists()
        assert (tmp_path / "kept").exists()


@in_loop
async def test_a_retracted_call_that_runs_is_killed_and_the_rest_of_its_bundle_runs(tmp_path: Path) -> None:
    held = tmp_path / "held"

    def either(path: str | None) -> int:
        return hold(path) if path else os.getpid()

    async with run_workers(tmp_path) as watched:
        before, running, after = watched.submit(either, (None,), (str(held),), (None,))
        await reached_soon(held.exists)
        watched.workers.retract([running])
        assert value(await watched.outcome(after)) != value(watched.outcomes[before])
        assert watched.returned == [running]
        assert running not in watched.outcomes
        assert not watched.died


@in_loop
async def test_output_of_python_and_of_c_is_kept_for_its_call(tmp_path: Path) -> None:
    def speak(word: str) -> None:
        print("python", word)
        os.write(1, b"descriptor\n")
        print("error", word, file=sys.stderr)
        subprocess.run(["echo", "child"], check=True)
        print("no newline", end="")

    async with run_workers(tmp_path) as watched:
        ids = watched.submit(speak, ("a",), ("b",))
        await watched.until(lambda: len(watched.outcomes) == 2)
        for id, word in zip(ids, "ab", strict=True):
            text = f"python {word}\ndescriptor\nerror {word}\nchild\nno newline"
            assert watched.outcomes[id].log.decode() == text
        (silent,) = watched.submit(square, (1,))
        assert (await watched.outcome(silent)).log == b""
        assert (tmp_path / "worker-0.log").stat().st_mode & 0o777 == 0o600


@in_loop
async def test_only_the_last_part_of_a_long_output_travels(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        (id,) = watched.submit(lambda: print("x" * 200_000 + "end"), ())
        log = (await watched.outcome(id)).log
        assert len(log) == 64 * 1024
        assert log.endswith(b"xend\n")


@in_loop
async def test_what_a_call_changes_does_not_harm_the_next(tmp_path: Path) -> None:
    def spoil() -> None:
        os.chdir("/")
        os.umask(0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        sys.stdout = None

    def state() -> tuple[Any, ...]:
        time.sleep(0.1)  # the alarm of the call before would come now
        umask = os.umask(0o077)
        os.umask(umask)
        signals = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGALRM)]
        print("out")
        os.kill(os.getpid(), signal.SIGTERM)
        return str(Path.cwd()), umask, signals, signal.pthread_sigmask(signal.SIG_BLOCK, ())

    home = tmp_path / "home"
    home.mkdir()
    async with run_workers(tmp_path, working_directory=str(home)) as watched:
        fresh = await watched.run(state)
        assert fresh[0] == str(home)
        await watched.run(spoil)
        assert await watched.run(state) == fresh
        assert not watched.died


def in_a_pool(n: int) -> list[int]:
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(abs, range(-n, 0)))


def terminates() -> int | None:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(20)
    return child.exitcode


def spawns() -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return int(pool.apply(abs, (-3,)))


@in_loop
async def test_multiprocessing_works_inside_a_call(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        assert await watched.run(in_a_pool, 5) == [5, 4, 3, 2, 1]
        assert await watched.run(terminates) == -signal.SIGTERM
        assert await watched.run(spawns) == 3
        assert await watched.run(lambda: multiprocessing.current_process().daemon) is False


@in_loop
async def test_a_worker_is_light_and_has_nothing_of_the_agents(tmp_path: Path) -> None:
    def about() -> tuple[list[str], list[str], str | None, list[str]]:
        heavy = {"distributed", "dask", "numpy", "pytest", "asyncio"} & set(sys.modules)
        links = []
        for fd in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(fd.readlink()))
            except FileNotFoundError:
                continue
        return sorted(heavy), links, getattr(sys.modules["__main__"], "__file__", None), sys.argv

    secret = tmp_path / "agents-own"
    with secret.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        async with run_workers(tmp_path, size=3) as watched:
            heavy, links, main, argv = await watched.run(about)
    assert heavy == []
    assert main is None
    assert argv == ["-c"]
    assert not [link for link in links if "agents-own" in link]
    # Its own channel and nobody else's, and the bell, which has no way back.
    assert len([link for link in links if link.startswith("socket:")]) == 2
    assert not [link for link in links if link.startswith("pipe:")]


@in_loop
async def test_settings_reach_the_worker(tmp_path: Path) -> None:
    own = tmp_path / "lib"
    own.mkdir()
    (own / "workerstest_own_module.py").write_text("ANSWER = 42")
    home = tmp_path / "home"
    home.mkdir()

    def see() -> tuple[Any, ...]:
        import workerstest_own_module  # type: ignore[import-not-found]

        return os.environ["OMP_NUM_THREADS"], str(Path.cwd()), os.sched_getaffinity(0), workerstest_own_module.ANSWER

    cpu = min(os.sched_getaffinity(0))
    async with run_workers(
        tmp_path,
        environment={"OMP_NUM_THREADS": "3"},
        working_directory=str(home),
        sys_path=("", str(own), "/no/such/directory"),
        cpus=((cpu,),),
    ) as watched:
        assert await watched.run(see) == ("3", str(home), {cpu}, 42)


@in_loop
async def test_a_working_directory_that_is_not_here_is_passed_over(tmp_path: Path) -> None:
    async with run_workers(tmp_path, working_directory="/no/such/directory") as watched:
        assert await watched.run(square, 2) == 4


@in_loop
async def test_the_initializer_runs_once_in_each_worker(tmp_path: Path) -> None:
    def initialize(path: str, word: str) -> None:
        with Path(path).open("a") as file:
            file.write(f"{os.getpid()}\n")
        os.environ["CREWTEST"] = word

    ran = tmp_path / "ran"
    initializer = cloudpickle.dumps((initialize, (str(ran), "hello")))
    async with run_workers(tmp_path, size=2, initializer=initializer) as watched:
        for _ in range(3):
            assert await watched.run(lambda: os.environ["CREWTEST"]) == "hello"
        await reached_soon(lambda: len(ran.read_text().split()) == 2)
        assert len(set(ran.read_text().split())) == 2


@in_loop
async def test_an_initializer_that_raises_is_reported_once_and_returns_the_calls(tmp_path: Path) -> None:
    def initialize() -> None:
        print("about to fail")
        raise RuntimeError("no licence")

    async with run_workers(tmp_path, size=2, initializer=cloudpickle.dumps((initialize, ()))) as watched:
        ids = watched.submit(square, (1,), (2,))
        await watched.until(lambda: watched.failed and len(watched.returned) == 2)
        assert "RuntimeError: no licence" in watched.failed[0].text
        assert "about to fail" in watched.failed[0].text
        assert watched.returned == ids
        watched.submit(square, (3,))
        await watched.until(lambda: len(watched.returned) == 3)
        with pytest.raises(RuntimeError, match="closing"):
            await watched.workers.occupy()
    assert len(watched.failed) == 1
    assert not watched.died


@in_loop
async def test_modules_of_the_initializer_are_imported_once_for_all(tmp_path: Path) -> None:
    (tmp_path / "workerstest_slow_module.py").write_text(
        "import os\nopen(os.environ['CREWTEST_LOG'], 'a').write(f'{os.getpid()} ')\ndef ready(): pass\n"
    )
    log = tmp_path / "imports"
    # By name, as a module that is installed.
    initializer = b"(cworkerstest_slow_module\nready\n)t."
    async with run_workers(
        tmp_path,
        size=3,
        initializer=initializer,
        sys_path=(str(tmp_path),),
        environment={"CREWTEST_LOG": str(log)},
        max_tasks_per_child=1,
    ) as watched:
        pids = {await watched.run(pid) for _ in range(4)}
        assert len(pids) == 4
    assert len(log.read_text().split()) == 1


@in_loop
async def test_a_module_that_starts_threads_is_not_imported_before_the_fork(tmp_path: Path) -> None:
    # Its thread would be missing in a forked worker, and whoever waits for it would hang.
    (tmp_path / "workerstest_threaded_module.py").write_text(
        "import queue, threading\n"
        "asked, answers = queue.Queue(), queue.Queue()\n"
        "def serve():\n"
        "    while True: answers.put(asked.get())\n"
        "threading.Thread(target=serve, daemon=True).start()\n"
        "def ask(): asked.put(3)\n"
    )
    initializer = b"(cworkerstest_threaded_module\nask\n)t."
    async with run_workers(tmp_path, size=2, initializer=initializer, sys_path=(str(tmp_path),)) as watched:

        def answer() -> int:
            import workerstest_threaded_module  # type: ignore[import-not-found]

            result: int = workerstest_threaded_module.answers.get(timeout=20)
            return result

        assert await watched.run(answer) == 3


@pytest.mark.parametrize("bundle", [1, 5])
@in_loop
async def test_max_tasks_per_child(tmp_path: Path, bundle: int) -> None:
    async with run_workers(tmp_path, max_tasks_per_child=2) as watched:
        ids: list[int] = []
        for _ in range(10 // bundle):
            ids += watched.submit(pid, *[()] * bundle)
        await watched.until(lambda: len(watched.outcomes) == 10)
        pids = [value(watched.outcomes[id]) for id in ids]
        assert [pids.count(one) for one in dict.fromkeys(pids)] == [2] * 5
        assert not watched.died


@pytest.mark.alone
@in_loop
async def test_large_payloads_both_ways_do_not_block_the_loop(tmp_path: Path) -> None:
    payload = os.urandom(10_000_000)
    async with run_workers(tmp_path, size=2) as watched:
        assert await watched.run(square, 1) == 1
        ids = watched.submit(lambda data: data[::-1], *[(payload,)] * 3)
        longest, last = 0.0, time.perf_counter()
        while len(watched.outcomes) < 4:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        assert all(value(watched.outcomes[id]) == payload[::-1] for id in ids)
        # A blocking send would last until the worker has read and answered everything.
        assert longest < 0.5


@in_loop
async def test_a_call_for_a_function_that_nobody_defined_is_refused(tmp_path: Path) -> None:
    from jobpool.model.call import Call

    async with run_workers(tmp_path) as watched:
        with pytest.raises(KeyError):
            watched.workers.submit([Call(1, "no such key", b"")])


@in_loop
async def test_a_log_directory_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir(mode=0o700)
    logs = open_directory(gone)
    gone.rmdir()
    with pytest.raises(OSError, match=r"fork-server\.log"):
        async with run_workers(tmp_path, logs=logs):
            pass


@pytest.mark.alone
@in_loop
async def test_usage_is_that_of_the_call(tmp_path: Path) -> None:
    def work() -> None:
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        bytearray(100_000_000)

    async with run_workers(tmp_path) as watched:
        heavy, light = watched.submit(lambda busy: work() if busy else None, (True,), (False,))
        await watched.until(lambda: len(watched.outcomes) == 2)
        usage, small = watched.outcomes[heavy].usage, watched.outcomes[light].usage
        assert usage is not None
        assert small is not None
        assert 0.1 <= usage.cpu <= usage.wall + 0.1
        assert 100_000_000 < usage.peak_memory < 300_000_000
        assert small.peak_memory < 60_000_000
        assert small.cpu < 0.05
        assert usage.threads == 1


@in_loop
async def test_random_numbers_differ_between_workers(tmp_path: Path) -> None:
    def draw() -> tuple[float, float]:
        import random

        import numpy as np

        return random.random(), float(np.random.random())

    # numpy is imported before the fork, and would give all workers the same numbers.
    initializer = b"(cnumpy\nzeros\n(I1\ntt."
    async with run_workers(tmp_path, size=1, initializer=initializer, max_tasks_per_child=1) as watched:
        drawn = [await watched.run(draw) for _ in range(3)]
        assert len({one for one, _ in drawn}) == 3
        assert len({other for _, other in drawn}) == 3


@in_loop
async def test_a_call_is_killed_at_its_timeout_and_what_is_behind_it_runs(tmp_path: Path) -> None:
    def hang() -> None:
        print("hangs", flush=True)
        time.sleep(600)

    async with run_workers(tmp_path) as watched:
        (hangs,) = watched.submit(hang, (), terms=CallOptions(timeout=Duration(1.0)))
        (behind,) = watched.submit(len, ("abc",))
        await watched.until(lambda: watched.died)
        (died,) = watched.died
        assert (died.call, died.death.timed_out, died.death.tail) == (hangs, True, "hangs\n")
        assert value(await watched.outcome(behind)) == 3


@in_loop
async def test_a_call_that_ends_before_its_timeout_is_left_alone(tmp_path: Path) -> None:
    terms = CallOptions(timeout=Duration(0.5))
    async with run_workers(tmp_path) as watched:
        pids = [watched.submit(pid, (), terms=terms)[0] for _ in range(3)]
        first = [value(await watched.outcome(id)) for id in pids]
        await watched.run(time.sleep, 0.7)  # their timeouts are over in it, and it has none
        assert [*first, await watched.run(pid)] == [first[0]] * 4
        assert not watched.died


@in_loop
async def test_a_call_that_runs_because_the_one_before_it_was_cancelled_has_its_timeout(tmp_path: Path) -> None:
    def hold(path: str) -> None:
        while Path(path).exists():
            time.sleep(0.01)

    held = tmp_path / "held"
    held.touch()
    async with run_workers(tmp_path) as watched:
        (running,) = watched.submit(hold, (str(held),))
        unwanted, hangs = watched.submit(time.sleep, (600,), (601,), terms=CallOptions(timeout=Duration(0.5)))
        watched.workers.retract([unwanted])
        held.unlink()
        await watched.outcome(running)
        await watched.until(lambda: watched.died)
        assert watched.died[0].call == hangs
