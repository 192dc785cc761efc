"""Functions whose use is known, measured: what is said of them is so, and what is proposed for them is enough."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobpool import ConfigError, JobPoolExecutor, Profile, Retry
from jobpool.show.profile_text import blocks
from jobpool.testing import SlurmLab
from jobpool.tools.sampler import measured

MIB = 2**20
EXAMPLES = Path(__file__).parents[2] / "examples"
prepared: int
"""Set by an initializer, in a worker."""

COMMAND = [sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())"]

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def pool() -> Iterator[JobPoolExecutor]:
    before = os.environ["HOME"]
    with tempfile.TemporaryDirectory(prefix="jobpool-home-", dir="/tmp") as home:
        os.environ["HOME"] = home
        with JobPoolExecutor(2, scheduler="local", memory="1 GiB", walltime="5h") as made:
            os.environ["HOME"] = before
            yield made


def fill(size: int) -> mmap.mmap:
    # A mapping of its own: freed at once, so that a small call after a large one is small again.
    memory = mmap.mmap(-1, size * MIB)
    for page in range(0, size * MIB, mmap.PAGESIZE):
        memory[page] = 1
    return memory


def allocate(size: int) -> None:
    memory = fill(size)
    time.sleep(0.05)
    memory.close()


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_memory(pool: JobPoolExecutor) -> None:
    profile = pool.measure(allocate, [50, 200, 350], repeat=False)
    assert [call.sample for call in profile.calls] == [0, 1, 2]
    small, middle, large = (call.peak for call in profile.calls)
    assert middle - small == pytest.approx(150 * MIB, rel=0.05)
    assert large - middle == pytest.approx(150 * MIB, rel=0.05)
    assert 350 * MIB < large < 400 * MIB
    assert large < profile.request().memory <= 1.5 * large
    assert not profile.growth.known


def test_memory_that_no_look_can_see() -> None:
    def keep_the_gil(size: int) -> int:
        return len(b"\1" * (size * MIB))  # in C, and gone when the next look is possible

    with JobPoolExecutor(1, scheduler="local") as pool:
        profile = pool.measure(keep_the_gil, [300], repeat=False)
    assert profile.memory.most == pytest.approx(300 * MIB, rel=0.15)


def test_a_leak(pool: JobPoolExecutor) -> None:
    def leak(size: int) -> None:
        sys.modules.setdefault("leaked", []).append(fill(size))  # type: ignore[arg-type]

    profile = pool.measure(leak, [8])
    assert len(profile.calls) == 6
    assert profile.growth.leaks
    assert profile.growth.each == pytest.approx(8 * MIB, rel=0.1)
    proposal = profile.request()
    assert proposal.max_tasks_per_child
    base = profile.calls[0].peak
    assert proposal.memory > base + (proposal.max_tasks_per_child - 1) * 8 * MIB
    assert "a leak" in str(profile)


def test_threads_that_wait(pool: JobPoolExecutor) -> None:
    def wait(count: int) -> None:
        leave = threading.Event()
        threads = [threading.Thread(target=leave.wait) for _ in range(count)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        leave.set()
        for thread in threads:
            thread.join()

    profile = pool.measure(wait, [12], repeat=False)
    assert profile.threads.most == 13
    proposal = profile.request()
    assert proposal.cores == 1
    assert "most of its 13 threads wait" in dict(proposal.reasons)["cores"]


def test_a_program_that_the_call_starts(pool: JobPoolExecutor) -> None:
    def run(size: int) -> None:
        code = f"import time; d = bytearray(b'x') * ({size} << 20); e = time.process_time() + 0.4\n"
        code += "while time.process_time() < e: pass"
        subprocess.run([sys.executable, "-c", code], check=True)

    [call] = pool.measure(run, [150], repeat=False).calls
    assert call.processes == 2
    assert 150 * MIB < call.peak < 200 * MIB
    assert 0.4 <= call.cpu < 0.8


def test_reading_and_writing(pool: JobPoolExecutor, tmp_path: Path) -> None:
    def copy(size: int) -> None:
        (tmp_path / "data").write_bytes(bytes(size * MIB))
        (tmp_path / "data").read_bytes()
        time.sleep(0.3)

    profile = pool.measure(copy, [10], repeat=False)
    assert profile.read is not None
    assert profile.written is not None
    assert profile.read.most == pytest.approx(10 * MIB, rel=0.05)
    assert profile.written.most == pytest.approx(10 * MIB, rel=0.05)
    assert "most of the time it waits" in dict(profile.request().reasons)["cores"]


def test_bursts(pool: JobPoolExecutor) -> None:
    def burst(seconds: float) -> None:
        time.sleep(1.5)
        burn(seconds)

    [call] = pool.measure(burst, [0.5], repeat=False).calls
    assert call.cpu == pytest.approx(0.5, abs=0.15)
    assert call.wall > 1.9  # two clocks: the CPU's may be a little ahead
    assert call.cpus < 0.35
    assert call.peak_cpus > 1.5 * call.cpus


def test_samples_that_fail_are_told_and_the_others_count(pool: JobPoolExecutor) -> None:
    profile = pool.measure(lambda number: 1 / number, [1, 0, 2])
    assert {call.sample for call in profile.calls} == {0, 2}
    [failed] = profile.failed
    assert failed.sample == 1
    assert isinstance(failed.error, ZeroDivisionError)
    assert "sample 2 failed: ZeroDivisionError" in str(profile)
    with pytest.raises(ZeroDivisionError):
        pool.measure(lambda number: 1 / number, [0])


def test_samples_are_needed(pool: JobPoolExecutor) -> None:
    with pytest.raises(ConfigError, match="no samples"):
        pool.measure(allocate, [])
    profile = pool.measure(abs, [1], repeat=False)
    with pytest.raises(ConfigError, match="at least 1"):
        profile.request(calls=0)


def test_what_the_initializer_sets_is_there() -> None:
    def prepare(value: int) -> None:
        global prepared
        prepared = value

    def use(_: int) -> None:
        assert prepared == 7

    with JobPoolExecutor(1, scheduler="local", initializer=prepare, initargs=(7,)) as pool:
        assert len(pool.measure(use, [1], repeat=False).calls) == 1


def test_the_job_that_measured_ends_with_it(pool: JobPoolExecutor) -> None:
    pool.measure(abs, [1], repeat=False)
    assert pool.status().jobs == ()


def test_it_is_shown_as_text_and_as_a_picture(pool: JobPoolExecutor, tmp_path: Path) -> None:
    profile = pool.measure(allocate, [20, 40])
    assert isinstance(profile, Profile)
    text = str(profile)
    for word in ("allocate: 6 call(s) with 2 sample(s)", "CPU time", "memory, peak", "does not grow", "█"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100
    pytest.importorskip("matplotlib")
    profile.plot(tmp_path / "profile.png")
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")


def test_blocks() -> None:
    assert blocks([0, 1, 2, 4, 8]) == " ▁▂▄█"
    assert blocks([0, 0]) == "  "


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "mine.py").write_text("def double(value):\n    return 2 * value\n\nlimit = 3\n")
    environment = {**os.environ, "JOBPOOL_SCHEDULER": "local"}
    return subprocess.run(
        [*COMMAND, "measure", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_from_the_command_line(tmp_path: Path) -> None:
    done = command(tmp_path, "mine.py:double", "a", "b", "--calls", "100", "--start")
    assert (done.returncode, done.stderr) == (0, "")
    assert "double: 6 call(s) with 2 sample(s)" in done.stdout
    assert "JobPoolExecutor(cores=1" in done.stdout
    for whose in ("this proposal", "what is configured now"):
        assert f"in waiting: a job of {whose} would start at once (an estimate)" in done.stdout


def test_for_programs(tmp_path: Path) -> None:
    done = command(tmp_path, "mine:double", "--literal", "[1, 2]", "3", "--once", "--json", "--set", "memory=1 GiB")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [call["sample"] for call in data["calls"]] == [0, 1]
    assert data["request"]["cores"] == 1
    assert data["memory"]["most"] < data["request"]["memory"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mine.double", "a"], "is not MODULE:FUNCTION"),
        (["nowhere:double", "a"], "No module named 'nowhere'"),
        (["mine:triple", "a"], "triple"),
        (["mine:limit", "a"], "is no function, but of type int"),
        (["mine:double", "--literal", "[1"], "is not Python"),
    ],
)
def test_what_cannot_be_found_is_told(tmp_path: Path, words: list[str], told: str) -> None:
    done = command(tmp_path, *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_what_is_proposed_for_the_video_analysis_is_enough_and_not_much_more(
    slurm_lab_cgroups: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_lab(slurm_lab_cgroups)  # whose memory limits kill
    for package in ("cv2", "matplotlib", "skvideo"):
        if importlib.util.find_spec(package) is None:  # not imported: other tests look for what is
            pytest.skip(f"not installed: {package}")
    monkeypatch.syspath_prepend(EXAMPLES)
    video = importlib.import_module("video_analysis")
    on_slurm: dict[str, Any] = {"scheduler": "slurm", "addresses": ["127.0.0.1"]}
    clips = [video.look(path) for path in video.find_clips()]
    segments = [segment for clip in clips for segment in video.cut(clip)]
    with JobPoolExecutor(2, **on_slurm) as pool:
        profile = pool.measure(video.analyse, segments[:: len(segments) // 3], repeat=False)
    # The nodes are smaller than what is tried first.
    assert profile.tried.cores <= 2
    proposal = profile.request(calls=len(segments), max_workers=2)
    never = Retry(lost=0, crashed=0)
    with JobPoolExecutor(2, **on_slurm, **proposal.keywords(), retry=never) as pool:
        futures = [pool.submit(measured, video.analyse, segment) for segment in segments]
        calls = [future.result(120) for future in futures]
    used = max(call.peak for call in calls)
    assert used < proposal.memory <= max(64 * MIB, 1.5 * used)
    busy = sum(call.cpu for call in calls) / sum(call.wall for call in calls)
    # Cores are whole. What a machine that others use gave the calls this time may be less than they can use.
    assert proposal.cores <= math.ceil(1.5 * max(busy, profile.cpus.most))
