"""Exceptions that do more than to say that a call failed: StopIteration, sys.exit(), Ctrl-C's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from scripts import run_script
from sites import PATIENCE, Site

import jobpool
from jobpool import JobPoolExecutor


def stops(number: int) -> int:
    if number == 3:
        return next(iter(()))
    return number


class Stops(StopIteration):
    pass


def stops_by_a_class_of_its_own(number: int) -> int:
    raise Stops(number)


def is_told(error: BaseException | None, kind: type = StopIteration) -> bool:
    assert type(error) is RuntimeError
    assert error.__cause__ is not None
    assert type(error.__cause__) is kind
    assert "in stops" in str(error.__cause__.__cause__)  # the worker's traceback
    return True


def test_stop_iteration_ends_no_loop(pool: JobPoolExecutor) -> None:
    assert is_told(pool.submit(stops, 3).exception(PATIENCE))
    assert is_told(pool.submit(stops_by_a_class_of_its_own, 1).exception(PATIENCE), Stops)
    for chunksize in (1, 3):
        results, taken = pool.map(stops, range(6), chunksize=chunksize), []
        with pytest.raises(RuntimeError) as caught:
            taken += [*results]
        assert is_told(caught.value)

    async def awaits() -> Any:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.run_in_executor(pool, stops, 3), PATIENCE)

    with pytest.raises(RuntimeError) as caught:
        asyncio.run(awaits())
    assert is_told(caught.value)


@pytest.fixture(scope="module")
def faces() -> Iterator[jobpool.Pool]:
    with jobpool.Pool(2, scheduler="local") as pool:
        yield pool


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize("how", ["map", "starmap", "imap", "imap_unordered", "apply_async", "map_async"])
def test_stop_iteration_in_a_pool(faces: jobpool.Pool, how: str, chunksize: int) -> None:
    def take() -> object:
        match how:
            case "starmap":
                return faces.starmap(stops, [(number,) for number in range(6)], chunksize)
            case "apply_async":
                return faces.apply_async(stops, (3,)).get(PATIENCE)
            case "map_async":
                return faces.map_async(stops, range(6), chunksize).get(PATIENCE)
            case _:
                return list(getattr(faces, how)(stops, range(6), chunksize))

    with pytest.raises(RuntimeError) as caught:
        take()
    assert is_told(caught.value)


def test_stop_iteration_in_joblib(faces: jobpool.Pool) -> None:
    jobpool.register_joblib()
    with joblib.parallel_config(backend="jobpool", executor=faces.executor), pytest.raises(RuntimeError) as caught:
        joblib.Parallel(n_jobs=2)(joblib.delayed(stops)(number) for number in range(6))
    assert is_told(caught.value)


EXITS = """
    import sys
    from jobpool import JobPoolExecutor

    def leaves(number):
        sys.exit(number)

    with JobPoolExecutor(1) as pool:
        print(type(pool.submit(leaves, 0).exception()).__name__, flush=True)
        pool.submit(leaves, 0).exception()
        {takes}
"""


@pytest.mark.parametrize(
    "takes", ["pool.submit(leaves, 0).result()", "list(pool.map(leaves, [0]))"], ids=["submit", "map"]
)
def test_a_script_that_a_call_ends_says_which(site: Site, tmp_path: Path, takes: str) -> None:
    if site.name == "slurm" and "map" in takes:
        pytest.skip("once is enough there")
    script = run_script(site, tmp_path / "run", EXITS.format(takes=takes))
    assert script.process.returncode == 0  # as in the standard library
    assert script.stdout == "SystemExit\n"
    told = [line for line in script.stderr.splitlines() if "SystemExit" in line]
    assert len(told) == 1, script.stderr  # once for a place in the code
    assert told[0].startswith('jobpool: warning: a call raised SystemExit(0) (File "')
    assert 'script.py", line 6, in leaves)' in told[0]
    script.nothing_left()


def raises(kind: type[BaseException]) -> None:
    raise kind("why")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_error_is_told(
    faces: jobpool.Pool, kind: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    assert type(faces.executor.submit(raises, kind).exception(PATIENCE)) is kind
    assert f"a call raised {kind.__name__}('why') (File " in capfd.readouterr().err


def test_errors_are_not_told(faces: jobpool.Pool, capfd: pytest.CaptureFixture[str]) -> None:
    assert type(faces.executor.submit(raises, ValueError).exception(PATIENCE)) is ValueError
    assert capfd.readouterr().err == ""
