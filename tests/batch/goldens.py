"""What a real SLURM said: one file per command, each answer under a word for the situation. No line of it is made up.

A bug report about an answer that is misread is one more answer in such a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobpool.model.command import Command, Completed

DIRECTORY = Path(__file__).parent / "golden"


def answers(file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DIRECTORY / f"{file}.json").read_text())
    assert content["version"].startswith("SLURM ")
    return dict(content["answers"])


def completed(answer: Any) -> Completed:
    return Completed(Command(("slurm",)), answer["returncode"], answer["stdout"], answer["stderr"])


def golden(file: str, situation: str) -> Completed:
    return completed(answers(file)[situation])
