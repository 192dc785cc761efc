"""The process of a practice OAR that brings faults about for an ordinary user. Root started it, with the lab."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from jobpool.model.errors import JobPoolError
from jobpool.testing.labs.oar import OarLab
from jobpool.testing.labs.oar_parts import ACTIONS

__all__ = ["main"]


def main(directory: Path) -> None:
    """Do what is asked, one thing after the other, until the lab is brought down."""
    lab = OarLab.attach(directory)
    place = lab.plan.keeper
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        place.chmod(0o666)
        server.listen()
        while True:
            connection, _ = server.accept()
            with connection, connection.makefile("rw") as stream:
                stream.write(f"{_answer(lab, stream.readline().split())}\n")


def _answer(lab: OarLab, words: list[str]) -> str:
    match words:
        case [action, part] if action in ACTIONS and part in lab.parts:
            try:
                getattr(lab.parts[part], action)()
            except JobPoolError as error:
                return " ".join(str(error).split())
            return "done"
        case ["restore", node]:
            lab.restore(node)
            return "done"
        case _:
            return f"nobody knows how to {' '.join(words)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
