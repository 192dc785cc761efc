"""What is too large to travel is the exception of its own call, found where it is made; all else fits on every hop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest

from jobpool import JobPoolExecutor, NotPicklable
from jobpool.model.call import Outcome, Usage
from jobpool.model.units import Memory
from jobpool.serialize import chunks, pickling
from jobpool.transport import frames, packing, size_limit
from jobpool.transport.messages.agent import Done
from jobpool.transport.messages.base import Message
from jobpool.transport.messages.client import CallsDone, JobOfCalls
from jobpool.transport.messages.worker import CallDone
from jobpool.worker import worker as child

SLACK = frames.FRAME_LIMIT - size_limit.LARGEST
PATIENCE = 60.0


def overhead(message: Message, content: bytes) -> int:
    """Return how much larger than its content a message is."""
    return sum(map(len, packing.pack(message))) - len(content)


def test_a_result_of_the_largest_size_fits_into_each_message_on_its_way() -> None:
    """Each hop adds its own words to it, and may add the largest output that travels with a result."""
    content, log, words = b"x" * 1000, b"o" * child.LOG_KEPT, "w" * 300
    usage = Usage(wall=1.0, cpu=1.0, peak_memory=Memory(2**50), threads=1000)
    outcome = Outcome(2**40, True, content, usage, log, 256, 256, words)
    job = JobOfCalls("j" * 100, "n" * 255, "p" * 4096)
    for message in (CallDone(outcome, 2**50, 1e9), Done([outcome]), CallsDone(job, [outcome])):
        assert overhead(message, content) < SLACK / 4


def test_rows_that_go_together_fit_with_one_of_the_largest_size() -> None:
    """The results before the last one are sent when they are much; until then they wait."""
    results = chunks.Results()
    wide = "\N{GRINNING FACE}"  # four bytes in a message, and one character
    while results.size <= child.SEND_SIZE - chunks.PAYLOAD:
        results.add(wide * chunks.PAYLOAD)
    results.add_exception(ValueError("x" * chunks.PAYLOAD))
    last = b"x" * (chunks.PAYLOAD + 1)
    results.add(last)
    assert len(results.take()) - len(last) < SLACK / 2


def test_texts_and_bytes_in_rows_count_as_what_is_to_be_sent() -> None:
    results = chunks.Results()
    for value in ("x" * 1000, b"x" * 1000):
        results.add(value)
    assert results.size == 2000
    assert chunks.loads_results(results.take()) == ["x" * 1000, b"x" * 1000]
    assert results.size == 0


@pytest.mark.parametrize("make", [pickling.dumps_result, lambda value: pickling.dumps_initializer(print, (value,))])
def test_what_is_one_byte_too_large_is_refused_by_its_size(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Any], bytes]
) -> None:
    size = len(make(b"x" * 5000))
    monkeypatch.setattr(size_limit, "LARGEST", size)
    make(b"x" * 5000)
    with pytest.raises(NotPicklable, match="pickled, more than the"):
        make(b"x" * 5001)


def test_an_exception_that_is_too_large_comes_as_what_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("many words", b"x" * 300_000)
    assert isinstance(pickling.loads_exception(pickling.dumps_exception(error)), ValueError)
    monkeypatch.setattr(size_limit, "LARGEST", 200_000)
    data = pickling.dumps_exception(error)
    assert len(data) < 200_000
    came = pickling.loads_exception(data)
    assert isinstance(came, NotPicklable)
    assert "ValueError: ('many words'" in str(came)


def lower_the_limit() -> None:
    from jobpool.transport import size_limit

    size_limit.LARGEST = 100_000


def much(size: int) -> bytes | bytearray:
    return bytes(size) if size % 2 else bytearray(size)


def fail_with_much(size: int) -> None:
    raise ValueError(bytes(size))


def test_too_large_is_the_exception_of_its_call_alone() -> None:
    """The workers of this pool may send less than others."""
    with JobPoolExecutor(1, scheduler="local", initializer=lower_the_limit) as pool:
        large, failing = pool.submit(much, 200_001), pool.submit(fail_with_much, 200_001)
        for future in (large, failing):
            error = future.exception(PATIENCE)
            assert isinstance(error, NotPicklable)
            assert "more than the 97.66 KiB" in str(error)
        for odd in (0, 1):
            sizes = [1000 + odd, 200_000 + odd, 2000 + odd]
            results = pool.map(much, sizes)
            assert len(next(results)) == sizes[0]
            with pytest.raises(NotPicklable, match="more than"):
                next(results)
        with pytest.raises(NotPicklable, match="more than"):
            list(pool.map(fail_with_much, [200_001]))
        fits = pool.submit(much, 90_000)
        assert len(fits.result(PATIENCE)) == 90_000
        assert large.job is not None
        assert fits.job is not None
        assert large.job.id == fits.job.id  # it went on


def just_below(size: int) -> bytes:
    return bytes(size)


@pytest.mark.slow
def test_a_result_a_little_below_four_gibibytes_ends_nothing_but_its_call() -> None:
    """For real: it would still fit into the worker's message, and not into that of its agent or the server."""
    if psutil.virtual_memory().available < 10 * 2**30:
        pytest.skip("NOT TESTED: a result of 4 GiB; less than 10 GiB of memory are free")
    with JobPoolExecutor(1, scheduler="local") as pool:
        too_large = pool.submit(just_below, frames.FRAME_LIMIT - 200)
        assert isinstance(too_large.exception(4 * PATIENCE), NotPicklable)
        assert pool.submit(just_below, 1).result(PATIENCE) == b"\0"
