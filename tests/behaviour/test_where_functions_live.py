"""Functions and classes of a script, of a module beside it, of a notebook: they work there without being installed."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from scripts import run_script, started
from sites import PATIENCE, Site

SCRIPT = """\
    from dataclasses import dataclass

    import helpers_beside
    from helpers_beside import Track, measure
    from jobpool import JobPoolExecutor

    OFFSET = 100

    @dataclass
    class Point:
        x: int

        def moved(self):
            return Point(self.x + OFFSET)

    def move(point):
        assert isinstance(point, Point)
        return point.moved()

    def shift(number):
        return number + OFFSET

    def made_there(number):
        return helpers_beside.Track([number])

    def via_lambda(pool):
        return pool.submit(lambda number: [OFFSET + n for n in range(number)], 3).result(60)

    if __name__ == "__main__":
        with JobPoolExecutor(1) as pool:
            moved = pool.submit(move, Point(1)).result(60)
            assert isinstance(moved, Point) and moved == Point(101), moved
            print("main", moved)
            print("lambda", via_lambda(pool))
            print("module", pool.submit(measure, 5).result(60))
            track = pool.submit(made_there, 3).result(60)
            assert isinstance(track, Track), type(track)
            assert type(track) is helpers_beside.Track
            print("instance", track.length())
            print("method", pool.submit(track.length).result(60))
            assert pool.submit(shift, 1).result(60) == 101
            OFFSET = 7
            print("now", pool.submit(shift, 1).result(60))
            try:
                pool.submit(helpers_beside.fails).result(60)
            except helpers_beside.Trouble as error:
                print("error", error)
    """

BESIDE = """\
    FACTOR = 3

    class Track:
        def __init__(self, points):
            self.points = points

        def length(self):
            return len(self.points) * FACTOR

    class Trouble(Exception):
        pass

    def measure(number):
        return _inner(number)

    def _inner(number):
        return FACTOR * number

    def fails():
        raise Trouble("as said")
    """


def test_a_script_and_the_module_beside_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "helpers_beside.py").write_text(textwrap.dedent(BESIDE))
    script = run_script(site, tmp_path, SCRIPT)
    assert script.process.returncode == 0, script.stderr
    assert script.stdout.splitlines() == [
        "main Point(x=101)",
        "lambda [100, 101, 102]",
        "module 15",
        "instance 3",
        "method 3",
        "now 8",
        "error as said",
    ]
    script.nothing_left()


def test_a_script_without_a_main_guard(site: Site, tmp_path: Path) -> None:
    code = """\
        from jobpool import JobPoolExecutor

        def square(number):
            return number * number

        pool = JobPoolExecutor(1)
        print(list(pool.map(square, range(4))))
        """
    script = run_script(site, tmp_path, code)
    assert script.stdout == "[0, 1, 4, 9]\n", script.stderr
    assert script.process.returncode == 0
    script.nothing_left()


def test_a_module_that_the_workers_cannot_see(site: Site, tmp_path: Path) -> None:
    """A module in a directory that exists for the client alone travels by value."""
    code = """\
        import sys, shutil
        from pathlib import Path
        from jobpool import JobPoolExecutor

        Path("away").mkdir()
        Path("away/gone_soon.py").write_text("BASE = 10\\n\\ndef add(n):\\n    return BASE + n\\n")
        sys.path.insert(0, "away")
        import gone_soon
        shutil.rmtree("away")

        with JobPoolExecutor(1) as pool:
            print(pool.submit(gone_soon.add, 5).result(60))
        """
    script = run_script(site, tmp_path, code)
    assert script.stdout == "15\n", script.stderr


def test_a_file_named_like_a_module_of_the_standard_library_does_no_harm(site: Site, tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise RuntimeError('the wrong queue was imported')\n")
    (tmp_path / "random.py").write_text("raise RuntimeError('the wrong random was imported')\n")
    # Started from elsewhere: the script's own directory would shadow them in the client itself.
    code = """\
        from jobpool import JobPoolExecutor

        with JobPoolExecutor(1) as pool:
            print(pool.submit(abs, -3).result(60))
        """
    place = tmp_path / "elsewhere"
    with started(site, place, code) as script:
        script.process.wait(PATIENCE)
        assert script.stdout == "3\n", script.stderr


def test_a_notebook(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("JOBPOOL_SCHEDULER", str(site.keywords["scheduler"]))
    monkeypatch.setenv("JOBPOOL_ADDRESSES", "127.0.0.1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    cells = [
        "from jobpool import JobPoolExecutor\npool = JobPoolExecutor(1)",
        "class Cell:\n    def __init__(self, n):\n        self.n = n",
        "def work(n):\n    return Cell(n * FACTOR)\n\nFACTOR = 2",
        "first = pool.submit(work, 3).result(60)\nassert isinstance(first, Cell)\nfirst.n",
        "class Cell:\n    def __init__(self, n):\n        self.n = n + 1000\n\nFACTOR = 5",  # defined again
        "second = pool.submit(work, 3).result(60)\nassert isinstance(second, Cell)\nsecond.n",
        "list(pool.map(work, [1, 2], progress=True))[0].n",
        "pool.shutdown()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(
        notebook, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [
        output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert shown == ["6", "1015", "1005"], json.dumps(notebook, indent=1)
