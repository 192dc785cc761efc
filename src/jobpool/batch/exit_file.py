"""A job's own word on its end, for batch systems that forget a job at once: its script writes when it begins and ends.

::

    began 1764523120 node7
    ended 1764523180 143          the exit code of the agent, as the shell knows it (128 and the signal's number)

A job that runs again adds to its file. One that is killed at once has no second line: then nobody knows more of its end
than that it is gone. On a shared file system the file may come late, and where the home is not shared it never comes.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobpool.batch.base import Notices
from jobpool.batch.quoting import shell_word
from jobpool.model.job import Ending, EndingKind
from jobpool.model.units import Duration

__all__ = ["Exited", "directory_of", "ending_of", "file_name", "parse", "script_lines"]

_SLACK = 60.0
"""Seconds before the end of its walltime in which a job that was told to end was told so for it: the notice comes that
early at some sites, and the job began before its script. Of a short walltime, half of it at most."""

_LARGEST_SIGNAL = 64


@dataclass(frozen=True, slots=True)
class Exited:
    """The end of a job's last run. Times are seconds since the epoch, by the node's clock."""

    began: float
    ended: float
    code: int
    node: str


def directory_of(pool: Path) -> Path:
    """Return where the exit files of a pool are, by its directory."""
    return pool / "exits"


def file_name(submission: str, index: int | str) -> str:
    """Return the name of a job's exit file."""
    return f"{submission}-{index}"


def script_lines(
    line: str, *, pool: Path, submission: str, index: str, signals: Iterable[str], before: Iterable[str] = ()
) -> list[str]:
    """Write the end of a job script that runs this command line and keeps an exit file.

    ``index`` is a word for the shell. ``before`` are lines that run first, and may end the script themselves. The shell
    stays as the parent, so it hands on the ``signals`` that a job is told by before it is killed: the batch system may
    send them to the script alone.
    """
    place = shell_word(str(directory_of(pool) / file_name(submission, "")))
    names = list(signals)
    leave = "; ".join(f"trap 'exit {128 + signal.Signals[f'SIG{name}']}' {name}" for name in names)
    hand_on = "; ".join(f"trap 'told=1; kill -{name} $agent 2>/dev/null' {name}" for name in names)
    return [
        f"exit_file={place}{index}",
        'echo "began $(date +%s) $(uname -n)" >>"$exit_file"',
        """trap 'code=$?; echo "ended $(date +%s) $code" >>"$exit_file"' EXIT""",
        *([leave] if leave else []),
        *before,
        f"{line} --script-age $SECONDS <&0 &",
        "agent=$!",
        *([hand_on] if hand_on else []),
        # A signal that is handed on ends the waiting early, before the agent has ended.
        'while told=; wait "$agent"; code=$?; [ -n "$told" ]; do :; done',
        "trap - EXIT",  # those lines may have set one of their own
        'echo "ended $(date +%s) $code" >>"$exit_file"',
        'exit "$code"',
    ]


def parse(text: str) -> Exited | None:
    """Read an exit file. None: the job's last run did not end, as far as the file tells."""
    found: Exited | None = None
    began: tuple[float, str] | None = None
    for line in text.split("\n")[:-1]:  # a line that is being written just now says nothing yet
        if match := re.fullmatch(r"began (\d{1,12}) (\S{1,255})", line):
            began, found = (float(match[1]), match[2]), None
        elif (match := re.fullmatch(r"ended (\d{1,12}) (\d{1,3})", line)) and began is not None:
            found = Exited(began[0], float(match[1]), int(match[2]), began[1])
    return found


def ending_of(exited: Exited, *, walltime: Duration | None, notices: Notices) -> Ending:
    """Say why the job ended, as far as its exit code tells."""
    number = exited.code - 128 if 128 < exited.code <= 128 + _LARGEST_SIGNAL else None
    name = ""
    with suppress(ValueError):
        name = "" if number is None else signal.Signals(number).name.removeprefix("SIG")
    kind = EndingKind.COMPLETED if exited.code == 0 else EndingKind.FAILED
    if name in notices.signals:
        late = walltime is not None and exited.ended - exited.began >= walltime - min(_SLACK, walltime / 2)
        kind = EndingKind.TIMED_OUT if late else EndingKind.CANCELLED
    return Ending(
        kind=kind,
        message=f"its exit file: exit code {exited.code}" + (f" (SIG{name})" if name else ""),
        exit_code=exited.code if number is None else None,
        signal=number,
        node=exited.node,
        limit=str(walltime) if kind is EndingKind.TIMED_OUT else None,
        source="exit file",
    )
