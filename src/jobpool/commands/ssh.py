"""A batch system's command on another host: what runs here in its place, and what the answer to that is worth.

::

    here    ssh ... HOST  exec /bin/sh -c 'eval "$(head -c 4711)"'
    stdin   4711 bytes for the shell there: variables, the command, marks around what it says; then the command's stdin

What the shell is to do is on stdin and on no command line: variables may hold secrets, and all users of that host see
the list of processes. The marks part what the command says from what a profile prints, and its own exit code 255 from a
lost connection: a command whose last mark is missing has no return code, as nobody knows what it did.

It is the user's own ``ssh``, which asks nothing: keys, an agent, port and user come from its configuration. All
commands of this process share one connection for each host.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jobpool.model.command import Command, Completed

__all__ = ["Call", "called", "closing", "control_path", "parse_programs", "programs"]

PERSIST = 150
"""Seconds that the connection outlives the last command: more than between two polls when nothing changes."""

_LONGEST_PATH = 107 - 17
"""Bytes of a socket's path, less those that ssh adds while it makes one."""

_PROFILES = """for file in /etc/profile "$HOME/.profile"; do if [ -r "$file" ]; then . "$file"; fi; done"""
"""A command over ssh may see less of a site's settings than a login does; the batch system may be among them."""

_READ_ONLY = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID", "_"})
"""Variables that some shell does not let be set."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command on another host, as it is run here."""

    command: Command
    """The command that is meant."""
    mark: str = field(default_factory=lambda: f"jobpool-{secrets.token_hex(8)}")
    control: str | None = None
    """The path of the socket of the shared connection. None: a connection for each command."""

    @property
    def here(self) -> Command:
        """The command that runs here."""
        text = self.text
        size = len(text.encode(errors="surrogateescape"))
        argv = (*_ssh(self.control), "--", str(self.command.host), f"exec /bin/sh -c 'eval \"$(head -c {size})\"'")
        return Command(argv, stdin=text + (self.command.stdin or ""), timeout=self.command.timeout)

    @property
    def text(self) -> str:
        """What the shell there does."""
        program, *arguments = self.command.argv
        name, words = shlex.quote(program), shlex.join(arguments)
        begin = f"printf '%s\\n' {self.mark}"
        lines = [
            "cd /",
            f"if ! command -v {name} >/dev/null 2>&1; then {{ {_PROFILES}; }} >/dev/null 2>&1 </dev/null; fi",
            f"if ! program=$(command -v {name}); then echo {shlex.quote(f'{program}: not found')} >&2; exit 127; fi",
            # Who waits for it here has given up by then. Without this it would hang there for ever. It is found by that
            # host's PATH, as the program is: the one of here comes next, and may lead to places that are not there.
            f'limit=$(command -v timeout) && limit="$limit -k 5 {self.command.timeout + 5:g}"',
            *self._environment(),
            f"{begin}; {begin} >&2",
            f'$limit "$program" {words}',
            f"printf '\\n%s %s\\n' {self.mark} $? >&2",
        ]
        return "\n".join([*lines, ""])

    def _environment(self) -> Iterator[str]:
        """Write what the command's variables are: those of a login there, without some, and those that it is given."""
        unset = self.command.unset
        if unset.prefixes:
            kept = f"{'|'.join(sorted(unset.kept))}) ;; " if unset.kept else ""
            names = "env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'"
            gone = "|".join(f"{prefix}*" for prefix in unset.prefixes)
            yield f'for name in $({names}); do case $name in {kept}{gone}) unset "$name" ;; esac; done'
        for name, value in self.command.environment or ():
            # The way to the batch system is that host's.
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name not in _READ_ONLY | unset.kept:
                yield f"export {name}={shlex.quote(value)}"
        for name, value in self.command.variables:
            yield f"export {name}={shlex.quote(value)}"

    def read(self, done: Completed) -> Completed:
        """Return what came of the command that was meant."""
        begin = f"{self.mark}\n"
        stdout = done.stdout.partition(begin)[2]
        before, _, stderr = done.stderr.partition(begin)
        said, ended, code = stderr.rpartition(f"\n{self.mark} ")
        if done.returncode is None or not (ended and code.strip().isdigit()):
            words = (stderr or before).strip() or f"ssh ended with {done.returncode}"
            return Completed(self.command, None, stdout, f"{self.command.argv[0]} on {self.command.host}: {words}")
        return Completed(self.command, int(code), stdout, said)


def called(command: Command, control: str | None) -> Call:
    """Return how a command is run on its host."""
    return Call(command, control=control)


def _ssh(control: str | None) -> tuple[str, ...]:
    shared = (
        ("ControlMaster=no", "ControlPath=none")
        if control is None
        else ("ControlMaster=auto", f'ControlPath="{control.replace("%", "%%")}"', f"ControlPersist={PERSIST}")
    )
    settings = (
        "BatchMode=yes",
        "ConnectTimeout=20",
        # A host that is gone without a word is noticed in less than a minute.
        "ServerAliveInterval=15",
        "ServerAliveCountMax=3",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "RemoteCommand=none",
        "RequestTTY=no",
        "LogLevel=ERROR",
        *shared,
    )
    return ("ssh", *(word for setting in settings for word in ("-o", setting)))


def closing(host: str, control: str) -> Command:
    """Make the command that ends the shared connection to a host."""
    return Command((*_ssh(control), "-O", "exit", "--", host), timeout=10.0)


def control_path(host: str, directory: Path) -> str | None:
    """Return the path of the socket for this process's connection to a host, in a directory that is the user's alone.

    None where the path would be too long for a socket.
    """
    # Other hosts may have this directory, and a process with this number: its connection is not ours to end.
    name = hashlib.sha256(f"{os.uname().nodename} {host}".encode()).hexdigest()[:8]
    path = str(directory / f"ssh-{os.getpid()}-{name}")
    return None if len(os.fsencode(path)) > _LONGEST_PATH or '"' in path else path


def programs(names: Iterable[str], host: str) -> Command:
    """Make the command that looks for programs on a host."""
    words = shlex.join(names)
    look = f'for name in {words}; do if path=$(command -v "$name"); then echo "$name $path"; fi; done'
    return Command(("sh", "-c", f"{look}; {{ {_PROFILES}; }} >/dev/null 2>&1; {look}"), host=host)


def parse_programs(done: Completed) -> dict[str, str]:
    """Read its answer: the paths of the programs that are there."""
    lines = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: path for name, _, path in lines if path}
