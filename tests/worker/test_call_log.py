"""What calls log stands where they print, from the level of the client's root logger on."""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
from pathlib import Path

from test_workers import in_loop
from workerskit import Watched, run_workers

from jobpool.serialize import pickling


def look(clip: int) -> None:
    print("looking")
    logging.getLogger("tracker").debug("debugging clip %d", clip)
    logging.getLogger("tracker").info("looking at clip %d", clip)
    logging.getLogger("tracker").warning("clip %d is dark", clip)


async def logged(watched: Watched, function: object = look) -> list[str]:
    (id,) = watched.submit(function, (7,))  # type: ignore[arg-type]
    outcome = await watched.outcome(id)
    assert outcome.ok
    return outcome.log.decode().splitlines()


INFO = "INFO:tracker:looking at clip 7"
WARNING = "WARNING:tracker:clip 7 is dark"


@in_loop
async def test_it_stands_where_calls_print_from_the_given_level_on(tmp_path: Path) -> None:
    async with run_workers(tmp_path, log_level=logging.INFO) as watched:
        assert await logged(watched) == ["looking", INFO, WARNING]
        assert await logged(watched) == ["looking", INFO, WARNING]
    async with run_workers(tmp_path) as watched:
        assert await logged(watched) == ["looking", WARNING]
    async with run_workers(tmp_path, log_level=logging.ERROR) as watched:
        assert await logged(watched) == ["looking"]


@in_loop
async def test_a_configuration_of_the_initializers_holds(tmp_path: Path) -> None:
    def configure() -> None:
        logging.basicConfig(format="%(levelname)s here: %(message)s", level=logging.DEBUG)

    initializer = pickling.dumps_initializer(configure, ())
    async with run_workers(tmp_path, log_level=logging.ERROR, initializer=initializer) as watched:
        for _ in range(2):
            looking, *said = await logged(watched)
            assert looking == "looking"
            assert [line.partition(" clip")[0] for line in said] == [
                "DEBUG here: debugging", "INFO here: looking at", "WARNING here:",
            ]  # fmt: skip


@in_loop
async def test_a_configuration_of_a_calls_holds(tmp_path: Path) -> None:
    def configure(clip: int) -> None:
        logging.basicConfig(format="%(levelname)s here: %(message)s")  # and no level: the root logger's stays
        look(clip)

    async with run_workers(tmp_path, log_level=logging.INFO) as watched:
        assert await logged(watched, configure) == [
            "looking", "INFO here: looking at clip 7", "WARNING here: clip 7 is dark",
        ]  # fmt: skip


@in_loop
async def test_a_call_that_catches_its_stderr_gets_it(tmp_path: Path) -> None:
    def catch() -> str:
        with contextlib.redirect_stderr(io.StringIO()) as caught:
            look(7)
        return caught.getvalue()

    async with run_workers(tmp_path, log_level=logging.INFO) as watched:
        assert (await watched.run(catch)).splitlines() == [INFO, WARNING]


@in_loop
async def test_processes_that_a_call_forks_log_as_it_does(tmp_path: Path) -> None:
    def fork(clip: int) -> None:
        child = multiprocessing.get_context("fork").Process(target=look, args=(clip,))
        child.start()
        child.join()

    async with run_workers(tmp_path, log_level=logging.INFO) as watched:
        assert await logged(watched, fork) == ["looking", INFO, WARNING]


@in_loop
async def test_a_call_does_not_get_the_output_of_a_run_before(tmp_path: Path) -> None:
    """A requeued job writes to the logs of its run before."""
    for words in ("before", "now"):
        async with run_workers(tmp_path) as watched:
            (id,) = watched.submit(print, (words,))
            assert (await watched.outcome(id)).log.decode() == f"{words}\n"
