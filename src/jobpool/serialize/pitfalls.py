"""Objects that have no meaning in another process, or on another host, and what to do instead.

Pickling most of them raises an error that names the type and nothing else; this module has the advice.
"""

from __future__ import annotations

__all__ = ["idiom"]

_LOCK = (
    "calls run in other processes, also on other hosts, where a lock of this process has no effect: let each call "
    "write a file of its own or return its part, and put the parts together here; a call that needs a lock for threads "
    "of its own makes one"
)
_CONNECTION = (
    "it is open in this process alone, and calls run in others, on other hosts too: return what is to be sent, or pass "
    "an address and connect in the call"
)
_FILE = "pass its path and open it in the call; calls that write do so to files of their own"
_QUEUE = (
    "return values: as_completed() and map() give each one when it is there; on local workers a queue of "
    "multiprocessing.Manager() works, too"
)
_SHARED = (
    "it is memory of this process or host: return values, or write them to a file that the nodes share (numpy.memmap); "
    "on local workers a value of multiprocessing.Manager() works, too"
)
_PROCESS = "it belongs to this process: start it in the call"
_EXECUTOR = "submit from here, where the pool is; a call that needs processes of its own makes a pool for itself"
_FUTURE = "wait for it here, and pass its result()"
_ITERATOR = "pass a list, or give it to map(), which makes a call of each of its items"
_COROUTINE = "pass the function and its arguments, and run it in the call: asyncio.run(function(x))"
_LOOP = "it belongs to the event loop here: make it in the call, inside of asyncio.run()"
_DATABASE = "pass the path or address of the database, and connect in the call"
_TRACEBACK = "pass it as text: traceback.format_exc()"
_MANAGER = "pass what it made (a queue, a list, a dict): on local workers they work as in a process pool"
_WEAK = "pass the object itself"

_IDIOMS = {
    "_thread.lock": _LOCK,
    "_thread.RLock": _LOCK,
    "_thread._local": "make it in the call: values of threading.local() belong to the threads here",
    "threading.Barrier": _LOCK,
    "threading.Condition": _LOCK,
    "threading.Event": _LOCK,
    "threading.Semaphore": _LOCK,
    "multiprocessing.synchronize.Barrier": _LOCK,
    "multiprocessing.synchronize.Condition": _LOCK,
    "multiprocessing.synchronize.Event": _LOCK,
    "multiprocessing.synchronize.SemLock": _LOCK,
    "multiprocessing.connection._ConnectionBase": _CONNECTION,
    "multiprocessing.connection.Listener": _CONNECTION,
    "_socket.socket": _CONNECTION,
    "ssl.SSLContext": "make it in the call",
    "select.epoll": _CONNECTION,
    "http.client.HTTPConnection": _CONNECTION,
    "_io._IOBase": _FILE,
    "tempfile._TemporaryFileWrapper": _FILE,
    "zipfile.ZipFile": _FILE,
    "tarfile.TarFile": _FILE,
    "h5py._hl.files.File": _FILE,
    "netCDF4._netCDF4.Dataset": _FILE,
    "posix.DirEntry": "pass its path",
    "queue.Queue": _QUEUE,
    "_queue.SimpleQueue": _QUEUE,
    "multiprocessing.queues.Queue": _QUEUE,
    "multiprocessing.queues.SimpleQueue": _QUEUE,
    "mmap.mmap": _SHARED,
    "multiprocessing.shared_memory.SharedMemory": _SHARED,
    "multiprocessing.shared_memory.ShareableList": _SHARED,
    "multiprocessing.sharedctypes.SynchronizedBase": _SHARED,
    "multiprocessing.heap.Arena": _SHARED,
    "multiprocessing.heap.BufferWrapper": _SHARED,
    "multiprocessing.process.BaseProcess": _PROCESS,
    "subprocess.Popen": _PROCESS,
    "threading.Thread": _PROCESS,
    "multiprocessing.managers.BaseManager": _MANAGER,
    "multiprocessing.managers.BaseProxy": (
        "return values, or write files that the nodes share; a call may connect by itself to a manager that listens at "
        "this host's address: BaseManager(address, authkey).connect()"
    ),
    "concurrent.futures._base.Executor": _EXECUTOR,
    "multiprocessing.pool.Pool": _EXECUTOR,
    "concurrent.futures._base.Future": _FUTURE,
    "multiprocessing.pool.ApplyResult": "wait for it here, and pass its get()",
    "_asyncio.Future": _LOOP,
    "asyncio.events.AbstractEventLoop": _LOOP,
    "builtins.generator": _ITERATOR,
    "builtins.coroutine": _COROUTINE,
    "builtins.async_generator": _COROUTINE,
    "sqlite3.Connection": _DATABASE,
    "sqlite3.Cursor": _DATABASE,
    "sqlalchemy.engine.base.Engine": _DATABASE,
    "builtins.traceback": _TRACEBACK,
    "builtins.frame": _TRACEBACK,
    "logging.Handler": "pass no handler: a logger travels by its name, and a call's logging goes where its prints go",
    "weakref.ReferenceType": _WEAK,
}
"""By class; the advice holds for derived classes, too."""


def idiom(value: object) -> str | None:
    """Return what to do instead of passing this object, or None if there is no advice."""
    for kind in type(value).__mro__:
        if known := _IDIOMS.get(f"{kind.__module__}.{kind.__qualname__}"):
            return known
    return None
