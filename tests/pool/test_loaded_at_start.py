"""What the processes of a pool load until the first result: each heavy module is waited for at every start.

The modules are those that real processes of a pool import, as ``python -X importtime`` tells them in their logs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobpool import JobPoolExecutor

HEAVY = {"dask", "distributed", "tornado", "numpy", "psutil", "click", "rich", "textual", "tqdm", "yaml", "tomllib"}
"""What no process needs to run a call. The server of a pool on a cluster reads the host's addresses with psutil."""

OF_OTHERS = {
    "client": {
        "jobpool.agent", "jobpool.core", "jobpool.diagnose", "jobpool.testing", "jobpool.worker",
        "cryptography", "email", "importlib.metadata", "platformdirs",
    },
    "server": {
        "jobpool.agent", "jobpool.diagnose", "jobpool.executor", "jobpool.serialize.pickling", "jobpool.show",
        "jobpool.testing", "jobpool.tools", "jobpool.worker.worker",
        "cloudpickle", "importlib.metadata", "multiprocessing.managers", "platformdirs",
    },
    "agent": {
        "jobpool.batch", "jobpool.commands", "jobpool.config", "jobpool.core.events", "jobpool.core.steps",
        "jobpool.executor", "jobpool.serialize", "jobpool.server", "jobpool.site", "jobpool.worker.worker",
        "cloudpickle", "cryptography", "multiprocessing.managers", "platformdirs",
    },
    "fork-server": {
        "jobpool.agent", "jobpool.batch", "jobpool.config", "jobpool.core", "jobpool.executor", "jobpool.server",
        "asyncio", "cryptography", "email", "importlib.metadata", "multiprocessing.managers", "platformdirs", "ssl",
    },
}  # fmt: skip
"""What each process has no use for, since it is another's, or only needed when something rare happens."""


def imported(log: Path) -> set[str]:
    """Return the modules whose import a log tells, and the packages that hold them."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip() for line in lines}
    return {".".join(parts[: end + 1]) for parts in (name.split(".") for name in names) for end in range(len(parts))}


def test_each_process_loads_what_it_needs_to_run_a_call_and_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    with JobPoolExecutor(1, scheduler="local", name="start") as pool:
        assert pool.submit(abs, -1).result(60) == 1
        logs = {path.name: imported(path) for path in home.rglob("*.log")}
        [agent] = (name for name in logs if name.endswith("-0.log") and not name.startswith("worker"))
    loaded = {"server": logs["server.log"], "agent": logs[agent], "fork-server": logs["fork-server.log"]}
    # That these are the logs of these processes, and that they tell of imports.
    assert "jobpool.server.event_loop" in loaded["server"]
    assert "jobpool.agent.workers" in loaded["agent"]
    assert "jobpool.worker.worker" in loaded["fork-server"]
    needless = {process: modules & (HEAVY | OF_OTHERS[process]) for process, modules in loaded.items()}
    assert needless == {"server": set(), "agent": set(), "fork-server": set()}
    assert logs["worker-0.log"] == set(), "what workers need is imported once, before they are forked"


def test_the_users_process_loads_what_it_needs_to_make_a_pool_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from jobpool import JobPoolExecutor; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    modules = set(done.stdout.split())
    assert "jobpool.executor.executor" in modules
    assert modules & (HEAVY | OF_OTHERS["client"]) == set()
