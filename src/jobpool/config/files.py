"""Where config files are, which of them are to be trusted, and what stands in them.

A config file holds shell lines (``setup``) that run as its reader. So a file is used only when nobody else can have
written it. The open file is judged, not its name, so that nothing can be put in its place in between:

- It belongs to the user, to root, or to the owner of this Python, who decides anyway what code runs here. Any other
  file found on the way up from the current directory is passed over with a note: nobody can stop another user, or
  steer her jobs, by leaving a ``jobpool.toml`` in ``/tmp``.
- Nobody else may write it: not everyone, nor a group that is not the user's own. This is an error, with the command
  that cures it.
- A file named in ``$JOBPOOL_SITE_CONFIG`` may belong to anyone, for its reader chose it; but not everyone may write it.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["ConfigFile", "Findings", "Places", "load_dask", "load_toml"]

FileKind = Literal["project", "user", "site", "jobqueue"]

_LARGEST_FILE = 2**20
"""Bytes. Config files have some hundred; this keeps a link to a data file from being read whole."""


@dataclass(slots=True)
class Findings:
    """What was found wrong (the pool is not made), and what is worth a warning."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file that was read: a table of settings."""

    kind: FileKind
    path: Path
    table: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where to look. ``project``: nearest first, the first file counts; ``dask``: weakest first, all count."""

    project: tuple[Path, ...] = ()
    user: Path | None = None
    site: Path | None = None
    site_is_named: bool = False
    dask: tuple[Path, ...] = ()

    @classmethod
    def usual(cls, environment: Mapping[str, str], cwd: Path) -> Places:
        """Name the places for a process with this environment in this directory."""
        import platformdirs  # not for the server, which finds no files

        named = environment.get("JOBPOOL_SITE_CONFIG")
        return cls(
            project=tuple(directory / "jobpool.toml" for directory in _up(cwd)),
            user=platformdirs.user_config_path("jobpool") / "jobpool.toml",
            site=Path(named or "/etc/jobpool/jobpool.toml"),
            site_is_named=bool(named),
            dask=_dask_places(environment),
        )


def _up(cwd: Path) -> list[Path]:
    """List the directory and its parents, up to the first that is home or the top of a git checkout."""
    home = _home()
    tops = {home, home.resolve()}  # the current directory has no links in it, home may be one
    directories = []
    for directory in (cwd, *cwd.parents):
        directories.append(directory)
        if directory in tops or os.path.lexists(directory / ".git"):
            break
    return directories


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a container's user without HOME and without an entry in passwd
        return Path("/nonexistent")


def _dask_places(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Name the files and directories that ``dask.config`` reads, weakest first."""
    places = [
        Path(environment.get("DASK_ROOT_CONFIG") or "/etc/dask"),
        Path(sys.prefix, "etc", "dask"),
        _home() / ".config" / "dask",
    ]
    if named := environment.get("DASK_CONFIG"):
        places.append(Path(named))
    return tuple(places)


def load_toml(places: Places, findings: Findings) -> list[ConfigFile]:
    """Read the ``jobpool.toml`` files there are, strongest first."""
    files = []
    for path in places.project:
        if file := _toml("project", path, findings):
            files.append(file)
            break
    if places.user and (file := _toml("user", places.user, findings)):
        files.append(file)
    if places.site and (file := _toml("site", places.site, findings, named=places.site_is_named)):
        files.append(file)
    elif places.site_is_named and places.site and not os.path.lexists(places.site):
        findings.problems.append(f"JOBPOOL_SITE_CONFIG names {places.site}, which does not exist")
    return files


def _toml(kind: FileKind, path: Path, findings: Findings, *, named: bool = False) -> ConfigFile | None:
    text = _read(path, findings, named=named)
    if text is None:
        return None
    import tomllib  # most pools have no file

    try:
        return ConfigFile(kind, path, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        findings.problems.append(f"{path} is not valid TOML: {error}")
        return ConfigFile(kind, path, {})


def load_dask(places: Places, findings: Findings) -> list[ConfigFile]:
    """Read Dask's YAML files that have a ``jobqueue`` section, strongest first."""
    files = []
    for path in (file for place in places.dask for file in _yaml_files(place)):
        if (file := _yaml(path, findings)) is not None:
            files.append(file)
    return files[::-1]


def _yaml_files(place: Path) -> list[Path]:
    try:
        return sorted(file for file in place.iterdir() if file.suffix in (".yaml", ".yml"))
    except NotADirectoryError:
        return [place]
    except OSError:  # not there, or not ours to see: then Dask does not see it either
        return []


def _yaml(path: Path, findings: Findings) -> ConfigFile | None:
    # dask-jobqueue leaves a file of comments in every home, and Dask's other files say nothing of jobs: not parsed.
    text = _read(path, findings, about=re.compile(r"^[^#\n]*\bjobqueue\b", re.MULTILINE))
    if text is None:
        return None
    import yaml

    try:
        # All scalars as text: YAML 1.1 would read "24:00:00" as the number 86400.
        table = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        findings.problems.append(f"{path} is not valid YAML: {' '.join(str(error).split())}")
        return None
    section = table.get("jobqueue") if isinstance(table, dict) else None
    return ConfigFile("jobqueue", path, section) if isinstance(section, dict) else None


def _read(path: Path, findings: Findings, *, named: bool = False, about: re.Pattern[str] | None = None) -> str | None:
    """Return the text of a file that may be used (and, if ``about`` is given, speaks of it); None: there is none."""
    if not os.path.lexists(path):
        return None
    try:
        if not named and _is_foreign(path, os.lstat(path), findings):  # also a link that somebody left
            return None
        # O_NONBLOCK: somebody's named pipe must not hold the reader.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is not a regular file")
            text = file.read(_LARGEST_FILE + 1).decode()
    except UnicodeDecodeError as error:
        findings.problems.append(f"{path} cannot be read: it is not UTF-8 text ({error.reason} at byte {error.start})")
        return None
    except OSError as error:
        findings.problems.append(f"{path} cannot be read: {error.strerror or error}")
        return None
    if about and not about.search(text):
        return None
    if len(text) > _LARGEST_FILE:
        findings.problems.append(f"{path} cannot be used: it is larger than 1 MiB")
        return None
    return text if _trusted(path, status, findings, named=named) else None


def _trusted(path: Path, status: os.stat_result, findings: Findings, *, named: bool) -> bool:
    if not named and _is_foreign(path, status, findings):
        return False
    if status.st_mode & stat.S_IWOTH:
        findings.problems.append(f"{path} cannot be trusted: everyone can write it; run: chmod o-w {path}")
        return False
    if not named and status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid):
        findings.problems.append(f"{path} cannot be trusted: its group can write it; run: chmod g-w {path}")
        return False
    return True


def _is_foreign(path: Path, status: os.stat_result, findings: Findings) -> bool:
    if status.st_uid in {os.geteuid(), 0, Path(sys.prefix).stat().st_uid}:
        return False
    findings.notes.append(
        f"{path} is not used: it belongs to another user ({_user_name(status.st_uid)}). If you trust its owner, "
        f"copy it, or set JOBPOOL_SITE_CONFIG={path}"
    )
    return True


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _is_private_group(gid: int) -> bool:
    """Say whether the group is the user's own, of the same name: where these are usual, umask lets it write."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
