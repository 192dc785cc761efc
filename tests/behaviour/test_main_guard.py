"""Scripts without ``if __name__ == "__main__":``: they run, and no process that imports one makes a pool of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAD = "from jobpool import JobPoolExecutor\n\ndef double(number):\n    return 2 * number\n\n"
POOL = 'pool = JobPoolExecutor(1, scheduler="local")\n'
SPAWN = """
import concurrent.futures, multiprocessing
print(list(pool.map(double, range(3))), flush=True)
context = multiprocessing.get_context("spawn")
try:
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as local:
        local.submit(double, 1).result()
except concurrent.futures.process.BrokenProcessPool:
    print("broken")
pool.shutdown()
"""
IMPORTED = """
def call(number):
    import helper
    return helper.double(number)

print(pool.submit(call, 1).exception())
pool.shutdown()
"""


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "run.py").write_text(text)
    return subprocess.run(
        [sys.executable, "run.py"], cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=100
    )


def test_a_process_that_imports_the_script_makes_no_second_pool(tmp_path: Path) -> None:
    done = run(tmp_path, HEAD + POOL + SPAWN)
    assert (done.returncode, done.stdout) == (0, "[0, 2, 4]\nbroken\n"), done.stderr
    assert "run.py, line 6, makes a pool while a process that multiprocessing has started imports this" in done.stderr
    assert 'below: if __name__ == "__main__":' in done.stderr
    assert len(list((Path.home() / ".jobpool").glob("pool-*"))) == 1


def test_a_call_that_imports_a_module_makes_no_pool_in_each_worker(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(HEAD + POOL)
    done = run(tmp_path, HEAD + POOL + IMPORTED)
    assert done.returncode == 0, done.stderr
    assert "helper.py, line 6, makes a pool while a call imports 'helper'" in done.stdout
    assert len(list((Path.home() / ".jobpool").glob("pool-*"))) == 1


def test_a_module_may_make_a_pool_for_the_script_that_imports_it(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(HEAD + POOL)
    done = run(tmp_path, "from helper import double, pool\nprint(pool.submit(double, 2).result())\npool.shutdown()\n")
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr
