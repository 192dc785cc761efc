"""What a fake cluster has and allows, and the form of a command to it and of the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobpool.model.site import Partition

__all__ = ["Answer", "Asked", "BrokenDown", "CommandRefused", "Site", "expand", "take_options"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command prints, and its exit code."""

    stdout: str = ""
    stderr: str = ""
    returncode: int = 0
    hangs: float = 0.0
    """Seconds until it comes, unless the command is killed before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a cluster has and allows."""

    partitions: tuple[Partition, ...]
    max_array_size: int = 1001
    licenses: tuple[str, ...] = ("matlab:4",)
    accounting: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One command as it came in."""

    arguments: tuple[str, ...]
    stdin: str
    environment: Mapping[str, str]
    directory: Path
    umask: int
    now: float


class CommandRefused(Exception):
    """The command says no: its words (stderr) and exit code."""

    def __init__(self, words: str, returncode: int = 1) -> None:
        super().__init__(words)
        self.returncode = returncode


class BrokenDown(Exception):
    """A command has brought the batch system down."""


def take_options(words: Iterable[str], known: frozenset[str], program: str) -> tuple[dict[str, str], list[str]]:
    """Split a command line into options and operands. Refuses an option that is not known."""
    options: dict[str, str] = {}
    operands: list[str] = []
    for word in words:
        if not word.startswith("-"):
            operands.append(word)
            continue
        name, _, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in known:
            raise CommandRefused(f"the fake {program} does not know the option {word!r}", 255)
        options[name] = value
    return options, operands


def expand(text: str) -> Iterator[int]:
    """List the numbers of ``0-3,9``."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
