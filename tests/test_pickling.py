"""What travels, how it comes home, and who is blamed when it cannot."""

from __future__ import annotations

import copyreg
import functools
import math
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import process
from pathlib import Path
from typing import Any

import pytest

from jobpool.model.errors import NotPicklable
from jobpool.serialize import pickling

LOCK = threading.Lock()


def uses_lock() -> None:
    with LOCK:
        pass


def uses_it_indirectly() -> None:
    uses_lock()


def square(x: int) -> int:
    return x * x


def anything(x: Any) -> Any:
    return x


class Custom(Exception):
    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"{code} at {where}")


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("bad day")
        self.lock = threading.Lock()


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize("args", [(), (1, "a", b"b", None, 2.5, True), ([1, {"k": (2,)}], {3}), (math.pi, Path("x"))])
def test_arguments_come_through(args: tuple[Any, ...]) -> None:
    kwargs = {"key": [1, 2], "fn": 3}
    assert pickling.loads_arguments(pickling.dumps_arguments(args, kwargs)) == (args, kwargs)


def test_the_key_of_a_function_is_that_of_its_content() -> None:
    one, data = pickling.dumps_function(square)
    again, _ = pickling.dumps_function(square)
    other, _ = pickling.dumps_function(functools.partial(square, 3))
    assert one == again != other
    assert pickling.loads_function(data)(7) == 49


def test_the_argument_to_blame_is_named() -> None:
    with pytest.raises(NotPicklable, match=r"argument 2, of type _thread\.lock, cannot be pickled") as caught:
        pickling.dumps_arguments((1, LOCK), {})
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(NotPicklable, match=r"argument 'stream', of type generator"):
        pickling.dumps_arguments((1,), {"a": 2, "stream": (x for x in "abc")})


def test_the_variable_to_blame_is_named() -> None:
    lock = threading.Lock()

    def closure() -> bool:
        return lock.locked()

    cases: list[tuple[Any, str]] = [
        (uses_lock, "'uses_lock' cannot be pickled: global variable 'LOCK' -> lock: TypeError"),
        (
            uses_it_indirectly,
            "'uses_it_indirectly' cannot be pickled: global variable 'uses_lock' -> global variable 'LOCK' -> lock: ",
        ),
        (closure, r"variable 'lock' \(of the enclosing function\) -> lock: TypeError"),
        (functools.partial(anything, lock), "pickled: argument 1 -> lock: TypeError"),
        (functools.partial(anything, x=lock), "pickled: argument 'x' -> lock: TypeError"),
    ]
    for function, words in cases:
        with pytest.raises(NotPicklable, match=words):
            pickling.dumps_function(function)


def test_a_result_that_cannot_travel_names_its_type() -> None:
    with pytest.raises(NotPicklable, match="result, of type generator, cannot be pickled"):
        pickling.dumps_result(x for x in "abc")


