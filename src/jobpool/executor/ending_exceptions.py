"""Exceptions of calls that end the script when the result is taken: ``SystemExit`` and others."""

from __future__ import annotations

import re

from jobpool.show.waiting import WaitingLine

__all__ = ["tell_what_ends_scripts"]

_MOST = 100
"""Maximum number of different messages: more would hide everything else on the screen."""

_told: set[str] = set()

_PLACE = re.compile(r'^  (File "[^"]*", line \d+, in .*)$', re.MULTILINE)


def tell_what_ends_scripts(error: BaseException) -> None:
    """Say which call raised an exception that ends a script where nobody catches it: once for each place and text.

    ``error.__cause__`` has the traceback of the call, as :func:`~jobpool.serialize.pickling.loads_exception` leaves it.
    """
    if isinstance(error, Exception):
        return
    places = _PLACE.findall(str(error.__cause__))
    said = f"{type(error).__name__}({', '.join(map(repr, error.args))})"
    where = f" ({places[-1]})" if places else ""
    text = f"a call raised {said}{where}: it is raised again where the result is taken, and may end the script there"
    if text not in _told and len(_told) < _MOST:
        _told.add(text)
        WaitingLine().say(text, warning=True)
