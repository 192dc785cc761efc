"""What the standard library does with any executor's futures, and what people do with them: asyncio, ``wait``, tqdm."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gates import Gate, running
from sites import PATIENCE
from tqdm import tqdm

from jobpool import JobPoolExecutor


def double(value: int) -> int:
    return 2 * value


def invert(value: int) -> float:
    return 1 / value


@pytest.fixture
def threads() -> Iterator[cf.ThreadPoolExecutor]:
    """Another executor, to mix futures with."""
    with cf.ThreadPoolExecutor(2) as made:
        yield made


async def arrivals(gate: Gate, count: int, name: object = "call") -> None:
    """Wait until so many calls have come to the gate, without holding up the loop."""
    await asyncio.get_running_loop().run_in_executor(None, gate.wait_for, count, name)


def test_asyncio_gathers_calls_in_order(executor: JobPoolExecutor) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, double, number) for number in range(50)))

    assert asyncio.run(main()) == [2 * number for number in range(50)]


def test_an_error_is_raised_where_the_call_is_awaited(executor: JobPoolExecutor) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(executor, invert, 0)

    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(main())
    assert "return 1 / value" in str(caught.value.__cause__)


def test_a_cancelled_task_cancels_the_call_that_waits(executor: JobPoolExecutor, gate: Gate) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        held = [loop.run_in_executor(executor, gate.hold(), number) for number in range(2)]
        await arrivals(gate, 2)
        waiting = executor.submit(double, 1)
        task = asyncio.ensure_future(asyncio.wrap_future(waiting))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)  # asyncio tells the future in the loop's next turn
        assert waiting.cancelled()
        gate.open()
        assert await asyncio.gather(*held) == [0, 1]

    asyncio.run(main())


def test_a_call_that_is_cancelled_elsewhere_cancels_who_awaits_it(executor: JobPoolExecutor, gate: Gate) -> None:
    async def main() -> None:
        held = [executor.submit(gate.hold(), number) for number in range(2)]
        await arrivals(gate, 2)
        waiting = executor.submit(double, 1)
        wrapped = asyncio.wrap_future(waiting)
        assert waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        gate.open()
        for future in held:
            await asyncio.wrap_future(future)

    asyncio.run(main())


def test_a_timeout_leaves_a_running_call_and_the_pool_alone(executor: JobPoolExecutor, gate: Gate) -> None:
    async def main() -> None:
        future = executor.submit(gate.hold(), "late")
        await arrivals(gate, 1)
        await asyncio.get_running_loop().run_in_executor(None, running, future)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(future), 0.05)
        gate.open()
        assert await asyncio.wrap_future(executor.submit(double, 1)) == 2
        assert future.result(PATIENCE) == "late"

    asyncio.run(main())


def test_the_loop_goes_on_while_calls_run(executor: JobPoolExecutor, gate: Gate) -> None:
    async def main() -> str:
        call = asyncio.get_running_loop().run_in_executor(executor, gate.hold(), "passed")
        await arrivals(gate, 1)
        asyncio.get_running_loop().call_later(0.01, gate.open)
        return str(await call)

    assert asyncio.run(main()) == "passed"


def test_as_completed_of_asyncio(executor: JobPoolExecutor, gate: Gate) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, gate.hold(), "slow"), loop.run_in_executor(executor, double, 1)]
        got = []
        for next_one in asyncio.as_completed(calls):
            got.append(await next_one)
            gate.open()
        return got

    assert asyncio.run(main()) == [2, "slow"]


# Futures of several executors


def test_wait_for_futures_of_two_executors(
    executor: JobPoolExecutor, threads: cf.ThreadPoolExecutor, gate: Gate
) -> None:
    quick, slow = threads.submit(double, 1), executor.submit(gate.hold(), "ours")
    held = threads.submit(gate.hold("thread"), "theirs")
    assert cf.wait([quick, slow, held], PATIENCE, cf.FIRST_COMPLETED).done == {quick}
    ours = executor.submit(double, 2)
    assert cf.wait([slow, held, ours], PATIENCE, cf.FIRST_COMPLETED).done == {ours}
    gate.open()
    done, not_done = cf.wait([quick, slow, held, ours], PATIENCE)
    assert (done, not_done) == ({quick, slow, held, ours}, set())


def test_wait_for_the_first_exception_of_two_executors(
    executor: JobPoolExecutor, threads: cf.ThreadPoolExecutor, gate: Gate
) -> None:
    held = threads.submit(gate.hold(), "theirs")
    fine, wrong = executor.submit(double, 1), executor.submit(invert, 0)
    done, not_done = cf.wait([held, fine, wrong], PATIENCE, cf.FIRST_EXCEPTION)
    assert wrong in done
    assert held in not_done
    gate.open()
    assert held.result(PATIENCE) == "theirs"


def test_as_completed_over_futures_of_two_executors(
    executor: JobPoolExecutor, threads: cf.ThreadPoolExecutor, gate: Gate
) -> None:
    slow, quick, theirs = executor.submit(gate.hold(), 0), executor.submit(double, 1), threads.submit(double, 2)
    order = cf.as_completed([slow, quick, theirs, quick], PATIENCE)
    assert {next(order), next(order)} == {quick, theirs}
    gate.open()
    assert list(order) == [slow]
    late = executor.submit(time.sleep, 0.2)
    with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
        list(cf.as_completed([late], 0.01))
    late.result(PATIENCE)


def test_a_waiter_hears_of_a_cancelled_call(executor: JobPoolExecutor, gate: Gate) -> None:
    held = [executor.submit(gate.hold()) for _ in range(2)]
    gate.wait_for(2)
    waiting = executor.submit(double, 1)
    heard: list[Any] = []
    waits = threading.Thread(target=lambda: heard.extend(cf.wait([waiting], PATIENCE).done))
    waits.start()
    assert waiting.cancel()
    waits.join(PATIENCE)
    assert heard == [waiting]
    gate.open()
    cf.wait(held, PATIENCE)


# Callbacks


def test_callbacks_come_in_order_and_one_that_raises_stops_no_other(
    executor: JobPoolExecutor, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []
    ended = threading.Event()

    def wrong(_: cf.Future[Any]) -> None:
        called.append("wrong")
        raise ValueError("of a callback")

    future = executor.submit(gate.hold())
    future.add_done_callback(lambda _: called.append("first"))
    future.add_done_callback(wrong)
    future.add_done_callback(lambda _: called.append("last"))
    future.add_done_callback(lambda _: ended.set())
    gate.open()
    assert ended.wait(PATIENCE)
    assert called == ["first", "wrong", "last"]
    assert "of a callback" in caplog.text


def test_a_callback_of_a_call_that_has_ended_is_called_at_once(executor: JobPoolExecutor) -> None:
    future = executor.submit(double, 1)
    assert future.result(PATIENCE) == 2
    called: list[Any] = []
    future.add_done_callback(lambda done: called.append((done, threading.current_thread())))
    assert called == [(future, threading.current_thread())]


def test_callbacks_of_cancelled_and_of_failed_calls(executor: JobPoolExecutor, gate: Gate) -> None:
    held = [executor.submit(gate.hold()) for _ in range(2)]
    gate.wait_for(2)
    called: list[Any] = []
    waiting = executor.submit(double, 1)
    waiting.add_done_callback(called.append)
    assert waiting.cancel()
    assert called == [waiting]
    gate.open()
    cf.wait(held, PATIENCE)
    ended = threading.Event()
    wrong = executor.submit(invert, 0)

    def note(future: cf.Future[float]) -> None:
        called.append(future)
        ended.set()

    wrong.add_done_callback(note)
    assert ended.wait(PATIENCE)
    assert called == [waiting, wrong]
    assert isinstance(wrong.exception(), ZeroDivisionError)


def test_a_callback_may_submit(executor: JobPoolExecutor) -> None:
    chained: cf.Future[int] = cf.Future()

    def go_on(future: cf.Future[int]) -> None:
        executor.submit(double, future.result()).add_done_callback(lambda last: chained.set_result(last.result()))

    executor.submit(double, 1).add_done_callback(go_on)
    assert chained.result(PATIENCE) == 4


# Progress bars


def test_tqdm_over_a_map_and_over_as_completed(executor: JobPoolExecutor, capsys: pytest.CaptureFixture[str]) -> None:
    # What tqdm.contrib.concurrent does with the standard library's executors.
    assert list(tqdm(executor.map(double, range(30)), total=30)) == [2 * number for number in range(30)]
    assert "30/30" in capsys.readouterr().err
    futures = [executor.submit(double, number) for number in range(20)]
    assert sum(future.result() for future in tqdm(cf.as_completed(futures), total=20)) == 380
    assert "20/20" in capsys.readouterr().err


def test_tqdm_updated_by_callbacks(executor: JobPoolExecutor, capsys: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()
    with tqdm(total=20) as bar:

        def count(_: cf.Future[int]) -> None:
            bar.update()
            if bar.n == 20:
                ended.set()

        for number in range(20):
            executor.submit(double, number).add_done_callback(count)
        assert ended.wait(PATIENCE)
    assert "20/20" in capsys.readouterr().err
