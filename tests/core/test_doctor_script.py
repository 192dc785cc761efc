"""A script that makes a pool whenever it is imported is known by its text."""

from __future__ import annotations

import pytest

from jobpool.diagnose.finding import Level
from jobpool.diagnose.main_guard import examine_script

GUARDED = """
from jobpool import JobPoolExecutor
import multiprocessing

def main():
    with JobPoolExecutor() as pool:
        print(list(pool.map(abs, [1])))

if __name__ == "__main__":
    main()
"""
OPEN = GUARDED.replace('if __name__ == "__main__":\n    main()', "main()")


@pytest.mark.parametrize(
    ("text", "start_method", "level", "words"),
    [
        (GUARDED, "forkserver", Level.OK, ["makes no pool when it is imported"]),
        ("import jobpool\n\ndef f():\n    return jobpool.Pool(2)\n", "fork", Level.OK, ["makes no pool"]),
        (
            OPEN,
            "forkserver",
            Level.PROBLEM,
            ["line 9 of run.py makes a pool", "line 3 starts processes by 'forkserver'"],
        ),
        (OPEN, "fork", Level.NOTE, ["well by 'fork', and not by 'spawn'"]),
        (OPEN + 'multiprocessing.set_start_method("spawn")\n', "fork", Level.PROBLEM, ["line 10 starts", "'spawn'"]),
        (OPEN.replace("import multiprocessing", "").strip(), "fork", Level.NOTE, ["well for 'python run.py'"]),
        ("import jobpool as jp\nclass A:\n    pool = jp.JobPoolExecutor()\n", "fork", Level.NOTE, ["line 3 of run.py"]),
        (
            "from jobpool import Pool as P\nif __name__ == '__main__':\n    pass\nelse:\n    with P(2) as p: pass\n",
            "fork",
            Level.NOTE,
            ["line 5 of run.py"],
        ),
        ("def broken(:\n", "fork", Level.PROBLEM, ["is not a Python script"]),
    ],
)
def test_what_is_run_by_an_import(text: str, start_method: str, level: Level, words: list[str]) -> None:
    [finding] = examine_script(text, "run.py", start_method=start_method)
    assert (finding.subject, finding.level) == ("__main__ guard", level)
    for word in words:
        assert word in finding.text
    assert bool(finding.cure) == (level is not Level.OK and "broken" not in text)
