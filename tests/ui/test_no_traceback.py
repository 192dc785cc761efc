"""No command ends in a traceback for what a user did, or for what the host lacks: each command under each condition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from adverse_conditions import CONDITIONS

from jobpool import JobPoolExecutor
from jobpool.cli.main import ExitCode, jobpool

MadeOnce = Callable[[str, Callable[[Path], object]], Path]

COMMAND = [sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())"]
CONDITIONS_PROGRAM = Path(__file__).with_name("adverse_conditions.py")

ARGUMENTS = {
    "doctor": ["--no-job"],
    "lab down": [],
    "lab up": ["--directory", "a b"],
    "measure": ["nowhere.py:function", "1"],
    "report": ["demo"],
}
"""Of commands whose own would take long, or that need others than a pool's name."""


def command_lines() -> Iterator[list[str]]:
    """Take the commands from where they are registered, so that a new one is looked at, too."""
    for name, command in jobpool.commands.items():
        inner = command.commands if isinstance(command, click.Group) else {"": command}
        for sub, leaf in inner.items():
            words = [name, *([sub] if sub else [])]
            needed = [each for each in leaf.params if isinstance(each, click.Argument) and each.required]
            yield [*words, *ARGUMENTS.get(" ".join(words), ["demo"] * len(needed))]


@pytest.fixture(scope="module")
def told(made_once: MadeOnce) -> dict[str, list[dict[str, Any]]]:
    """Return, for each condition, what became of each command."""
    results: dict[str, list[dict[str, Any]]] = {}
    for line in (made_once("hard-times", live_through) / "told").read_text().splitlines():
        result = json.loads(line)
        results.setdefault(result["condition"], []).append(result)
    return results


def live_through(place: Path) -> None:
    """Run each command under each condition, and write down what became of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(place))
        with JobPoolExecutor(1, scheduler="local", name="demo") as pool:
            assert pool.submit(abs, -1).result(60) == 1
        (place / "work").mkdir()
        place.chmod(0o755)
        arguments = [str(CONDITIONS_PROGRAM), str(place / "work"), str(place / ".jobpool/demo")]
        done = subprocess.run(
            [sys.executable, *arguments],
            input=json.dumps(list(command_lines())),
            env={**os.environ, "JOBPOOL_SCHEDULER": "local"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    (place / "told").write_text(done.stdout)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_no_command_ends_in_a_traceback(condition: str, told: dict[str, list[dict[str, Any]]]) -> None:
    assert len(told[condition]) == len(list(command_lines()))
    for result in told[condition]:
        assert "Traceback" not in result["err"], result
        assert result["code"] in list(ExitCode), result
        # A failure is told, unless nobody is there to read it.
        silent = condition == "the reader of stdout is gone"
        assert result["code"] == 0 or silent or any(word in result["err"] for word in ("rror: ", "note: ")), result


def run(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "JOBPOOL_SCHEDULER": "local", **variables}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, cwd=home, env=environment, check=False
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])  # it is found out at the end, or while something is printed
def test_a_full_disk_is_told_once_and_by_the_exit_code(home: Path, unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "config", "scheduler=local"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            cwd=home,
            env=environment,
            check=False,
        )
    assert done.returncode == ExitCode.FAILED
    assert done.stderr == "error: No space left on device\n  what to do: make room, or write elsewhere\n"


def test_measure_finds_out_whether_it_can_draw_before_it_measures(home: Path) -> None:
    (home / "stand.py").write_text("from pathlib import Path\ndef ran(x):\n    Path('ran').touch()\n")
    (home / "matplotlib.py").write_text("raise ImportError('no such library here')\n")
    measure = ("measure", str(home / "stand.py:ran"), "1", "--once")
    without = run(*measure, "--plot", "x.png", home=home, PYTHONPATH=str(home))
    (home / "matplotlib.py").unlink()
    elsewhere = run(*measure, "--plot", "nowhere/x.png", home=home)
    for done, words in ((without, "pip install matplotlib"), (elsewhere, "nowhere/x.png cannot be written")):
        assert done.returncode == ExitCode.USAGE
        assert "Traceback" not in done.stderr
        assert words in done.stderr
    assert not (home / "ran").exists()
    assert not (home / ".jobpool").exists()


UNGUARDED = """
from jobpool import JobPoolExecutor
def double(x):
    return 2 * x
with JobPoolExecutor(2) as pool:
    print(list(pool.map(double, range(20))))
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (UNGUARDED, "line 5, makes a pool while jobpool measure imports it"),
        (UNGUARDED.replace("JobPoolExecutor", "Pool"), "makes a pool while jobpool measure imports it"),
        ("def double(x) return 2\n", "SyntaxError"),
        ("def double(x): pass\n[][1]\n", "IndexError: list index out of range"),
        ("import sys\nsys.exit('bye')\n", "SystemExit: bye"),
    ],
)
def test_measure_imports_a_script_for_its_function_alone(home: Path, text: str, words: str) -> None:
    (home / "script.py").write_text(text)
    done = run("measure", "script.py:double", "1", home=home)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert f'File "{home}/script.py", line ' in done.stderr
    assert not (home / ".jobpool").exists()


def test_measure_tells_what_the_function_itself_raised(home: Path) -> None:
    (home / "script.py").write_text("def half(text):\n    return 1 / int(text)\n")
    done = run("measure", "script.py:half", "0", home=home)
    assert done.returncode == ExitCode.FAILED
    assert "script.py:half failed with each input:\n" in done.stderr
    assert "line 2, in half" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "Traceback" not in done.stderr
