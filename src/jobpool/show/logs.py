"""The log files of a pool: which there are, of which job or worker each is, and what was added to them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobpool.batch import registry
from jobpool.batch.explainer import Explainer
from jobpool.core.jobs.job_table import stem
from jobpool.host.home import read_file
from jobpool.host.private_directory import JOB_ID, open_directory
from jobpool.model.errors import JobPoolError

__all__ = ["LAST", "Follower", "LogFile", "find_logs", "heading", "last_lines", "logs_of", "place_of", "texts"]

NAMED = 20
"""Jobs that an error names, the latest ones."""

LAST = 10
"""Lines of each log where those of all jobs are shown, as ``tail`` does."""

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogFile:
    """One log file."""

    path: Path
    """The file."""
    kind: str
    """``job``: what its agent and the batch system said; ``worker``: what calls printed; ``server``."""
    job: str
    """The batch system's id, as far as the file's name or the job's agent tells it; empty for the server."""
    submission: str
    """The name of its job's submission; empty for the server."""
    element: int | None
    """The place of its job in the submission, from 0. None: neither the file's name nor the job's agent told it."""
    size: int
    """Bytes."""
    changed: float
    """When it was written last, in seconds since the epoch, as ``time.time()`` counts."""

    def is_of(self, job: str) -> bool:
        """Whether somebody who writes this means this log: an id, ``server``, or a part of the file's path."""
        if self.kind == "server":
            return job == "server"
        if self.element is not None and job in {f"{self.submission}{mark}{self.element}" for mark in "-."}:
            return True
        return job in (self.job, str(self.path), self.path.name)

    def as_data(self) -> dict[str, object]:
        """Return the same as plain values."""
        told = {"kind": self.kind, "job": self.job, "name": self.path.name, "size": self.size}
        return {**told, "changed": self.changed, "path": str(self.path)}


def find_logs(*directories: Path, system: str, beginning: str = "jp-", server_log: Path | None = None) -> list[LogFile]:
    """Return the logs in a pool's log directories, those that were written last at the end.

    ``system`` is the pool's batch system: the names of its jobs' logs tell their ids. ``beginning`` is how the names of
    its submissions begin: the directories may hold the logs of very many others, which are not looked at.
    """
    explainer = registry.explainer(system)
    ids = dict(_told_ids(directories, beginning))
    elements = {(submission, id): element for (submission, element), id in ids.items()}
    found = [_job_log(path, explainer, ids, elements) for path in _below(directories, f"{beginning}*.log")]
    named = {(log.submission, log.element): log.job for log in found if log is not None and log.element is not None}
    ids = {**named, **ids}
    found += [_worker_log(path, ids) for path in _below(directories, f"{beginning}*/*.log")]
    if server_log is not None:
        found.append(_log(server_log, "server", "", "", None))
    return sorted((log for log in found if log is not None), key=lambda log: log.changed)


def logs_of(pool: Path, place: Path, job: str | None) -> list[LogFile]:
    """Return the logs of the pool with this directory, in a place that others may use too; with a job, those of it.

    Raises ``JobPoolError`` when the job has none, and when somebody has exchanged the place.
    """
    _refuse_if_exchanged(place)
    beginning = f"jp-{stem(pool.name)}-"
    ours = re.compile(rf"{re.escape(beginning)}[0-9a-f]{{8}}-\d+")
    # Those of the jobs themselves are in the pool's own directory where others may write in the one that was chosen.
    places = dict.fromkeys((place, pool / "logs"))
    system, server_log = _text(pool / "system").strip(), pool / "server.log"
    found = find_logs(*places, system=system, beginning=beginning, server_log=server_log)
    found = [log for log in found if log.kind == "server" or ours.fullmatch(log.submission)]
    if job is None:
        return found
    if chosen := [log for log in found if log.is_of(job)]:
        return chosen
    known = [log.job for log in found if log.kind == "job"][-NAMED:]
    raise JobPoolError(
        f"the pool {pool.name!r} has no log of a job {job!r}",
        advice=f"there are logs of {', '.join([*known, 'server'])}; a job that has not started has none",
    )


def place_of(pool: Path) -> Path:
    """Return where the logs of a pool are that does not run: it may be elsewhere than in the pool's directory."""
    try:
        return Path(json.loads(_text(pool / "record.json"))["logs"])
    except (ValueError, LookupError, TypeError):
        return pool / "logs"


