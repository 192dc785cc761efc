"""Exceptions of calls that end more than the call when they are raised again where its result is taken."""

from __future__ import annotations

import re

__all__ = ["as_told"]

_MOST = 100
"""Different ones that are told: more would hide what else is on the screen."""

_told: set[str] = set()

_PLACE = re.compile(r'^  (File "[^"]*", line \d+, in .*)$', re.MULTILINE)


def as_told(error: BaseException, traceback: str) -> BaseException:
    """Return the exception that a call has, after a word to the user if it would end the script without one.

    ``StopIteration`` would end a loop over results, or a generator, in silence: in its place stands a ``RuntimeError``
    with it as the cause, as in generators (PEP 479).
    """
    if isinstance(error, StopIteration):
        instead = RuntimeError("the call raised StopIteration")
        instead.__cause__ = error
        return instead
    if not isinstance(error, Exception):
        _tell(error, traceback)
    return error


def _tell(error: BaseException, traceback: str) -> None:
    """Say which call raised it, once for each place and each text."""
    places = _PLACE.findall(traceback)
    said = f"{type(error).__name__}({', '.join(map(repr, error.args))})"
    where = f" ({places[-1]})" if places else ""
    text = f"a call raised {said}{where}: it is raised again where the result is taken, and may end the script there"
    if text not in _told and len(_told) < _MOST:
        from jobpool.ui.waiting import WaitingLine  # workers, which import this, have nobody to tell

        _told.add(text)
        WaitingLine().say(text, warning=True)
