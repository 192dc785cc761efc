"""The sources of settings, each read into a layer: the values it holds, with where they stand."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobpool.batch import registry
from jobpool.config import jobqueue_yaml
from jobpool.config.files import ConfigFile, Findings, Places, load_dask
from jobpool.config.settings import SETTINGS, SYSTEMS, did_you_mean

__all__ = ["Given", "Layer", "Origin", "from_environment", "from_jobqueue", "from_keywords", "from_table", "from_toml"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from. ``place``: the variable or the file; ``key``: its place in the file."""

    kind: Literal["keyword", "environment", "project", "user", "site", "jobqueue", "default"]
    place: str = ""
    key: str = ""

    def __str__(self) -> str:
        if self.kind in ("keyword", "default"):
            return self.kind
        return f"{self.place}, key {self.key}" if self.key else f"variable {self.place}"


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it stands in its source; relative paths in it are meant from ``base``."""

    value: Any
    origin: Origin
    base: Path


Layer = dict[str, Given]


def from_keywords(keywords: Mapping[str, Any], cwd: Path, findings: Findings) -> Layer:
    """Take what the caller gave. None is a value only where a setting may be None."""
    findings.problems += [
        f"{name}={value!r} (keyword) cannot be used: there is no such setting{did_you_mean(name)}"
        for name, value in keywords.items()
        if name not in SETTINGS
    ]
    return {
        name: Given(value, Origin("keyword"), cwd)
        for name, value in keywords.items()
        if name in SETTINGS and not (value is None and not SETTINGS[name].optional)
    }


def from_environment(environment: Mapping[str, str], cwd: Path, findings: Findings) -> Layer:
    """Take ``JOBPOOL_<NAME>``, for every setting."""
    layer = {}
    for name, setting in SETTINGS.items():
        variable = f"JOBPOOL_{name.upper()}"
        if text := environment.get(variable, "").strip():  # empty: unset, as shells write it
            layer[name] = Given(setting.from_text(text), Origin("environment", variable), cwd)
    for variable in sorted(environment):
        # Other rooms have variables of this prefix too, so only what looks like a slip is worth a word.
        word = variable.removeprefix("JOBPOOL_").lower()
        if variable.startswith("JOBPOOL_") and word not in SETTINGS and (meant := did_you_mean(word)):
            findings.notes.append(f"variable {variable} is not used: there is no such setting{meant}")
    return layer


def from_table(file: ConfigFile, table: Mapping[str, Any], section: str) -> Layer:
    """Take the settings of one table of a file; ``section`` is its place there, with a dot."""
    return {
        name: Given(_none(name, value), Origin(file.kind, str(file.path), f"{section}{name}"), file.path.parent)
        for name, value in table.items()
        if name in SETTINGS
    }


def _none(name: str, value: Any) -> Any:
    # TOML has no None.
    return None if SETTINGS[name].optional and isinstance(value, str) and value.strip().lower() == "none" else value


def from_toml(file: ConfigFile, system: str | None, findings: Findings) -> Layer:
    """Take what a file says for this batch system; note the keys that are no settings, in all its sections."""
    layer = from_table(file, file.table, "")
    for key, value in file.table.items():
        if key not in SYSTEMS:
            _note_unknown(file, "", key, findings)
        elif not isinstance(value, dict):
            findings.problems.append(f"{file.path}, key {key}: it must be a section, [{key}]")
        else:
            for inner in value:
                _note_unknown(file, f"{key}.", inner, findings)
            if key == system:
                layer |= from_table(file, value, f"{key}.")
    return layer


def _note_unknown(file: ConfigFile, section: str, key: str, findings: Findings) -> None:
    if section and key == "scheduler":
        findings.problems.append(f"{file.path}, key {section}{key}: it belongs above the sections")
    elif key not in SETTINGS:
        meant = did_you_mean(key) or ("" if section else did_you_mean(key, SYSTEMS))
        findings.problems.append(f"{file.path}, key {section}{key}: there is no such setting{meant}")


def from_jobqueue(places: Places, system: str | None, cwd: Path, stronger: Set[str], findings: Findings) -> Layer:
    """Take what Dask's files say for this batch system. ``stronger``: the settings that have a value already."""
    if system is None or registry.capabilities(system).shares_machine:
        return {}
    files = load_dask(places, findings)
    sections = [(file, jobqueue_yaml.section_of(file.table, system)) for file in files]
    file_of = {key: file for file, section in reversed(sections) for key in section}
    # dask.config merges files key by key; a job's shape may be spread over two of them.
    merged: dict[str, Any] = dict(ChainMap(*(section for _, section in sections)))
    overridden = {"cores", "memory", "processes"} if stronger & set(jobqueue_yaml.SHAPE) else set()
    overridden |= stronger & {"walltime"}
    merged = {key: value for key, value in merged.items() if key not in overridden}
    translated, problems = jobqueue_yaml.translate(merged, system)
    findings.problems += [
        f"{file_of[key].path}, key jobqueue.{system}.{key}: {complaint}" for key, complaint in problems
    ]
    return {
        name: Given(value, Origin("jobqueue", str(file_of[key].path), f"jobqueue.{system}.{key}"), cwd)
        for name, (key, value) in translated.items()
    }
