"""What is read from the kernel: peaks, threads, process trees, counters of kills for memory."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from jobpool.agent.cgroup import OomCounter, files_that_fill, find_counter
from jobpool.host.linux import descendants, thread_count
from jobpool.worker.meter import CallMeter, is_gone, own_memory, shared_out, tree_memory


def test_the_peak_is_that_of_the_call_and_not_of_the_process() -> None:
    meter = CallMeter()
    meter.start()
    # Not malloc's: that may take the block from memory which earlier tests freed, and the process did not give back.
    with mmap.mmap(-1, 150_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    _, _, peak, _ = meter.stop()
    assert peak > 150_000_000
    meter.start()
    _, _, after, _ = meter.stop()
    assert after < peak - 100_000_000


def test_cpu_counts_children_that_were_waited_for() -> None:
    meter = CallMeter()
    code = "import time\nend = time.process_time() + 0.15\nwhile time.process_time() < end: pass"
    meter.start()
    subprocess.run([sys.executable, "-c", code], check=True)
    wall, cpu, _, _ = meter.stop()
    assert cpu >= 0.15
    assert wall >= 0.15


def test_threads_are_counted() -> None:
    meter, end = CallMeter(), threading.Event()
    before = thread_count()
    assert before == psutil.Process().num_threads()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert meter.stop()[3] == thread_count() == before + 1
    end.set()
    thread.join()


@pytest.mark.alone
def test_it_costs_little() -> None:
    meter, times = CallMeter(), []
    for _ in range(20):
        begin = time.perf_counter()
        for _ in range(50):
            meter.start()
            meter.stop()
        times.append((time.perf_counter() - begin) / 50)
    assert min(times) < 50e-6  # 4 us on a free machine


@pytest.mark.alone
def test_the_memory_of_a_tree_is_that_of_all_its_processes() -> None:
    grandchild = "block = bytearray(b'x') * 100_000_000; print('up', flush=True); input()"
    child = (
        "import subprocess, sys\nblock = bytearray(b'x') * 50_000_000\n"
        f"subprocess.run([sys.executable, '-c', {grandchild!r}])"
    )
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(descendants(process.pid)) == 1
        memory = tree_memory(process.pid)
        process.communicate(b"\n")
    own, child_memory = memory.values()
    assert 50_000_000 < own < 80_000_000
    assert 100_000_000 < child_memory < 130_000_000
    assert tree_memory(process.pid) == {}
    assert is_gone(process.pid)


def test_pages_that_processes_share_are_counted_once() -> None:
    program = (
        "import os, signal\nblock = bytearray(b'x') * 100_000_000\n"
        "if os.fork() and os.fork():\n    print('up', flush=True)\nsignal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        tree = tree_memory(process.pid)
        together = shared_out(tree)
        os.killpg(process.pid, signal.SIGKILL)
    assert len(tree) == 3
    assert sum(tree.values()) > 300_000_000
    assert 100_000_000 < together < 160_000_000


def test_a_mapped_file_is_not_memory_that_is_held(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000_000))
    program = (
        "import mmap, sys\nfile = open(sys.argv[1], 'rb')\nblock = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "sum(block[::4096]); print('up', flush=True); input()"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "file")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert psutil.Process(process.pid).memory_info().rss > 100_000_000
        held = sum(tree_memory(process.pid).values())
        process.communicate(b"\n")
    assert held < 50_000_000


def test_ones_own_memory_is_as_others_see_it() -> None:
    resident, held = own_memory()
    assert abs(resident - psutil.Process().memory_info().rss) < 5_000_000
    assert abs(held - tree_memory(os.getpid())[os.getpid()]) < 5_000_000


MOUNTS_V1 = """\
25 22 0:22 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:14 - cgroup cgroup rw,cpu,cpuacct
33 25 0:30 / /sys/fs/cgroup/memory rw,relatime shared:17 - cgroup cgroup rw,memory
"""
MOUNTS_V2 = "26 23 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNTS_IN_A_CONTAINER = "26 23 0:23 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("cgroups", "mounts", "file"),
    [
        (
            "9:memory:/slurm_n1/uid_1000/job_7/step_batch/task_0\n4:cpu,cpuacct:/\n0::/\n",
            MOUNTS_V1,
            "/sys/fs/cgroup/memory/slurm_n1/uid_1000/job_7/step_batch/task_0/memory.oom_control",
        ),
        (
            "0::/system.slice/slurmstepd.scope/job_7/step_batch/user/task_0\n",
            MOUNTS_V2,
            "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_batch/user/task_0/memory.events",
        ),
        ("0::/docker/abc/job\n", MOUNTS_IN_A_CONTAINER, "/sys/fs/cgroup/job/memory.events"),
        ("4:cpu:/\n", MOUNTS_V1, None),
        ("0::/x\n", MOUNTS_V1, None),
    ],
)
def test_the_counters_file(cgroups: str, mounts: str, file: str | None) -> None:
    assert find_counter(cgroups, mounts) == (None if file is None else Path(file))


@pytest.mark.parametrize("text", ["oom_kill_disable 0\nunder_oom 0\noom_kill {}\n", "low 0\noom 7\noom_kill {}\n"])
def test_the_counter_rises_once_for_each_kill(tmp_path: Path, text: str) -> None:
    file = tmp_path / "counter"
    file.write_text(text.format(3))
    counter = OomCounter(file)
    assert not counter.claim()
    file.write_text(text.format(5))
    assert counter.open()
    assert counter.claim()
    assert counter.claim()
    assert not counter.open()
    assert not counter.claim()
    file.write_text(text.format(6))
    counter.forget()
    assert not counter.claim()
    file.unlink()
    assert not counter.open()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.events": "oom_kill 0\n", "memory.max": "1000\n", "memory.stat": "file 900\nshmem 700\n"}, 700),
        ({"memory.events": "oom_kill 0\n", "memory.max": "1000\n", "memory.stat": "file 900\nshmem 400\n"}, 0),
        ({"memory.events": "oom_kill 0\n", "memory.max": "max\n", "memory.stat": "shmem 700\n"}, 0),
        (
            {
                "memory.oom_control": "oom_kill 0\n",
                "memory.limit_in_bytes": "1000\n",
                "memory.stat": "shmem 0\nhierarchical_memory_limit 1000\ntotal_shmem 700\n",
            },
            700,
        ),
    ],
)
def test_files_in_memory_are_known_where_they_fill_the_job(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert files_that_fill(tmp_path / next(iter(files))) == expected