def _refuse_if_exchanged(place: Path) -> None:
    try:
        os.close(open_directory(place))
    except FileNotFoundError:
        pass  # deleted, by its owner or another one: there are no logs
    except OSError as error:
        raise JobPoolError(
            f"the directory of the logs is not what this run has made, and is not read: {error.strerror}: {place}",
            advice="somebody who may write in the folder around it has exchanged it",
        ) from error


def _text(path: Path) -> str:
    try:
        return read_file(path).decode(errors="replace")
    except OSError:
        return ""


def texts(logs: Sequence[LogFile], lines: int | None = None) -> str:
    """Return the last lines of each of these, or all of them; with a heading each when there are several."""
    shown = [(log, text) for log in logs if (text := last_lines(log.path, lines))]
    if len(shown) == 1:
        return shown[0][1]
    return "".join(f"{heading(log)}\n{text}" + ("" if text.endswith("\n") else "\n") for log, text in shown)


def heading(log: LogFile) -> str:
    """Return the line that stands before the text of a log where several are shown."""
    return f"==> {' '.join(filter(None, (log.kind, log.job)))}: {log.path} <=="


def _below(directories: Iterable[Path], pattern: str) -> Iterator[Path]:
    return (path for directory in directories for path in directory.glob(pattern))


def _told_ids(directories: Iterable[Path], beginning: str) -> Iterator[tuple[tuple[str, int], str]]:
    """Yield the submissions, indices and ids of jobs, as their agents have written them beside the workers' logs."""
    for path in _below(directories, f"{beginning}*/{JOB_ID}"):
        if (job := _job_of_directory(path.parent)) is not None and (id := _text(path).strip()):
            yield job, id


def _job_of_directory(directory: Path) -> tuple[str, int] | None:
    match = re.fullmatch(r"(jp-.+-\d+)-(\d+)", directory.name)
    return None if match is None else (match[1], int(match[2]))


def _job_log(
    path: Path, explainer: Explainer, ids: Mapping[tuple[str, int], str], elements: Mapping[tuple[str, str], int]
) -> LogFile | None:
    found = explainer.job_of_log(path.stem)
    if found is None:
        return None
    submission, id, index = found
    if index is None:
        return _log(path, "job", id, submission, elements.get((submission, id)))
    return _log(path, "job", ids.get((submission, index), id), submission, index)


def _worker_log(path: Path, ids: Mapping[tuple[str, int], str]) -> LogFile | None:
    job = _job_of_directory(path.parent)
    if job is None:
        return None
    submission, element = job
    return _log(path, "worker", ids.get(job, f"{submission}-{element}"), submission, element)


def _log(path: Path, kind: str, job: str, submission: str, element: int | None) -> LogFile | None:
    try:
        status = path.stat()
    except OSError:  # somebody has deleted it just now
        return None
    return LogFile(path, kind, job, submission, element, status.st_size, status.st_mtime)


def last_lines(path: Path, count: int | None) -> str:
    """Return the last lines of a file, None: all; nothing when there is no file."""
    try:
        if count is None:
            return path.read_text(errors="replace")
        with path.open("rb") as file:
            place, data = file.seek(0, os.SEEK_END), b""
            while place > 0 and data.count(b"\n") <= count:
                step = min(_CHUNK, place)
                place -= step
                file.seek(place)
                data = file.read(step) + data
    except OSError:
        return ""
    return b"".join(data.splitlines(keepends=True)[-count:] if count else []).decode(errors="replace")


class Follower:
    """Reads what is added to files, also to such that come later."""

    def __init__(self, logs: Iterable[LogFile]) -> None:
        """Begin at the end of these."""
        self._places = {log.path: log.size for log in logs}

    def more(self, logs: Iterable[LogFile]) -> Iterator[tuple[LogFile, str]]:
        """Yield what was added since the last time to each of these."""
        for log in logs:
            place = self._places.get(log.path, 0)
            if log.size < place:
                place = 0  # it was written anew: a requeued job
            if log.size > place:
                with log.path.open("rb") as file:
                    file.seek(place)
                    data = file.read()
                self._places[log.path] = place + len(data)
                yield log, data.decode(errors="replace")
