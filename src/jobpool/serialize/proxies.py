"""Pickles proxies of a ``multiprocessing.Manager`` and shared memory, which work on this host only.

A proxy connects to its manager by a socket, and proves that it knows the manager's key. In a process pool the workers
inherit the key. Here the key is pickled with the proxy, for workers on this machine only.
"""

from __future__ import annotations

import sys
from multiprocessing import process
from typing import Any

__all__ = ["is_shared", "reduce_shared"]

_NOWHERE = ("127.", "0.0.0.0", "::1", "localhost")


def is_shared(kind: type) -> bool:
    """Return whether processes of one host share objects of this type."""
    managers: Any = sys.modules.get("multiprocessing.managers")
    memory: Any = sys.modules.get("multiprocessing.shared_memory")
    shared = (managers is not None and issubclass(kind, managers.BaseProxy)) or (
        memory is not None and issubclass(kind, memory.SharedMemory | memory.ShareableList)
    )
    return bool(shared)


def reduce_shared(value: Any, *, local: bool, home: bool) -> tuple[Any, ...] | None:
    """Reduce an object that processes of one host share. None: it is no such object, or reduces itself.

    ``home``: the client unpickles it, whose own key does not change.
    Raises ``TypeError`` if the worker may be on another host.
    """
    managers: Any = sys.modules.get("multiprocessing.managers")
    if managers is not None and isinstance(value, managers.BaseProxy):
        address, key = value._token.address, value._authkey
        if local:
            make, arguments = value.__reduce__()
            inherited = not home and key == process.current_process().authkey
            return _proxy_again, (make, arguments, bytes(key), inherited)
        if isinstance(address, str | bytes) or not address[0] or address[0].startswith(_NOWHERE):
            raise TypeError(f"its manager listens at {address!r}, which no other host can reach")
        return None  # the user's own manager, in the network, whose key the user's calls know
    memory: Any = sys.modules.get("multiprocessing.shared_memory")
    if memory is not None and not local and isinstance(value, memory.SharedMemory | memory.ShareableList):
        raise TypeError("it is memory of this host, and the call may run on another host")
    return None


def _proxy_again(make: Any, arguments: tuple[Any, ...], key: bytes, inherited: bool) -> Any:
    func, token, serializer, keywords = arguments
    if inherited:  # proxies that this proxy returns have no key, and use that of the process
        process.current_process().authkey = key
    return make(func, token, serializer, {**keywords, "authkey": key})
