"""One object for each class, module, function and global variable of the user's, as long as the client's is the same.

Code that is not installed comes by value: each pickle contains the classes, functions and variables that it uses, as
they were at the submit. In a process pool they are the same objects for all calls in a worker, so that an initializer
can set what calls read, and a call can leave a cache for the next one. Therefore a worker shares them between pickles:

- The registry knows a class by the number that cloudpickle gives it, and a function or module by its name, if the
  client finds it by this name. The first pickle that contains one creates it; later pickles get the same object.
- Their variables (a class's attributes, a module's global variables, a function's code) are compared one by one. A
  variable for which the client sent the same value as before keeps its value here, whatever calls have done to it. A
  variable for which the client sent another value gets that value, and the initializer's changes are applied to it.
- A call sees the variables of its own pickle. A function knows them by their fingerprints. If a pickle from before or
  after a change has set other values, the function's values are set again before the function is called.

The latest few values of other versions are kept. If a value is no longer kept, the function's pickle is loaded again.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, ModuleType
from typing import Any

from jobpool.serialize import rebuild
from jobpool.serialize.pickling_classes import unpickler
from jobpool.worker.fingerprints import NOTHING, fingerprint_of
from jobpool.worker.initializer_changes import Change, Rebound, apply_change
from jobpool.worker.namespaces import (
    ABSENT,
    STATE,
    Fingerprint,
    Namespace,
)
from jobpool.worker.registry import Registry, state_fingerprint
from jobpool.worker.replace_references import is_held, is_newly_made, replace_everywhere
from jobpool.worker.unpickler import SharingUnpickler

__all__ = ["SharedObjects", "VariableSet", "here"]

SMALL = 16 * 1024
"""Bytes. To search a pickle of this size for the name of a pickler takes less time than to create a
SharingUnpickler."""

OTHER_VERSIONS = 64
"""Values of other versions that are kept. A notebook uses few versions of few variables at one time."""

DEFINITIONS = 32
"""Pickles of classes that are kept: more than the kinds of arguments that a script submits alternately."""

LARGEST = 64 * 1024
"""Maximum size of such a pickle, in bytes."""

_ALONE = (type(None), bool, int, float, complex, str, bytes, tuple, type, FunctionType, ModuleType, type(ABSENT))
"""Types whose objects cannot be changed, or exist only once."""


def here() -> SharedObjects:
    """Return the shared objects of this process. A forked process continues with those of its parent."""
    global _here
    if _here is None:
        _here = SharedObjects(rebuild.shared_modules, importable=True)
        os.register_at_fork(after_in_child=_here.renew_lock)
    return _here


_here: SharedObjects | None = None


class VariableSet:
    """The variables that a pickle contained, by their fingerprints."""

    def __init__(self) -> None:
        self.fingerprints: dict[tuple[Namespace, str], Fingerprint] = {}
        self.complete: dict[Namespace, frozenset[str]] = {}
        """Namespaces of which the pickle contained all variables, and the names of these."""
        self.epoch = -1
        """The epoch of :class:`SharedObjects` in which all of them had these values."""


class SharedObjects:
    """What came by value into this process, and is shared by its calls.

    Args:
        modules: Where modules are found by name.
        tell: Takes a topic and a sentence for the user; the user reads one sentence of each topic.
        importable: Also let ``import`` find a module that came with all its variables.
    """

    def __init__(
        self,
        modules: dict[str, ModuleType] | None = None,
        tell: Callable[[str, str], None] = lambda _topic, _text: None,
        *,
        importable: bool = False,
    ) -> None:
        self.registry = Registry(modules, importable=importable)
        self.tell = tell
        self._other_versions: OrderedDict[tuple[Namespace, str, Fingerprint], Any] = OrderedDict()
        self._definitions: OrderedDict[bytes, tuple[Sequence[Any], VariableSet]] = OrderedDict()
        self._epoch = 0
        self._lock = threading.RLock()

    def renew_lock(self) -> None:
        """Make a new lock in a forked process: a thread of the parent may have held the old one."""
        self._lock = threading.RLock()

    # ---------------------------------------------------------------------------------------------------- loading

    def load(self, data: bytes, *, reset: bool = False, keep: bool = False) -> Any:
        """Unpickle. ``reset``: set all variables to the pickle's values. ``keep``: leave all variables as they are
        here."""
        if len(data) <= SMALL and b"pickl" not in data:
            return pickle.loads(data)
        return self.load_with_image(data, reset=reset, keep=keep)[0]

    def load_with_image(self, data: bytes, *, reset: bool = False, keep: bool = False) -> tuple[Any, VariableSet]:
        """Unpickle, and also return the variables that must have their values when the result is called."""
        with self._lock:
            reading = SharingUnpickler(self.registry, self.load_defined)
            value = reading.load(data)
            image = VariableSet()
            if not keep:
                self._settle(reading, image, reset=reset)
                self._share_parts(reading)
            reading.close()
            return value, image

    def puts_in_place(self, image: VariableSet) -> bool:
        """Set the variables of a function's pickle. Return False if a value is not kept: then load the pickle again."""
        if image.epoch == self._epoch:
            return True
        with self._lock:
            for (namespace, name), fingerprint in image.fingerprints.items():
                if namespace.fingerprints.get(name) == fingerprint:
                    continue
                if (namespace, name, fingerprint) not in self._other_versions and fingerprint != NOTHING:
                    return False
                self._replace(namespace, name, fingerprint, ABSENT)
            self._remove_others(image)
            image.epoch = self._epoch
        return True

    def _remove_others(self, image: VariableSet) -> None:
        """Remove variables that the client does not have."""
        for namespace, names in image.complete.items():
            for name in namespace.fingerprints.keys() - names:
                if namespace.fingerprints[name] != NOTHING:
                    self._replace(namespace, name, NOTHING, ABSENT)

    def keep_for(self, images: Iterable[VariableSet]) -> None:
        """Drop the values of other versions that none of these functions needs."""
        with self._lock:
            needed = {
                (namespace, name, fingerprint)
                for image in images
                for (namespace, name), fingerprint in image.fingerprints.items()
            }
            for key in self._other_versions.keys() - needed:
                del self._other_versions[key]

    def _settle(self, reading: SharingUnpickler, image: VariableSet, *, reset: bool) -> None:
        """Decide for each variable of the pickle whether its value replaces the one that is here."""
        for namespace, name, value, fresh in reading.received:
            fingerprint = (
                state_fingerprint(value, self.registry.find)
                if name == STATE
                else fingerprint_of(value, self.registry.find)
            )
            image.fingerprints[namespace, name] = fingerprint
            if fresh:
                self._epoch += namespace not in reading.fresh
                namespace.fingerprints[name] = fingerprint
                if name in namespace.changes:
                    namespace.write(name, self._with_change(namespace, name, value))
            elif not reset and name not in namespace.fingerprints and namespace.at_import.get(name) == fingerprint:
                namespace.fingerprints[name] = fingerprint
            elif reset or namespace.fingerprints.get(name) != fingerprint:
                self._replace(namespace, name, fingerprint, value, reset=reset)
        image.complete = reading.complete
        self._remove_others(image)
        for namespace in reading.new_classes:
            for name in namespace.changes.keys() - namespace.fingerprints.keys():
                namespace.write(name, self._with_change(namespace, name, ABSENT))
        image.epoch = self._epoch

    def _share_parts(self, reading: SharingUnpickler) -> None:
        """Let the pickle's objects refer to the values that are here, where these are kept instead of the pickle's."""
        for namespace, name, value, fresh in reading.received:
            if fresh or name == STATE or isinstance(value, _ALONE) or not is_held(value):
                continue
            now = namespace.read(name)
            if now is value or type(now) is not type(value) or isinstance(namespace.changes.get(name), Rebound):
                continue
            if is_newly_made(value):
                replace_everywhere(value, now)

    def _replace(
        self, namespace: Namespace, name: str, fingerprint: Fingerprint, value: Any, *, reset: bool = False
    ) -> None:
        self._epoch += 1
        before = namespace.fingerprints.get(name)
        if before is not None and before != NOTHING and not reset:
            self._other_versions[namespace, name, before] = namespace.read(name)
            if len(self._other_versions) > OTHER_VERSIONS:
                self._other_versions.popitem(last=False)
        namespace.fingerprints[name] = fingerprint
        kept = self._other_versions.pop((namespace, name, fingerprint), self) if not reset else self
        namespace.write(name, self._with_change(namespace, name, value) if kept is self else kept)

    def _with_change(self, namespace: Namespace, name: str, value: Any) -> Any:
        """Return the value with the initializer's changes applied."""
        change: Change | None = namespace.changes.get(name)
        if change is None:
            return value
        changes, lost = apply_change(change, value)
        if lost:
            self.tell(
                f"initializer {namespace.name}.{name}",
                f"what the initializer did to {namespace.name}.{name} is lost: {lost}, and the script has changed the "
                "variable since; what an initializer sets by name stays: a global variable, an attribute, or a key of "
                "a dictionary",
            )
        return changes

    def load_defined(self, definitions: bytes, rest: bytes) -> Any:
        """Unpickle arguments that contain classes. The classes are unpickled once, as long as they stay the same."""
        with self._lock:
            things, image = self._definitions.get(definitions, ((), None))
            if image is None or not self.puts_in_place(image):
                things, image = self.load_with_image(definitions)
                if len(definitions) <= LARGEST:
                    self._definitions[definitions] = things, image
                if len(self._definitions) > DEFINITIONS:
                    self._definitions.popitem(last=False)
            reading = SharingUnpickler(self.registry, self.load_defined)
            value = unpickler(rest, things, reading.stand_in).load()
            if reading.received:
                self._settle(reading, VariableSet(), reset=False)
            reading.close()
            return value
