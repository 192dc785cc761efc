"""What ``import jobpool`` costs over a bare interpreter, and that it loads neither Dask nor numpy.

Each figure is the wall time of a whole fresh interpreter, ``python -c ...``, so that nothing is left out; the smallest
is the steadiest. The names of the package load when first used: ``JobPoolExecutor`` is the line below.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import _common

LIMIT = 60.0
"""Milliseconds over a bare interpreter."""

HEAVY = ("dask", "distributed", "numpy", "tornado", "cryptography", "psutil", "click", "rich")
"""None of these may be loaded by ``import jobpool``."""

IMPORTS = {
    "bare interpreter": "pass",
    "import jobpool": "import jobpool",
    "... JobPoolExecutor": "from jobpool import JobPoolExecutor",
    "ProcessPoolExecutor": "from concurrent.futures import ProcessPoolExecutor",
    "import executorlib": "import executorlib",
    "import distributed": "import distributed",
    "import dask_jobqueue": "import dask_jobqueue",
}


def milliseconds(code: str, env: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=env, cwd="/", check=True)
    return (time.perf_counter() - start) * 1e3


def loaded(code: str, env: dict[str, str]) -> set[str]:
    """Return which of the heavy modules an import brings."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        env=env, cwd="/", check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return {*HEAVY} & {*told.split()}


def works(code: str, env: dict[str, str]) -> bool:
    """Say whether these imports work here: the peers need not be installed."""
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd="/", check=False, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(__doc__, {}, argv, repeats=15)
    print(f"{_common.machine()}\n\nmilliseconds of a fresh interpreter")
    with _common.home() as env:
        # This first run of each also compiles what is not compiled yet and warms the disk's cache.
        imports = {name: code for name, code in IMPORTS.items() if works(code, env)}
        runs: _common.Runs = {name: [] for name in imports}
        for _ in range(options.repeats):
            for name, code in imports.items():
                runs[name].append({"ms": milliseconds(code, env)})
        brought = {name: loaded(imports[name], env) for name in ("import jobpool", "... JobPoolExecutor")}
    _common.show(runs, {"ms": ".0f"})
    times = {name: [turn["ms"] for turn in turns] for name, turns in runs.items()}
    over = {
        "smallest": min(times["import jobpool"]) - min(times["bare interpreter"]),
        "median": statistics.median(times["import jobpool"]) - statistics.median(times["bare interpreter"]),
    }
    for which, value in over.items():
        _common.limit(f"import jobpool over a bare interpreter, {which}", value, at_most=LIMIT, unit=" ms")
    for name, modules in brought.items():
        _common.limit(f"heavy modules that {name!r} loads {sorted(modules)}", len(modules), at_most=0)
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
