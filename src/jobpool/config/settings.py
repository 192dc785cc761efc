"""The settings: name, meaning, default, and how a value becomes its type or a sentence on what is wrong with it."""

from __future__ import annotations

import difflib
import numbers
import os
import re
import shlex
import sys
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobpool.batch import container, registry
from jobpool.model.bounded import MOST_SLOTS
from jobpool.model.units import Duration, Memory

__all__ = ["AUTO", "SETTINGS", "SYSTEMS", "Setting", "did_you_mean"]

IDLE_TIMEOUT = Duration(600)
"""Ten minutes: a job that waited an hour in the queue should outlast the pause between two cells of a notebook."""

AUTO = "auto"
"""The word for sizes that the first calls shall tell."""

SYSTEMS = registry.NAMES
"""The words for batch systems, also the names of the sections of a config file."""

Read = Callable[[Any, Path], Any]
"""Turns a value into its type, relative paths on the directory given; its ``ValueError`` says what is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One thing that can be configured."""

    name: str
    about: str
    read: Read
    default: Any = None
    optional: bool = False
    """Whether it may be None (``"none"`` in a file or a variable)."""
    split: Callable[[str], Any] = str
    """Turns text (a variable's, a command line's) into what a Python caller would give."""

    def from_text(self, text: str) -> Any:
        """Read the value from a variable or a command line; what makes no sense is left for ``read`` to refuse."""
        return None if self.optional and text.strip().lower() == "none" else self.split(text)


def did_you_mean(word: str, known: tuple[str, ...] = ()) -> str:
    """Return ``; did you mean ...?`` for a setting (or one of ``known``) that looks like the word, else nothing."""
    if not known and word in _OTHER_WORDS:
        return f"; the word for it here is {_OTHER_WORDS[word]}"
    near = difflib.get_close_matches(word.lower().replace("-", "_"), known or SETTINGS, n=1)
    return f"; did you mean {near[0]}?" if near else ""


_OTHER_WORDS = {
    "queue": "partition", "project": "account", "processes": "max_workers", "n_jobs": "max_workers",
    "max_jobs": "max_workers", "cpus_per_task": "cores", "mem": "memory", "time": "walltime", "time_limit": "walltime",
    "maxtasksperchild": "max_tasks_per_child", "interface": "addresses", "job_script_prologue": "setup",
    "env_extra": "setup", "job_extra_directives": "job_extra", "job_directives_skip": "job_skip", "env": "environment",
}  # fmt: skip
"""What other tools call our settings."""


# ------------------------------------------------------------------------- kinds of values, from Python or a file


def _whole(least: int, most: int | None = None) -> Read:
    bounds = f"a whole number, at least {least}" if most is None else f"a whole number from {least} to {most}"

    def read(value: Any, _base: Path) -> int:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and value > most):
            raise ValueError(f"it must be {bounds}")
        return int(value)

    return read


def _slots(least: int) -> Read:
    whole = _whole(least)

    def read(value: Any, base: Path) -> int:
        number = int(whole(value, base))
        if number > MOST_SLOTS:
            raise ValueError(f"it must be at most {MOST_SLOTS}: no node has more")
        return number

    return read


def _max_workers(value: Any, base: Path) -> int:
    try:
        return int(_whole(1)(value, base))
    except ValueError:
        raise ValueError(
            "max_workers must be greater than 0, and a whole number"
        ) from None  # concurrent.futures' words


def _memory(value: Any, _base: Path) -> Memory:
    size = Memory.parse(value)
    if size < 2**20:
        raise ValueError(f"{size} is less than 1 MiB (missing unit?); write for example '8 GiB' or '500 MB'")
    return size


def _walltime(value: Any, _base: Path) -> Duration:
    time = Duration.parse(value)
    if time <= 0 or (time < 60 and isinstance(value, numbers.Real)):
        raise ValueError(f"{time} is less than a minute (missing unit?); write for example '5 h' or '90 min'")
    return time


def _duration(value: Any, _base: Path) -> Duration:
    return Duration.parse(value)


def _choice(*words: str, unlisted: Container[str] = ()) -> Read:
    accepted = ", ".join(words[:-1]) + f" or {words[-1]}"

    def read(value: Any, _base: Path) -> str:
        if value not in words and value not in unlisted:
            raise ValueError(f"it must be {accepted}{did_you_mean(value, words) if isinstance(value, str) else ''}")
        return str(value)

    return read


def _system(value: Any, base: Path) -> str:
    return str(_choice("auto", *SYSTEMS, unlisted=tuple(registry.SYSTEMS))(value, base))


def _bind(value: Any, base: Path) -> str | None:
    word = _choice("cores", "threads", "none")(value, base)
    return None if word == "none" else str(word)


