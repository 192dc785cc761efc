"""The user's classes, functions, modules and caches that came by value into this process: one object for each."""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle
import cloudpickle.cloudpickle as internals

from jobpool.serialize import rebuild
from jobpool.worker.fingerprints import fingerprint_of
from jobpool.worker.namespaces import STATE, ClassNamespace, Fingerprint, FunctionNamespace, ModuleNamespace, Namespace

__all__ = ["Registry", "state_fingerprint"]

LOCAL = 1000
"""Classes defined in functions that are kept: each call of such a function defines another one."""

_OF_THE_IMPORT = frozenset({"__builtins__", "__cached__", "__loader__", "__spec__", "__dict__", "__weakref__"})
"""What the client does not send of modules and classes."""


class Registry:
    """The shared objects, by their names; a class by the number that cloudpickle gives it.

    Args:
        modules: Where modules are found by name; the registry adds to it.
        importable: Also let ``import`` find a module that came with all its variables.
    """

    def __init__(self, modules: dict[str, ModuleType] | None = None, *, importable: bool = False) -> None:
        self._modules = {} if modules is None else modules
        self._importable = importable
        self._functions: dict[tuple[str, str], FunctionNamespace] = {}
        self._caches: dict[tuple[str, str], Any] = {}
        self._classes: dict[str, ClassNamespace] = {}
        self._local: OrderedDict[ClassNamespace, None] = OrderedDict()
        self._imported: dict[tuple[str, str], ClassNamespace] = {}
        self._latest: dict[tuple[str, str], ClassNamespace] = {}
        self._by_id: dict[int, Namespace] = {}

    def find(self, thing: Any) -> Namespace | None:
        """Return the namespace of a shared class, function or module, or of a module's global variables; None of
        others."""
        return self._by_id.get(id(thing))

    def namespaces(self) -> Iterable[Namespace]:
        """Return all namespaces."""
        return dict.fromkeys(self._by_id.values())

    def module(self, name: str) -> ModuleType:
        """Return the module of this name; create it if there is none."""
        module = self._modules.get(name)
        if module is None:
            module = self._modules[name] = ModuleType(name)
            namespace = ModuleNamespace(name, module)
            self._by_id[id(module)] = self._by_id[id(vars(module))] = namespace
        return module

    def module_namespace(self, module: str) -> Namespace:
        """Return the namespace of the module of this name."""
        return self._by_id[id(self.module(module))]

    def known_module(self, name: str) -> ModuleType | None:
        """Return the shared module of this name, or None."""
        return self._modules.get(name)

    def publish(self, module: ModuleType) -> None:
        """Let ``import`` find a module that came with all its variables."""
        if self._importable and sys.modules.setdefault(module.__name__, module) is module:
            cloudpickle.register_pickle_by_value(module)

    def adopt(self, module: ModuleType) -> None:
        """Share a module that was imported from its file, with its functions and classes.

        Functions and classes that came by value before stay in the place of the module's own.
        """
        name, variables = module.__name__, vars(module)
        namespace = self.find(module)
        if namespace is None:
            self._modules[name] = module
            namespace = self._by_id[id(module)] = self._by_id[id(variables)] = ModuleNamespace(name, module)
        new: list[Namespace] = [namespace]
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
            each.at_import = {
                variable: state_fingerprint(value, self.find) if variable == STATE else fingerprint_of(value, self.find)
                for variable, value in each.variables().items()
                if variable not in _OF_THE_IMPORT and variable not in each.fingerprints
            }

    def function(
        self, name: str, variables: dict[str, Any], make: Callable[[], FunctionType]
    ) -> tuple[Namespace, bool]:
        """Return the function of this name with these global variables, and whether it is new."""
        key = variables["__name__"], name
        namespace = self._functions.get(key)
        made = make()
        if namespace is not None and len(made.__closure__ or ()) == len(namespace.thing.__closure__ or ()):
            return namespace, False
        namespace = self._functions[key] = FunctionNamespace(name, made)
        self._by_id[id(made)] = namespace
        return namespace, True

    def cached(self, parameters: dict[str, Any], function: FunctionType, name: str | None) -> Any:
        """Return the function under ``functools.cache`` of this name, with the contents of its cache."""
        key = function.__module__, name or ""
        known = self._caches.get(key)
        if name and known is not None and known.cache_parameters() == parameters:
            was = known.__wrapped__
            if isinstance(was, FunctionType) and was.__code__ == function.__code__ and not function.__closure__:
                return known
        made = rebuild.rebuild_cached(parameters, function)
        if name:
            self._caches[key] = made
        return made

    def class_(self, number: str, name: tuple[str, str], make: Callable[[], type]) -> tuple[ClassNamespace, bool]:
        """Return the class of this number, and whether it is new. ``name``: the module's name and the class's own."""
        namespace = self._classes.get(number)
        if namespace is not None:
            return namespace, False
        if (namespace := self._imported.pop(name, None)) is not None:
            self._number(number, namespace)
            self._latest[name] = namespace
            return namespace, False
        made = make()
        if (namespace := self._classes.get(number)) is not None:  # a metaclass, or __init_subclass__, has loaded it
            return namespace, False
        namespace = ClassNamespace(name[1], made)
        self._number(number, namespace)
        return namespace, True

    def _number(self, number: str, namespace: ClassNamespace) -> None:
        with internals._DYNAMIC_CLASS_TRACKER_LOCK:  # with this number, the client recognises its own class in a result
            internals._DYNAMIC_CLASS_TRACKER_BY_CLASS[namespace.thing] = number
            internals._DYNAMIC_CLASS_TRACKER_BY_ID.setdefault(number, namespace.thing)
        namespace.tracker = number
        self._classes[number] = self._by_id[id(namespace.thing)] = namespace

    def follow_class(self, namespace: ClassNamespace) -> None:
        """Apply to a class what the initializer changed in the earlier class of this module and name."""
        if "<locals>" in namespace.name:
            self._local[namespace] = None
            if len(self._local) > LOCAL:
                oldest, _ = self._local.popitem(last=False)
                del self._by_id[id(oldest.thing)], self._classes[oldest.tracker]
            return
        key = namespace.thing.__module__, namespace.name
        if (earlier := self._latest.get(key)) is not None:
            namespace.changes = dict(earlier.changes)
        self._latest[key] = namespace


def state_fingerprint(value: Any, find: Callable[[Any], Namespace | None]) -> Fingerprint:
    """Return the fingerprint of a function's code, defaults and closure (``namespaces.STATE``)."""
    code, slots, contents = value
    if not (contents or slots["__defaults__"] or slots["__kwdefaults__"] or slots["__annotations__"]):
        return code, slots["__qualname__"], slots["__doc__"]
    return code, fingerprint_of((slots, contents), find)
