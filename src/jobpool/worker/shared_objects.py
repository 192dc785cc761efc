"""One object for each class, module, function and global variable of the user's, as long as the client's is the same.

What is not installed comes by value: each pickle brings the classes, functions and variables that it uses, as they were
at the submit. In a process pool they are one and the same for all calls in a worker, so an initializer may set what
calls read, and a call may leave a cache for the next one. So here, what a pickle brings is not used as it is:

- A class is known by the number that cloudpickle gives it, a function and a module by their names (where the client
  finds them by these). The first pickle that brings one makes it; later ones get the living one.
- Their variables (a class's attributes, a module's global variables, a function's code) are looked at one by one. What
  is the same as what the client sent before stays as it is here, whatever was done to it since. What is another
  replaces it, and what the initializer had set in it is laid over.
- A call sees what its own pickle brought. A function knows the variables of its pickle by their prints; where another
  one, submitted before or after a change, has put others there, they are put back before it is called.

The living ones of other versions wait aside, the latest few of them. Those that were dropped come from the function's
pickle again.
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle
import cloudpickle.cloudpickle as internals

from jobpool.serialize import rebuild
from jobpool.serialize.pickling_classes import unpickler
from jobpool.worker.fingerprints import NOTHING, print_of
from jobpool.worker.initializer_changes import Change, Rebound, lay_over
from jobpool.worker.namespaces import (
    ABSENT,
    STATE,
    ClassNamespace,
    FunctionNamespace,
    ModuleNamespace,
    Namespace,
    Print,
)
from jobpool.worker.replace_references import is_held, is_made_anew, replace_everywhere
from jobpool.worker.unpickler import SharingUnpickler

__all__ = ["Image", "SharedObjects", "here"]

SMALL = 16 * 1024
"""Bytes that are searched for the name of a pickler in less time than it takes to make an unpickler of our own."""

ASIDE = 64
"""Values of other versions that are kept. A notebook has few versions of few variables under way at one time."""

DEFINITIONS = 32
"""Pickles of classes that are kept: more than the kinds of arguments that a script submits in turns."""

LARGEST = 64 * 1024
"""Bytes of such a pickle at most."""

LOCAL = 1000
"""Classes made in functions that are kept: each call of such a function makes another one."""


_ALONE = (type(None), bool, int, float, complex, str, bytes, tuple, type, FunctionType, ModuleType, type(ABSENT))
"""Kinds of objects that cannot be changed, or of which there is one anyhow."""

_OF_THE_IMPORT = frozenset({"__builtins__", "__cached__", "__loader__", "__spec__", "__dict__", "__weakref__"})
"""What the client does not send of modules and classes."""


def here() -> SharedObjects:
    """Return what lives in this process. A process that was forked goes on with what lived in its parent."""
    global _here
    if _here is None:
        _here = SharedObjects(rebuild.living_modules)
        os.register_at_fork(after_in_child=_here.renew_lock)
    return _here


_here: SharedObjects | None = None


class Image:
    """The variables that a pickle brought, by their prints."""

    def __init__(self) -> None:
        self.prints: dict[tuple[Namespace, str], Print] = {}
        self.whole: dict[Namespace, frozenset[str]] = {}
        """Spaces of which it brought all variables, and their names: there were no others."""
        self.epoch = -1
        """When all of them were in place."""


class SharedObjects:
    """What came by value into this process, and lives here."""

    def __init__(
        self,
        modules: dict[str, ModuleType] | None = None,
        tell: Callable[[str, str], None] = lambda _topic, _text: None,
    ) -> None:
        self._modules = {} if modules is None else modules
        self.tell = tell
        """Takes a topic and what is said of it to the user, once."""
        self._functions: dict[tuple[str, str], FunctionNamespace] = {}
        self._caches: dict[tuple[str, str], Any] = {}
        self._classes: dict[str, ClassNamespace] = {}
        self._local: OrderedDict[ClassNamespace, None] = OrderedDict()
        self._imported: dict[tuple[str, str], ClassNamespace] = {}
        self._latest: dict[tuple[str, str], ClassNamespace] = {}
        self._by_id: dict[int, Namespace] = {}
        self._aside: OrderedDict[tuple[Namespace, str, Print], Any] = OrderedDict()
        self._definitions: OrderedDict[bytes, tuple[Sequence[Any], Image]] = OrderedDict()
        self._epoch = 0
        self._lock = threading.RLock()

    def renew_lock(self) -> None:
        """Forget, in a process that was forked, the thread that held the lock in its parent."""
        self._lock = threading.RLock()

    # ---------------------------------------------------------------------------------------------------- loading

    def load(self, data: bytes, *, anew: bool = False, keep: bool = False) -> Any:
        """Unpickle. ``anew``: with all variables as they came. ``keep``: with all that live here as they are."""
        if len(data) <= SMALL and b"pickl" not in data:
            return pickle.loads(data)
        return self.load_with_image(data, anew=anew, keep=keep)[0]

    def load_with_image(self, data: bytes, *, anew: bool = False, keep: bool = False) -> tuple[Any, Image]:
        """Unpickle, and return also what has to be in place when it is called."""
        with self._lock:
            reading = SharingUnpickler(self)
            value = reading.load(data)
            image = Image()
            if not keep:
                self._settle(reading, image, anew=anew)
                self._unite(reading)
            reading.close()
            return value, image

    def puts_in_place(self, image: Image) -> bool:
        """Put in place what a function's pickle brought. False: it is not here any more; load the pickle again."""
        if image.epoch == self._epoch:
            return True
        with self._lock:
            for (space, name), print in image.prints.items():
                if space.prints.get(name) == print:
                    continue
                if (space, name, print) not in self._aside and print != NOTHING:
                    return False
                self._replace(space, name, print, ABSENT)
            self._remove_others(image)
            image.epoch = self._epoch
        return True

    def _remove_others(self, image: Image) -> None:
        """Remove the variables that the client did not have."""
        for space, names in image.whole.items():
            for name in space.prints.keys() - names:
                if space.prints[name] != NOTHING:
                    self._replace(space, name, NOTHING, ABSENT)

    def keep_for(self, images: Iterable[Image]) -> None:
        """Drop the values of other versions that none of these needs."""
        with self._lock:
            needed = {(space, name, print) for image in images for (space, name), print in image.prints.items()}
            for key in self._aside.keys() - needed:
                del self._aside[key]

    def _settle(self, reading: SharingUnpickler, image: Image, *, anew: bool) -> None:
        """Decide for each variable that was brought whether it replaces what lives here."""
        for space, name, value, fresh in reading.brought:
            print = _state_print(value, self.living) if name == STATE else print_of(value, self.living)
            image.prints[space, name] = print
            if fresh:
                self._epoch += space not in reading.fresh
                space.prints[name] = print
                if name in space.laid:
                    space.write(name, self._laid_over(space, name, value))
            elif not anew and name not in space.prints and space.found.get(name) == print:
                space.prints[name] = print
            elif anew or space.prints.get(name) != print:
                self._replace(space, name, print, value, anew=anew)
        image.whole = reading.whole
        self._remove_others(image)
        for space in reading.made:
            for name in space.laid.keys() - space.prints.keys():
                space.write(name, self._laid_over(space, name, ABSENT))
        image.epoch = self._epoch

    def _unite(self, reading: SharingUnpickler) -> None:
        """Let what the pickle has brought hold the living objects, where these stay in the place of its own."""
        for space, name, value, fresh in reading.brought:
            if fresh or name == STATE or isinstance(value, _ALONE) or not is_held(value):
                continue
            now = space.read(name)
            if now is value or type(now) is not type(value) or isinstance(space.laid.get(name), Rebound):
                continue
            if is_made_anew(value):
                replace_everywhere(value, now)

    def _replace(self, space: Namespace, name: str, print: Print, value: Any, *, anew: bool = False) -> None:
        self._epoch += 1
        before = space.prints.get(name)
        if before is not None and before != NOTHING and not anew:
            self._aside[space, name, before] = space.read(name)
            if len(self._aside) > ASIDE:
                self._aside.popitem(last=False)
        space.prints[name] = print
        waiting = self._aside.pop((space, name, print), self) if not anew else self
        space.write(name, self._laid_over(space, name, value) if waiting is self else waiting)

    def _laid_over(self, space: Namespace, name: str, value: Any) -> Any:
        """Return the value with what the initializer had set in it."""
        change: Change | None = space.laid.get(name)
        if change is None:
            return value
        laid, lost = lay_over(change, value)
        if lost:
            self.tell(
                f"initializer {space.name}.{name}",
                f"what the initializer did to {space.name}.{name} is lost: {lost}, and the script has changed the "
                "variable since; what an initializer sets by name stays: a global variable, an attribute, or a key of "
                "a dictionary",
            )
        return laid

    def load_defined(self, definitions: bytes, rest: bytes) -> Any:
        """Unpickle arguments that bring classes along; these are read once, as long as they stay the same."""
        with self._lock:
            things, image = self._definitions.get(definitions, ((), None))
            if image is None or not self.puts_in_place(image):
                things, image = self.load_with_image(definitions)
                if len(definitions) <= LARGEST:
                    self._definitions[definitions] = things, image
                if len(self._definitions) > DEFINITIONS:
                    self._definitions.popitem(last=False)
            reading = SharingUnpickler(self)
            value = unpickler(rest, things, reading.stand_in).load()
            if reading.brought:
                self._settle(reading, Image(), anew=False)
            reading.close()
            return value

    # ---------------------------------------------------------------------------------------------- what lives here

    def living(self, thing: Any) -> Namespace | None:
        """Return the space of a class, function or module that lives here, or of a module's global variables."""
        return self._by_id.get(id(thing))

    def spaces(self) -> Iterable[Namespace]:
        """Return all spaces."""
        return dict.fromkeys(self._by_id.values())

    def module(self, name: str) -> ModuleType:
        """Return the module of this name."""
        module = self._modules.get(name)
        if module is None:
            module = self._modules[name] = ModuleType(name)
            space = ModuleNamespace(name, module)
            self._by_id[id(module)] = self._by_id[id(vars(module))] = space
        return module

    def space(self, module: str) -> Namespace:
        """Return the space of the module of this name."""
        return self._by_id[id(self.module(module))]

    def known_module(self, name: str) -> ModuleType | None:
        """Return the module of this name if it lives here."""
        return self._modules.get(name)

    def publish(self, module: ModuleType) -> None:
        """Let a module that has come with all its variables be found by ``import``, too."""
        if self is _here and sys.modules.setdefault(module.__name__, module) is module:
            cloudpickle.register_pickle_by_value(module)

    def adopt(self, module: ModuleType) -> None:
        """Let a module that was imported from its file live here, with its functions and classes.

        Those that have come before stay.
        """
        name, variables = module.__name__, vars(module)
        space = self.living(module)
        if space is None:
            self._modules[name] = module
            space = self._by_id[id(module)] = self._by_id[id(variables)] = ModuleNamespace(name, module)
        new: list[Namespace] = [space]
        for variable, value in list(variables.items()):
            if getattr(value, "__module__", None) != name or getattr(value, "__qualname__", None) != variable:
                continue
            key = name, variable
            if isinstance(value, FunctionType) and value.__globals__ is variables:
                if key not in self._functions:
                    self._functions[key] = FunctionNamespace(variable, value)
                    new.append(self._functions[key])
                variables[variable] = self._functions[key].thing
            elif isinstance(value, type):
                if key in self._latest:
                    variables[variable] = self._latest[key].thing
                else:
                    self._imported[key] = ClassNamespace(variable, value)
                    new.append(self._imported[key])
            elif isinstance(value, functools._lru_cache_wrapper):
                variables[variable] = self._caches.setdefault(key, value)
        self._by_id.update({id(each.thing): each for each in new})
        for each in new:
            each.found = {
                variable: _state_print(value, self.living) if variable == STATE else print_of(value, self.living)
                for variable, value in each.variables().items()
                if variable not in _OF_THE_IMPORT and variable not in each.prints
            }

    def function(
        self, name: str, variables: dict[str, Any], make: Callable[[], FunctionType]
    ) -> tuple[Namespace, bool]:
        """Return the function of this name whose global variables are these, and whether it was made now."""
        key = variables["__name__"], name
        space = self._functions.get(key)
        made = make()
        if space is not None and len(made.__closure__ or ()) == len(space.thing.__closure__ or ()):
            return space, False
        space = self._functions[key] = FunctionNamespace(name, made)
        self._by_id[id(made)] = space
        return space, True

    def cached(self, parameters: dict[str, Any], function: FunctionType, name: str | None) -> Any:
        """Return the function under ``functools.cache`` of this name, with all that its cache holds."""
        key = function.__module__, name or ""
        known = self._caches.get(key)
        if name and known is not None and known.cache_parameters() == parameters:
            was = known.__wrapped__
            if isinstance(was, FunctionType) and was.__code__ == function.__code__ and not function.__closure__:
                return known
        made = rebuild.cached_again(parameters, function)
        if name:
            self._caches[key] = made
        return made

    def class_(self, number: str, name: tuple[str, str], make: Callable[[], type]) -> tuple[ClassNamespace, bool]:
        """Return the class of this number, and whether it was made now. ``name`` is its module's and its own."""
        space = self._classes.get(number)
        if space is not None:
            return space, False
        if (space := self._imported.pop(name, None)) is not None:
            self._number(number, space)
            self._latest[name] = space
            return space, False
        made = make()
        if (space := self._classes.get(number)) is not None:  # a metaclass, or __init_subclass__, has loaded it
            return space, False
        space = ClassNamespace(name[1], made)
        self._number(number, space)
        return space, True

    def _number(self, number: str, space: ClassNamespace) -> None:
        with internals._DYNAMIC_CLASS_TRACKER_LOCK:  # by its number it comes home as the class it was
            internals._DYNAMIC_CLASS_TRACKER_BY_CLASS[space.thing] = number
            internals._DYNAMIC_CLASS_TRACKER_BY_ID.setdefault(number, space.thing)
        space.tracker = number
        self._classes[number] = self._by_id[id(space.thing)] = space

    def follow_class(self, space: ClassNamespace) -> None:
        """Lay over a class what the initializer had set in the one that its module knew by this name before."""
        if "<locals>" in space.name:
            self._local[space] = None
            if len(self._local) > LOCAL:
                oldest, _ = self._local.popitem(last=False)
                del self._by_id[id(oldest.thing)], self._classes[oldest.tracker]
            return
        key = space.thing.__module__, space.name
        if (earlier := self._latest.get(key)) is not None:
            space.laid = dict(earlier.laid)
        self._latest[key] = space


def _state_print(value: Any, living: Callable[[Any], Namespace | None]) -> Print:
    code, slots, contents = value
    if not (contents or slots["__defaults__"] or slots["__kwdefaults__"] or slots["__annotations__"]):
        return code, slots["__qualname__"], slots["__doc__"]
    return code, print_of((slots, contents), living)