def _word(value: Any, _base: Path) -> str:
    if not (isinstance(value, str) and value.strip() and value.isprintable()):
        raise ValueError("it must be text on one line, without control characters")
    return value.strip()


def _words(value: Any, base: Path) -> tuple[str, ...]:
    parts = [value] if isinstance(value, str) else value
    try:
        if isinstance(parts, (list, tuple)):
            return tuple(_word(part, base) for part in parts)
    except ValueError:
        pass
    raise ValueError("it must be text, or a list of texts, each on one line")


def _lines(value: Any, base: Path) -> tuple[str, ...]:
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) and "\0" not in part for part in parts):
        raise ValueError("it must be lines for the shell: text, or a list of texts")
    return tuple(line for part in parts for line in part.splitlines() if line.strip())


def _hosts(value: Any, base: Path) -> tuple[str, ...]:
    hosts = _words(value, base)
    if not all(re.fullmatch(r"[A-Za-z0-9._:%-]+", host) for host in hosts):
        raise ValueError("it must be host names or IP addresses")
    return hosts


def _destination(value: Any, base: Path) -> str:
    word = _word(value, base)
    if word.startswith("-") or any(character.isspace() for character in word):
        raise ValueError("it must be a host as ssh takes it: its name, user@name, or one of your configuration of ssh")
    return word


