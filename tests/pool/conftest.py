"""Fixtures of the tests of a client's process: pools of local workers, and scripts in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobpool import JobPoolExecutor

RunScript = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def pool(home: Path) -> Iterator[JobPoolExecutor]:
    """A pool of one worker that has run a call."""
    with JobPoolExecutor(1, scheduler="local") as made:
        assert made.submit(abs, -1).result(60) == 1
        yield made


@pytest.fixture
def run_script(home: Path, tmp_path: Path) -> RunScript:
    """Return a function that runs a script to its end, which must come within a minute."""

    def run(code: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(code))
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, **keywords}
        return subprocess.run([sys.executable, str(path)], **options)

    return run
