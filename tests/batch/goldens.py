"""What real batch systems said: one file per command, each answer under a word for the situation. No line is made up.

What is LSF's comes from its documentation, and each of its answers says so. A bug report about an answer that is
misread is one more answer in such a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobpool.model.command import Command, Completed

DIRECTORY = Path(__file__).parent / "golden"


def answers(file: str, *, system: str = "slurm") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DIRECTORY / system / f"{file}.json").read_text())
    assert content["version"]
    return dict(content["answers"])


def completed(answer: Any) -> Completed:
    argv = tuple(answer.get("argv", ("slurm",)))
    return Completed(Command(argv), answer["returncode"], answer["stdout"], answer["stderr"])


def golden(file: str, situation: str, *, system: str = "slurm") -> Completed:
    return completed(answers(file, system=system)[situation])