def _name(value: Any, _base: Path) -> str:
    # The narrowest of the batch systems' rules for job names: Grid Engine's has no digit at the front.
    if not (isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", value)):
        raise ValueError("it must begin with a letter and have letters, digits, '-' and '_' only, at most 40")
    return value


def _directory(value: Any, base: Path) -> Path:
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip() or not str(value).isprintable():
        raise ValueError("it must be the path of a directory")
    try:
        return base / Path(value).expanduser()
    except RuntimeError as error:  # ~somebody who does not exist
        raise ValueError(str(error)) from None


def _program(value: Any, base: Path) -> str:
    # A bare name is looked for on the job's own PATH; "./venv/bin/python" is meant from where it was written.
    word = _word(os.fspath(value) if isinstance(value, os.PathLike) else value, base)
    return str(_directory(word, base)) if "/" in word else word


def _command(value: Any, base: Path) -> tuple[str, ...]:
    """Read a program, or a command that runs one: ``["apptainer", "exec", "image.sif", "python"]``."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(word, str) and "\0" not in word for word in value):
        return (_program(value[0], base), *value[1:])
    if isinstance(value, (list, tuple)):
        raise ValueError("it must be a program, or a list of texts: a program and its arguments")
    program = _program(value, base)
    if " " not in program or os.path.lexists(program):
        return (program,)
    # As dask-jobqueue's users write it, whose text is a part of the job script; here no shell reads it.
    if bad := next((character for character in program if character in "$`|&;<>"), None):
        raise ValueError(f"no shell reads it, to which {bad!r} would mean something; write a list of texts")
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"it cannot be read as a command ({error}); write a list of texts") from None
    return (_program(words[0], base), *words[1:])


def _image(value: Any, base: Path) -> str:
    # A name in a registry has slashes, too: a path is what looks like one, or is there.
    word = _word(os.fspath(value) if isinstance(value, os.PathLike) else value, base)
    named = re.match(rf"({'|'.join(container.PROGRAMS)})://", word)
    prefix, image = (named[0], word[named.end() :]) if named else ("", word)
    looks = image.startswith(("/", "./", "../", "~")) or image.endswith((".sif", ".sqfs", ".img"))
    is_path = looks or ("://" not in image and (base / image).exists())
    return prefix + (os.path.normpath(_directory(image, base)) if is_path else image)


def _variables(value: Any, _base: Path) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("it must be variables with their values, such as {'OMP_PROC_BIND': 'true'}")
    for name, text in value.items():
        if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)):
            raise ValueError(f"{name!r} is not the name of a variable: letters, digits and '_' only")
        if isinstance(text, bool) or not isinstance(text, (str, int)) or "\0" in str(text):
            raise ValueError(f"the value of {name} must be text or a whole number")
    return {name: str(text) for name, text in value.items()}


def _options(value: Any, _base: Path) -> tuple[tuple[str, str], ...]:
    # Which names there are, the batch system says when the request is written down. A tuple was read before.
    value = dict(value) if isinstance(value, tuple) else value
    if not isinstance(value, Mapping):
        raise ValueError("it must be names with their values, such as {'parallel_environment': 'smp'}")
    for name, text in value.items():
        if not (isinstance(name, str) and re.fullmatch(r"[a-z][a-z_]*", name)):
            raise ValueError(f"{name!r} is not the name of an option: small letters and '_' only")
        if not isinstance(text, (str, int)) or not str(text).isprintable():
            raise ValueError(f"the value of {name} must be text on one line, a whole number, true or false")
    return tuple(sorted((name, _text_of(text)) for name, text in value.items()))


def _text_of(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _arrays(value: Any, base: Path) -> bool | int:
    if isinstance(value, bool):
        return value
    try:
        return int(_whole(1)(value, base))
    except ValueError:
        raise ValueError("it must be true, false, or the most jobs of one array, a whole number above 0") from None


def _or_auto(read: Read) -> Read:
    def either(value: Any, base: Path) -> Any:
        return AUTO if value == AUTO else read(value, base)

    return either


# ------------------------------------------------------------------------------------------------ the same, from text


def _number_in(text: str) -> Any:
    # Leaves what is no number as it is: the message then shows what was written.
    return int(text) if re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text) else text


def _switch_or_number_in(text: str) -> Any:
    return {"true": True, "false": False}.get(text.strip().lower(), _number_in(text))


def _lines_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _hosts_in(text: str) -> list[str]:
    return [host for host in re.split(r"[,\s]+", text) if host]


def _variables_in(text: str) -> Any:
    lines = _lines_in(text)
    return dict(line.split("=", 1) for line in lines) if all("=" in line for line in lines) else text


# ------------------------------------------------------------------------------------------------------------ the table


def _count(name: str, about: str, least: int, default: int | None, most: int | None = None) -> Setting:
    read = _whole(least, most)
    return Setting(name=name, about=about, read=read, default=default, optional=default is None, split=_number_in)


def _text(name: str, about: str, read: Read = _word, default: str | None = None) -> Setting:
    return Setting(name=name, about=about, read=read, default=default, optional=default is None)


def _list(name: str, about: str, read: Read = _words, split: Callable[[str], Any] = _lines_in) -> Setting:
    return Setting(name=name, about=about, read=read, default=(), split=split)


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        _text("scheduler", "the batch system, or auto: the one that is here", _system, "auto"),
        Setting(
            name="max_workers",
            about="calls that run at once, at most",
            read=_max_workers,
            optional=True,
            split=_number_in,
        ),
        _count("min_workers", "workers to hold when there is nothing to do", 0, 0),
        Setting(
            name="cores",
            about="physical cores of one worker, or auto: what the first calls use",
            read=_or_auto(_slots(1)),
            default=1,
            split=_number_in,
        ),
        _text("memory", "memory of one worker, or auto", _or_auto(_memory)),
        _text("walltime", "time that a job may run, or auto", _or_auto(_walltime)),
        Setting(name="gpus", about="GPUs of one worker", read=_slots(0), default=0, split=_number_in),
        Setting(name="workers_per_job", about="workers in one job", read=_slots(1), default=1, split=_number_in),
        _count("threads_per_core", "hardware threads of each core that a call may use", 1, 1, most=8),
        Setting(
            name="bind",
            about="what a call is bound to",
            read=_bind,
            default="cores",
            optional=True,
        ),
        _text("partition", "partition, or queue"),
        _text("account", "account, or project, that is charged"),
        _text("qos", "quality of service"),
        _text("reservation", "reservation"),
        _list("licenses", "licences of one job"),
        _text("constraint", "features that the node must have"),
        _list("exclude", "nodes not to use"),
        _list("job_extra", "more directives for the job script"),
        _list("job_skip", "directives to leave out of the job script"),
        Setting(
            name="system_options",
            about="what only this batch system has a word for",
            read=_options,
            default=(),
            split=_variables_in,
        ),
        _text("submit_host", "host on which the batch system's commands run, by ssh", _destination),
        Setting(
            name="arrays",
            about="whether jobs are submitted as arrays, or how many in one at most",
            read=_arrays,
            default=True,
            split=_switch_or_number_in,
        ),
        _text("submit_by", "how the job script gets to the submit command", _choice("stdin", "file"), "stdin"),
        _list("setup", "shell lines before the agent starts", _lines),
        Setting(
            name="idle_timeout",
            about="time after which an idle job ends",
            read=_duration,
            default=IDLE_TIMEOUT,
            optional=True,
        ),
        _count("max_tasks_per_child", "calls after which a worker is replaced", 1, None),
        _text("max_memory_growth", "memory by which a worker may grow before it is replaced", _memory),
        _text("name", "name of the pool and its jobs", _name),
        _text("log_directory", "where the jobs' logs go", _directory),
        Setting(
            name="python",
            about="interpreter in the jobs, or a command that runs it",
            read=_command,
            default=(sys.executable,),
        ),
        _text("container", "image of a container in which that runs", _image),
        _list("container_options", "more options for the program that runs the container"),
        Setting(name="environment", about="variables in the jobs", read=_variables, default={}, split=_variables_in),
        _list("addresses", "host names or addresses the server announces", _hosts, _hosts_in),
    )
}
"""Every setting, in the order in which they are shown."""
