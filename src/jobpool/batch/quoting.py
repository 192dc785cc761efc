"""Text that goes into a job script, written so that nobody reads more into it than it says."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping

from jobpool.model.errors import ConfigError

__all__ = ["check_name", "exports", "shell_command", "shell_lines", "shell_word", "single_line"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,59}")
_LONGEST = 131_071
"""Bytes of one argument, or of a variable with its name, that Linux hands to a program (MAX_ARG_STRLEN, less the NUL).
A longer one ends every job with "Argument list too long"."""
_MODULE = re.compile(r"(?:^|[\s;&|(])(?:module|ml)\s")
# `module` is a function of login shells; most jobs run in a shell that is none, or that another one has begun.
_FIND_MODULE = (
    'type module >/dev/null 2>&1 || for init in /etc/profile.d/*mod*.sh; do if [ -r "$init" ]; then . "$init"; fi; done'
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_name(name: str) -> str:
    """Return the submission's name, or raise ``ConfigError``: it stands in commands, file names and filters."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a submission: 1 to 60 letters, digits and '-', beginning with a letter"
        )
    return name


def single_line(value: str, what: str) -> str:
    """Return the value, or raise ``ConfigError`` when it cannot stand in one line of text."""
    if not value:
        raise ConfigError(f"{what} is empty; leave it out instead")
    if bad := next((character for character in value if character in "\n\r\0"), None):
        raise ConfigError(f"{what} must be a single line of text, but contains {bad!r}: {value!r}")
    if not _encodable(value):
        raise ConfigError(f"{what} contains bytes that are not UTF-8: {value!r}")
    return value


def shell_word(value: str) -> str:
    r"""Quote one word for bash.

    Control characters and bytes that are not UTF-8 become ``$'\x..'``: sbatch refuses a script with ``\r\n`` in it,
    and the script travels as text. Raises ``ConfigError`` for NUL, which no argument or variable can hold.
    """
    if "\0" in value:
        raise ConfigError(f"a NUL character cannot be passed to a job: {value!r}")
    if len(os.fsencode(value)) > _LONGEST:
        raise ConfigError(f"no program can be given a text of more than {_LONGEST:,} bytes: {value[:60]!r}...")
    if value.isprintable() and _encodable(value):
        return shlex.quote(value)
    return "$'" + "".join(_escaped(byte) for byte in os.fsencode(value)) + "'"


def shell_command(argv: Iterable[str]) -> str:
    """Quote a command line for bash."""
    return " ".join(shell_word(word) for word in argv)


def exports(environment: Mapping[str, str]) -> list[str]:
    """Write one ``export`` line for each variable. Raises ``ConfigError`` for a name that is none."""
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name):
            raise ConfigError(f"{name!r} is not a name for a variable of the job's environment")
        if len(os.fsencode(f"{name}={value}")) > _LONGEST:
            raise ConfigError(f"environment: {name} is too long: no program can be given more than {_LONGEST:,} bytes")
    return [f"export {name}={shell_word(value)}" for name, value in environment.items()]


def shell_lines(setup: Iterable[str]) -> list[str]:
    """Return the user's own shell lines, with the line ends of Windows made harmless.

    Where they use ``module``, a line before them looks for it.
    """
    lines = [line.replace("\r\n", "\n") for line in setup]
    for line in lines:
        if "\0" in line or not _encodable(line):
            raise ConfigError(f"a line of setup contains bytes that are not text: {line!r}")
    return [_FIND_MODULE, *lines] if any(map(_MODULE.search, lines)) else lines


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(byte: int) -> str:
    character = chr(byte)
    return character if character.isalnum() and byte < 0x80 else f"\\x{byte:02x}"
