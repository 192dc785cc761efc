"""The life of a ``Pool``: how it is made, closed, terminated, forgotten, and left to the end of the process."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from gates import Gate
from scripts import run_script
from sites import PATIENCE, Site

from jobpool import Pool
from jobpool.model.errors import ConfigError, InitializerFailed, PoolBroken
from jobpool.testing import wait_until


def double(value: int) -> int:
    return 2 * value


def pid(_: object = None) -> int:
    return os.getpid()


# Making one


@pytest.mark.parametrize("processes", [0, -1])
def test_it_has_one_worker_at_least(processes: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Pool(processes)


@pytest.mark.parametrize("tasks", [0, -1, 0.5, "12"])
def test_maxtasksperchild_is_a_positive_whole_number(tasks: Any) -> None:
    with pytest.raises(ValueError, match="maxtasksperchild must be a positive int or None"):
        Pool(1, maxtasksperchild=tasks)


def test_bad_keywords_are_refused_at_the_call() -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Pool(1, "no function")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="memory"):
        Pool(1, memory="8G")
    with pytest.raises(TypeError, match="colour"):
        Pool(1, colour="red")


def test_the_request_reaches_the_executor(open_pool: Any) -> None:
    pool = open_pool(2, cores=1, memory="300 MiB", name="asked")
    assert pool.executor.settings.request.memory == 300 * 2**20
    assert pool.executor.name == "asked"
    assert pool.map(double, [1]) == [2]


def test_each_worker_is_initialized_and_replaced_after_its_tasks(open_pool: Any) -> None:
    def prepare(word: str) -> None:
        import builtins

        builtins.prepared = word  # type: ignore[attr-defined]

    def look(_: object) -> tuple[int, str]:
        import builtins

        return os.getpid(), builtins.prepared  # type: ignore[attr-defined]

    pool = open_pool(1, prepare, ["ready"], 2)
    seen = pool.map(look, range(12), chunksize=2)  # six tasks, as multiprocessing counts them
    assert {word for _, word in seen} == {"ready"}
    assert len({process for process, _ in seen}) == 3


def test_an_initializer_that_fails_ends_all_results(open_pool: Any) -> None:
    # Where multiprocessing.Pool starts processes for ever.
    def prepare() -> None:
        raise OSError("no licence server")

    pool = open_pool(2, prepare)
    for result in (pool.apply_async(pid), pool.map_async(pid, range(100))):
        with pytest.raises(InitializerFailed, match="no licence server"):
            result.get(PATIENCE)
    with pytest.raises(InitializerFailed):
        next(pool.imap(pid, [1]))


def test_it_cannot_be_pickled(pool: Pool) -> None:
    with pytest.raises(NotImplementedError, match="cannot be passed between processes or pickled"):
        pickle.dumps(pool)


# Ending one


def test_close_lets_the_calls_end_and_takes_no_more(open_pool: Any, gate: Gate) -> None:
    pool = open_pool(1)
    with pytest.raises(ValueError, match="Pool is still running"):
        pool.join()
    results = [pool.apply_async(gate.hold(), (number,)) for number in range(3)]
    lazy = pool.imap(double, iter(range(5)))
    pool.close()
    pool.close()  # once more does no harm
    for call in (pool.apply, pool.apply_async):
        with pytest.raises(ValueError, match="Pool not running"):
            call(pid)
    for call in (pool.map, pool.map_async, pool.starmap, pool.starmap_async, pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match="Pool not running"):
            call(pid, [1])
    gate.open()
    pool.join()
    assert [result.get(0) for result in results] == [0, 1, 2]
    assert list(lazy) == [0, 2, 4, 6, 8]


def test_terminate_ends_everything_and_every_result(open_pool: Any, gate: Gate, site: Site) -> None:
    pool = open_pool(1)
    called: list[Any] = []
    hold = gate.hold()
    running = pool.apply_async(hold, callback=called.append, error_callback=called.append)
    waiting = pool.map_async(hold, range(10_000), 1, called.append, called.append)
    lazy = pool.imap(hold, iter(int, 1))
    gate.wait_for(1)
    pool.terminate()
    assert site.jobs_in_queue(pool.executor.name) == []
    for result in (running, waiting):
        with pytest.raises(CancelledError, match="terminated"):
            result.get(0)
    with pytest.raises(CancelledError, match="terminated"):
        next(lazy)
    with pytest.raises(StopIteration):
        next(lazy)
    pool.join()
    assert called == []
    assert gate.arrived() == 1
    with pytest.raises(ValueError, match="Pool not running"):
        pool.map(pid, [1])
    pool.terminate()


def test_every_result_ends_when_the_server_dies(open_pool: Any, gate: Gate) -> None:
    pool = open_pool(1)
    applied, lazy = pool.apply_async(gate.hold()), pool.imap(gate.hold(), iter(int, 1))
    mapped = pool.map_async(gate.hold(), range(100), 1)
    gate.wait_for(1)
    connection = Path.home() / ".jobpool" / pool.executor.name / "connection.json"
    os.kill(json.loads(connection.read_text())["pid"], signal.SIGKILL)
    for result in (applied, mapped):  # the map came after the endless imap, and was not read yet
        with pytest.raises(PoolBroken):
            result.get(PATIENCE)
    with pytest.raises(PoolBroken):
        lazy.next(PATIENCE)
    pool.close()
    pool.join()


def test_terminate_does_not_wait_for_an_iterator_that_does_not_go_on(open_pool: Any) -> None:
    pool = open_pool(1)
    never = threading.Event()
    lazy = pool.imap(double, iter(never.wait, None))  # in multiprocessing it does
    try:
        pool.terminate()
        with pytest.raises(CancelledError):
            lazy.next(0)
    finally:
        never.set()


def test_terminate_in_a_callback(open_pool: Any) -> None:
    pool = open_pool(1)
    called = threading.Event()

    def end(_: object) -> None:
        pool.terminate()
        called.set()

    pool.apply_async(pid, callback=end)
    assert called.wait(PATIENCE)
    pool.join()


def test_with_terminates(open_pool: Any, gate: Gate) -> None:
    with open_pool(2) as pool:
        assert pool.map(double, [1, 2]) == [2, 4]
        held = pool.apply_async(gate.hold())
        gate.wait_for(1)
    with pytest.raises(CancelledError):
        held.get(0)
    with pytest.raises(ValueError, match="Pool not running"), pool:
        pass
    pool.join()


def test_a_forgotten_pool_says_so_and_ends(site: Site) -> None:
    pools = [Pool(1, **site.keywords)]
    name = pools[0].executor.name
    assert pools[0].apply(double, (2,)) == 4
    assert site.jobs_in_queue(name) != []
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool <jobpool"):
        pools.clear()
    assert wait_until(lambda: site.jobs_in_queue(name) == [], PATIENCE)


@pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning")
def test_a_result_keeps_its_pool(site: Site) -> None:
    result = Pool(1, **site.keywords).map_async(double, [1, 2])
    gc.collect()
    assert result.get(PATIENCE) == [2, 4]


def test_the_end_of_the_process_ends_it_with_what_runs(site: Site, tmp_path: Path) -> None:
    script = run_script(
        site,
        tmp_path,
        """\
        import time
        from jobpool import Pool

        pool = Pool(1)
        print(pool.apply(abs, (-3,)))
        pool.imap(time.sleep, iter(lambda: 1000, None))
        closed = Pool(1, name="closed")
        closed.apply_async(time.sleep, (1000,))
        closed.close()
        """,
    )
    assert (script.process.returncode, script.stdout, script.stderr) == (0, "3\n", "")
    script.nothing_left()


def test_a_fork_has_no_pool(site: Site, tmp_path: Path) -> None:
    script = run_script(
        site,
        tmp_path,
        """\
        import os, sys, warnings
        from jobpool import Pool

        warnings.simplefilter("ignore", DeprecationWarning)  # since Python 3.12 a fork beside threads is one
        with Pool(1) as pool:
            assert pool.apply(abs, (-1,)) == 1
            if (pid := os.fork()) == 0:
                try:
                    pool.map(abs, [1])
                except RuntimeError as error:
                    print(error, flush=True)
                sys.exit(7)  # through __exit__
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), pool.apply(abs, (-5,)), flush=True)
        """,
    )
    assert (script.process.returncode, script.stderr) == (0, "")
    refused, last = script.stdout.splitlines()
    assert "forked" in refused
    assert last == "7 5"
    script.nothing_left()


def test_beside_multiprocessing(pool: Pool) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as other:
        assert other.map(abs, [-1, -2]) == pool.map(abs, [-1, -2]) == [1, 2]
