"""Proxies of a ``multiprocessing.Manager``, and shared memory: what works on this host alone.

A proxy reaches its manager by a socket and shows that it knows the manager's key. In a process pool the workers inherit
the key. Here it goes along with the proxy, to workers of this machine and to no others.
"""

from __future__ import annotations

import sys
from multiprocessing import process
from typing import Any

__all__ = ["is_shared", "reduce_shared"]

_NOWHERE = ("127.", "0.0.0.0", "::1", "localhost")


def is_shared(kind: type) -> bool:
    """Whether objects of this type are shared by processes of one host."""
    managers: Any = sys.modules.get("multiprocessing.managers")
    memory: Any = sys.modules.get("multiprocessing.shared_memory")
    shared = (managers is not None and issubclass(kind, managers.BaseProxy)) or (
        memory is not None and issubclass(kind, memory.SharedMemory | memory.ShareableList)
    )
    return bool(shared)


def reduce_shared(value: Any, *, local: bool, home: bool) -> tuple[Any, ...] | None:
    """Reduce what is shared by processes of one host. None: this is none of it, or takes care of itself.

    ``home``: it goes to the client, whose own key stays as it is.
    Raises ``TypeError`` when the worker may be on another host.
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
        raise TypeError("it is memory of this host, and the call may run on another")
    return None


def _proxy_again(make: Any, arguments: tuple[Any, ...], key: bytes, inherited: bool) -> Any:
    func, token, serializer, keywords = arguments
    if inherited:  # proxies that come out of this one come without a key, and take the process's
        process.current_process().authkey = key
    return make(func, token, serializer, {**keywords, "authkey": key})
