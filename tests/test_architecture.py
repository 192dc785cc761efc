"""What may act, and what may know Dask or open pickles, read from the source.

Which room may import which is said by the contracts of import-linter in ``pyproject.toml``, and held by ``make lint``.
"""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobpool

PACKAGE = Path(jobpool.__file__).parent
FILES = sorted(file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py") if "examples" not in file.parts)
PURE = ("batch", "core", "diagnose", "site", "sizing")
ENGINE = {"dask", "distributed", "tornado"}

# Files that may know Dask, and what of it: it moves monthly, and each of these is where a change of it is met.
DASK = {
    "transport/dask_config.py": {"security"},
    "executor/dask_client.py": {"Client"},
    "server/dask_scheduler.py": {"Scheduler", "dashboard"},
    "agent/dask_membership.py": {"Worker"},
    "agent/dask_worker.py": {"Worker", "threadpoolexecutor"},
}
# Files that may start processes, and which. Commands of a batch system run in the shell and nowhere else.
PROCESSES = {
    "executor/start_server.py": "the server",
    "commands/shell.py": "commands of the batch system",
    "agent/fork_client.py": "the fork-server",
}


@functools.cache
def tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(), file)


@functools.cache
def imports(file: str) -> frozenset[str]:
    """Return the full names of all that a file imports, inside its functions too."""
    here = ["jobpool", *Path(file).with_suffix("").parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def top(names: frozenset[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def inside(names: frozenset[str]) -> set[str]:
    """Return the rooms, and the modules outside of rooms, that are imported from jobpool."""
    return {name.split(".")[1] for name in names if name.startswith("jobpool.")}


def files(room: str) -> list[str]:
    return [file for file in FILES if file.startswith(f"{room}/")]


def calls(file: str) -> Iterator[str]:
    """Yield what is called, as written: ``os.system``, ``datetime.now``."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_reads_no_clock(room: str) -> None:
    clocks = ("now", "utcnow", "today")
    told = {file: [call for call in calls(file) if call.rpartition(".")[2] in clocks] for file in files(room)}
    assert {file: found for file, found in told.items() if found} == {}


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_touches_no_file_and_no_variable_of_the_process(room: str) -> None:
    touches = {"open", "os.environ.get", "os.getenv", "os.listdir", "os.stat", "Path.home", "Path.cwd"}
    methods = {"read_text", "write_text", "read_bytes", "write_bytes", "exists", "is_file", "is_dir", "mkdir", "unlink"}
    for file in files(room):
        found = [call for call in calls(file) if call in touches or call.rpartition(".")[2] in methods]
        assert (file, found) == (file, [])


OPENERS = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
OPENERS |= {"jobpool.serialize.pickling", "jobpool.serialize.result_unpickler", "jobpool.serialize.chunks"}
"""What can make any object, and so run code, out of bytes."""

CLOSED = {
    "model/errors.py": "names PicklingError",
    "serialize/checkpoint_resume.py": "packs one function, and opens nothing",
}


def loaded_with(file: str) -> set[str]:
    """Return the files of the package that a file imports, and they in their turn; without the Dask side."""
    seen: set[str] = set()
    todo = [file]
    while todo:
        if (one := todo.pop()) not in seen and not one.endswith(("dask_worker.py", "dask_scheduler.py")):
            seen.add(one)
            parts = [name.split(".")[1:] for name in imports(one) if name.startswith("jobpool.")]
            todo += [found for some in parts for found in ("/".join(some), "/".join(some[:-1])) if found]
            todo = [f"{found.removesuffix('.py')}.py" for found in todo]
            todo = [found for found in todo if found in FILES]
    return seen


def openers(file: str) -> set[str]:
    return {opener for opener in OPENERS for name in imports(file) if f"{name}.".startswith(f"{opener}.")}


@pytest.mark.parametrize(
    ("main", "some"),
    [
        ("server/__main__.py", {"server/event_loop.py", "server/agent_links.py", "core/steps/engine.py"}),
        ("agent/agent.py", {"agent/workers.py", "agent/channel.py", "agent/checkpoints.py"}),
    ],
)
def test_nothing_that_server_and_agent_load_can_open_a_pickle_that_names_classes(main: str, some: set[str]) -> None:
    files = loaded_with(main)
    assert {*some, "transport/link.py"} <= files
    assert {file: found for file in files if (found := openers(file)) and file not in CLOSED} == {}


def test_dask_is_known_in_few_files() -> None:
    assert {file for file in FILES if top(imports(file)) & ENGINE} <= set(DASK)


@pytest.mark.parametrize("file", sorted(DASK))
def test_a_file_that_knows_dask_knows_its_own_part_of_it(file: str) -> None:
    if file in FILES:
        parts = {name.split(".")[1] for name in imports(file) if name.startswith("distributed.")}
        assert parts <= DASK[file]


def test_processes_are_started_in_few_files() -> None:
    found = {file for file in FILES if "subprocess" in top(imports(file)) and not file.startswith("testing/")}
    assert found <= set(PROCESSES)


def test_no_text_of_a_user_reaches_a_shell() -> None:
    for file in FILES:
        assert not {"os.system", "os.popen", "subprocess.getoutput", "eval", "exec"} & set(calls(file)), file
        shells = [node for node in ast.walk(tree(file)) if isinstance(node, ast.keyword) and node.arg == "shell"]
        assert shells == [], file


def test_dask_jobqueue_is_never_imported() -> None:
    # Its import replaces the SIGINT handler and writes a file into the user's home.
    for file in FILES:
        assert "dask_jobqueue" not in top(imports(file)), file


@pytest.mark.parametrize("file", FILES)
def test_a_file_has_one_subject(file: str) -> None:
    lines = (PACKAGE / file).read_text().count("\n")
    assert lines <= 500


def test_every_public_name_is_there() -> None:
    assert sorted(jobpool.__all__) == list(jobpool.__all__)
    missing = [name for name in jobpool.__all__ if not hasattr(jobpool, name)]
    assert missing == []
    assert set(jobpool.__all__) <= set(dir(jobpool))


def fresh(code: str) -> str:
    """Run code in a new interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_import_is_light() -> None:
    loaded = json.loads(fresh("import json, sys, jobpool; print(json.dumps(sorted(sys.modules)))"))
    heavy = {name.partition(".")[0] for name in loaded} & {*ENGINE, "numpy", "cloudpickle", "rich", "click", "psutil"}
    assert heavy == set()


@pytest.mark.alone
def test_import_is_quick() -> None:
    code = "import time; begin = time.perf_counter(); import jobpool; print(time.perf_counter() - begin)"
    # The quickest of several: what else the machine does can only add to it.
    seconds = min(float(fresh(code)) for _ in range(7))
    assert seconds < 0.060


def test_the_executor_needs_no_dask_in_the_users_process() -> None:
    loaded = json.loads(
        fresh("import json, sys; from jobpool import JobPoolExecutor; print(json.dumps([*sys.modules]))")
    )
    assert {name.partition(".")[0] for name in loaded} & ENGINE == set()


def test_no_two_test_files_share_a_name() -> None:
    # pytest imports them by their base names.
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("file", FILES)
def test_a_logger_is_named_for_its_module_or_its_room(file: str) -> None:
    """Whoever reads a line of a log finds who wrote it."""
    module = ["jobpool", *Path(file).with_suffix("").parts]
    own = {".".join(module), ".".join(module[:2])}
    named = {
        str(node.args[0].value)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "logging.getLogger"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert {name for name in named if name.startswith("jobpool")} <= own
