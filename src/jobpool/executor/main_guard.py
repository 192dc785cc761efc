"""Refuses a pool that is made while a script or module is imported by a process of a pool, or of ``multiprocessing``.

Workers of jobpool do not import the user's script, so that the script needs no ``if __name__ == "__main__":`` for them.
But there are two other ways to import it again, and then each process would make a pool, whose jobs would do the same:

- ``multiprocessing`` imports the script in each process that it starts by "spawn" or "forkserver", which is its default
  from Python 3.14 on. ``multiprocessing`` refuses to start processes during the import, but knows nothing of jobs.
- A call imports a module that makes a pool at its top level.

And ``jobpool measure FILE:FUNCTION`` imports a script only for its function: the user does not want to run the script.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType

__all__ = ["no_pool_while_importing", "refuse_while_imported"]

_IMPORTS = "<frozen importlib"
"""The beginning of the file name of the code that imports modules."""


_importer = ""
"""Which command imports a script for a function in it, now."""


@contextlib.contextmanager
def no_pool_while_importing(who: str) -> Iterator[None]:
    """Refuse pools during a ``with`` block. ``who``: the command that imports a script, for the message."""
    global _importer
    _importer = who
    try:
        yield
    finally:
        _importer = ""


def refuse_while_imported() -> None:
    """Raise ``RuntimeError`` in these cases, with the line that makes the pool."""
    where, by_import = _at_top_level(sys._getframe(1))
    if where is None:
        return
    file, line = where.f_code.co_filename, where.f_lineno
    if _importer and by_import:
        raise RuntimeError(
            f"{file}, line {line}, makes a pool while {_importer} imports it\n"
            '  what to do: make the pool in a function, or below: if __name__ == "__main__":'
        )
    if _imports_main():
        who = "a process that multiprocessing has started imports this script"
    elif by_import and "jobpool.worker.worker" in sys.modules:
        who = f"a call imports {where.f_globals.get('__name__')!r}"
    else:
        return
    raise RuntimeError(
        f"{file}, line {line}, makes a pool while {who}: each such process would make one, with jobs of its own\n"
        '  what to do: make the pool in a function, or below: if __name__ == "__main__":'
    )


def _imports_main() -> bool:
    process = sys.modules.get(
        "multiprocessing.process"
    )  # if it is not imported, multiprocessing did not start this process
    return process is not None and getattr(process.current_process(), "_inheriting", False)


def _at_top_level(frame: FrameType | None) -> tuple[FrameType | None, bool]:
    """Return the innermost frame that is the top level of a module, and whether an import runs it."""
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    above = frame.f_back if frame is not None else None
    return frame, above is not None and above.f_code.co_filename.startswith(_IMPORTS)