def test_an_exception_carries_its_remote_traceback() -> None:
    error = pickling.loads_exception(pickling.dumps_exception(raised(KeyError("x"))))
    assert type(error) is KeyError
    assert error.args == ("x",)
    assert type(error.__cause__) is process._RemoteTraceback
    assert "raise error" in str(error.__cause__)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unpicklable(), r"raised .*Unpicklable: bad day, which cannot be pickled: TypeError"),
        (Custom(3, where="home"), r"raised .*Custom: 3 at home, which cannot be unpickled here: TypeError"),
    ],
)
def test_an_exception_that_cannot_travel_says_what_it_was(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dask, where it is imported, teaches pickle (through tblib) to make exceptions again without their __init__.
    monkeypatch.delitem(copyreg.dispatch_table, type(error), raising=False)
    back = pickling.loads_exception(pickling.dumps_exception(raised(error)))
    assert isinstance(back, NotPicklable)
    with pytest.raises(NotPicklable, match=words):
        raise back
    assert "raise error" in str(back.__cause__)


def test_a_missing_module_on_the_worker_is_named() -> None:
    pickled = b"cjobpool_no_such_module\nfunction\n."
    with pytest.raises(
        NotPicklable, match="'jobpool_no_such_module', which cannot be imported on the worker"
    ) as caught:
        pickling.loads_function(pickled)
    assert isinstance(caught.value.__cause__, ImportError)
    assert sys.prefix in str(caught.value)


CLIENT = """
    import os, subprocess, sys
    from pathlib import Path
    from jobpool.serialize import pickling
    import own

    def main():
        key, function = pickling.dumps_function(own.make)
        arguments = pickling.dumps_arguments((own.Point(1, 2), own.Colour.RED), {})
        worker = Path(__file__).with_name("worker.py")
        Path("function").write_bytes(function)
        Path("arguments").write_bytes(arguments)
        # Another directory, isolated: the worker cannot import ``own``.
        subprocess.run([sys.executable, "-P", "elsewhere/worker.py"], check=True)
        point, colour = pickling.loads(Path("result").read_bytes())
        assert type(point) is own.Point, type(point)
        assert (point.x, point.y) == (2, 4)
        assert colour is own.Colour.RED
        assert not set(sys.modules) & {"dask", "distributed", "numpy"}

    main()
"""

OWN = """
    import enum
    from dataclasses import dataclass

    FACTOR = 2

    class Colour(enum.Enum):
        RED = 1

    @dataclass
    class Point:
        x: int
        y: int

    def scale(point):
        return Point(point.x * FACTOR, point.y * FACTOR)

    def make(point, colour):
        assert isinstance(point, Point)
        assert colour is Colour.RED
        return scale(point), colour
"""

WORKER = """
    from pathlib import Path
    from jobpool.serialize import pickling

    function = pickling.loads_function(Path("function").read_bytes())
    args, kwargs = pickling.loads_arguments(Path("arguments").read_bytes())
    Path("result").write_bytes(pickling.dumps_result(function(*args, **kwargs)))
"""


def test_own_modules_travel_by_value_and_classes_keep_their_identity(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name, text in (("client.py", CLIENT), ("own.py", OWN), ("elsewhere/worker.py", WORKER)):
        (tmp_path / name).write_text(textwrap.dedent(text))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "client.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_pip_installed_elsewhere_travels_by_name_and_the_users_own_beside_it_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, project = tmp_path / "packages", tmp_path / "project"
    (packages / "theirs").mkdir(parents=True)
    (packages / "theirs-1.0.dist-info").mkdir()
    (packages / "theirs" / "__init__.py").write_text("")
    (packages / "theirs" / "part.py").write_text("def f(): return 'theirs'\n")
    (project / "mine_egg.egg-info").mkdir(parents=True)
    (project / "mine.py").write_text("def f(): return 'mine'\n")
    monkeypatch.syspath_prepend(packages)
    monkeypatch.syspath_prepend(project)
    import mine  # type: ignore[import-not-found]
    import theirs.part  # type: ignore[import-not-found]

    assert b"theirs.part" in pickling.dumps_function(theirs.part.f)[1]
    assert len(pickling.dumps_function(theirs.part.f)[1]) < 60
    assert len(pickling.dumps_function(mine.f)[1]) > 200


HOME_AND_BACK = """
import subprocess, sys
from jobpool.serialize import pickling
from jobpool.serialize.result_unpickler import loads_home

OFFSET = 100

class Point:
    def __init__(self, size):
        self.content = bytes(size)

    def offset(self):
        return OFFSET

def make():
    return Point(int(sys.argv[1]))

there = '''
import sys
from jobpool.serialize import pickling
sys.stdout.buffer.write(pickling.dumps_result(pickling.loads_function(sys.stdin.buffer.read())()))
'''
pickled = pickling.dumps_function(make)[1]
data = subprocess.run([sys.executable, "-c", there, sys.argv[1]], input=pickled, capture_output=True, check=True)
method = Point.offset
point = loads_home(data.stdout)
OFFSET = 7
assert type(point) is Point and Point.offset is method
print(point.offset())
"""


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_class_that_comes_home_stays_the_one_that_is_here(tmp_path: Path, size: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(HOME_AND_BACK)
    done = subprocess.run([sys.executable, str(script), str(size)], capture_output=True, text=True, check=False)
    assert done.stdout == "7\n", done.stderr


def test_modules_that_import_each_other_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "analysis"
    package.mkdir()
    (package / "__init__.py").write_text("SCALE = 10\n")
    (package / "steps.py").write_text("import analysis.flow\ndef step(x): return analysis.flow.scaled(x) + 1\n")
    (package / "flow.py").write_text(
        "import analysis.steps\ndef scaled(x): return analysis.SCALE * x\ndef whole(x): return analysis.steps.step(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import analysis.flow  # type: ignore[import-not-found]

    pickled = pickling.dumps_function(analysis.flow.whole)[1]
    there = "import sys, pickle; print(pickle.loads(sys.stdin.buffer.read())(4))"
    done = subprocess.run([sys.executable, "-c", there], input=pickled, capture_output=True, check=True)
    assert done.stdout == b"41\n"
