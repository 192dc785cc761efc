"""The worker's side of checkpoints: while a call runs that offers one, a signal takes it.

::

    agent                                     worker, in a call of a function that has ``checkpoint``
    OFFERS on the page is the running call?   OFFERS = the call's id + 1
    CHECKPOINT_SIGNAL ──────────────────────►  handler, in the main thread, between bytecodes: go_on = fn.checkpoint()
    ◄───────────────────────── Checkpointed    and the process ends, without another step of the call
    ◄───────────────────────── NoCheckpoint    or it failed, and the call goes on

The result and the checkpoint of a call never both come: the handler runs within the call, and does not return to it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

from jobpool.model.errors import NotPicklable
from jobpool.serialize import chunks, pickling
from jobpool.serialize.checkpoint_resume import resume
from jobpool.transport.messages.base import Checkpointed
from jobpool.transport.messages.worker import NoCheckpoint
from jobpool.transport.size_limit import refusal
from jobpool.worker.shared_page import CHECKPOINT_SIGNAL, OFFERS

__all__ = ["CheckpointSignal", "offers"]


def offers(function: Callable[..., Any], args: tuple[Any, ...] = ()) -> Callable[[], object] | None:
    """Return the ``checkpoint`` of a function, or of what goes on in its place, if it has one."""
    offered = getattr(args[0] if function is resume and args else function, "checkpoint", None)
    return offered if callable(offered) else None


class CheckpointSignal:
    """Takes the checkpoints of a worker's calls."""

    def __init__(
        self, page: memoryview, send: Callable[[Checkpointed | NoCheckpoint], None], flush: Callable[[], None]
    ) -> None:
        self._page, self._send, self._flush = page, send, flush
        self._current: tuple[int, Callable[[], object], bool] | None = None
        signal.signal(CHECKPOINT_SIGNAL, self._asked)

    def run(self, id: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, *, row: bool) -> Any:
        """Run a call that may be asked for a checkpoint. ``row``: it is an item of a map."""
        offered = offers(function, args)
        if offered is None:
            return function(*args, **kwargs)
        self._current = id, offered, row
        self._page[OFFERS] = id + 1
        try:
            return function(*args, **kwargs)
        finally:
            self._current = None
            with contextlib.suppress(ValueError):  # in a process that the call has forked, the page is closed
                self._page[OFFERS] = 0

    def _asked(self, _number: int, _frame: object) -> None:
        current, self._current = self._current, None  # once for each call
        if current is None:
            return
        id, offered, row = current
        try:
            payload = _payload(offered, row=row)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises, its call goes on
            self._page[OFFERS] = 0
            words = f"{_name(offered)}: {type(error).__name__}: {error}"[: pickling.TEXT_KEPT]
            self._send(NoCheckpoint(id, words))
            return
        self._flush()
        self._send(Checkpointed(id, payload))
        os._exit(0)


def _payload(offered: Callable[[], object], *, row: bool) -> bytes:
    """Take the checkpoint and pickle it as the argument of ``resume``. Raises what the user's code raises, and more."""
    go_on = offered()
    if not callable(go_on):
        raise TypeError(f"it returned {go_on!r:.100}; it has to return a function that goes on, without arguments")
    payload: bytes | NotPicklable
    if row:
        [(payload, _)] = chunks.dumps_rows(iter([(go_on,)]), to=pickling.HOME)
    else:
        payload = pickling.dumps_arguments((go_on,), {}, pickling.HOME)
    if error := refusal("the checkpoint of the call", payload):
        raise error
    assert isinstance(payload, bytes)
    return payload


def _name(offered: Callable[[], object]) -> str:
    return f"{getattr(offered, '__qualname__', 'checkpoint')}()"
