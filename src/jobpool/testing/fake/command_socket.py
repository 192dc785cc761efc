"""The way of commands to a fake cluster: small programs that hand their arguments to a socket and print the answer."""

from __future__ import annotations

import marshal
import os
import select
import shutil
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from jobpool.testing.fake.site import Answer

__all__ = ["CommandSocket"]

Ask = Callable[[str, tuple[str, ...], str, Mapping[str, str], Path, int], Answer]
"""Program, arguments, stdin, environment, working directory and umask of a command -> its answer."""

_STUB = """\
#!{python} -ISE
import _socket, marshal, posix, sys
name = sys.argv[0].rpartition("/")[2]
words = sys.argv[1:] if name == {submit!r} else [""]
while words and words[0].startswith("-"):
    del words[:2 if words[0] in {valued!r} else 1]
reads = not words
text = sys.stdin.buffer.read() if reads else b""
message = marshal.dumps((name, sys.argv[1:], text, posix.environ, posix.getcwd(), posix.umask(0)))
connection = _socket.socket(_socket.AF_UNIX)
connection.connect({socket!r})
connection.sendall(message)
connection.shutdown(_socket.SHUT_WR)
parts = []
while part := connection.recv(65536):
    parts.append(part)
answer = b"".join(parts)
code, out, err = marshal.loads(answer) if answer else (1, "", name + ": the fake cluster is gone\\n")
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""
# Modules of the interpreter itself only: it starts in 15 ms, and half as fast with ``socket`` and ``json``.

_SOCKET_PATH_MAX = 100
"""Characters; the kernel takes 107."""


class CommandSocket:
    """Listens for commands and writes the programs that send them.

    The first program submits: it reads its script from stdin, unless a word names a file. ``valued`` are its options
    whose value is the next word.
    """

    def __init__(self, directory: Path, programs: Sequence[str], valued: Iterable[str], ask: Ask) -> None:
        self.bin = directory / "bin"
        self._ask = ask
        self._short = (
            None if len(str(directory)) < _SOCKET_PATH_MAX - 5 else tempfile.mkdtemp(prefix="fake-", dir="/tmp")
        )
        self._socket = Path(self._short or directory) / "commands"
        self.bin.mkdir(mode=0o700)
        for program in programs:
            stub = self.bin / program
            stub.write_text(
                _STUB.format(
                    python=sys.executable, socket=str(self._socket), submit=programs[0], valued=tuple(sorted(valued))
                )
            )
            stub.chmod(0o700)
        self._server = _Server(str(self._socket), self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="fake-socket", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Listen no more, and remove the programs."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._socket.unlink(missing_ok=True)
        shutil.rmtree(self.bin, ignore_errors=True)
        if self._short:
            shutil.rmtree(self._short, ignore_errors=True)

    def _answer(self, message: bytes) -> tuple[bytes, float]:
        # marshal is no format for strangers; nobody else can reach a socket in a directory with mode 0700.
        program, arguments, text, environment, directory, umask = marshal.loads(message)
        variables = {os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()}
        said = self._ask(program, tuple(arguments), text.decode(), variables, Path(directory), umask)
        return marshal.dumps((said.returncode, said.stdout, said.stderr)), said.hangs


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100

    def __init__(self, path: str, answer: Callable[[bytes], tuple[bytes, float]]) -> None:
        self.answer = answer
        super().__init__(path, _Connection)


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        # The asking program may have been killed meanwhile, for example by its time-out.
        with suppress(BrokenPipeError, ConnectionResetError):
            answer, hangs = self.server.answer(self.rfile.read())
            if not (hangs and _is_gone_after(hangs, self.connection)):
                self.wfile.write(answer)


def _is_gone_after(seconds: float, connection: socket.socket) -> bool:
    """Wait for the end of a program that gets no answer, so long at most, and say whether it came."""
    gone = select.poll()
    gone.register(connection, 0)  # the end of its connection is told unasked
    return bool(gone.poll(seconds * 1000))
