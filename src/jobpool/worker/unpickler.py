"""Reads a pickle that contains functions, classes and modules by value, and uses the shared ones where there are
some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FunctionType, ModuleType, resolve_bases
from typing import Any

import cloudpickle.cloudpickle as internals

from jobpool.serialize import rebuild
from jobpool.serialize.pickling_classes import loads_defined, unpickler
from jobpool.worker.namespaces import ABSENT, STATE, ClassNamespace, Namespace
from jobpool.worker.registry import Registry

__all__ = ["SharingUnpickler"]


_HOOK = "__init_subclass__"


class SharingUnpickler:
    """One pickle while it is read: the variables that it contains, and what was created for it."""

    def __init__(self, registry: Registry, load_defined: Callable[[bytes, bytes], Any]) -> None:
        self._registry = registry
        self.received: list[tuple[Namespace, str, Any, bool]] = []
        """The variables: namespace, name, value, and whether the value was set at once because there was none."""
        self.new_classes: list[ClassNamespace] = []
        """Classes that were created, in order."""
        self.complete: dict[Namespace, frozenset[str]] = {}
        """For namespaces of which the pickle contains all variables: the names of these."""
        self.fresh: set[Namespace] = set()
        """Namespaces that were created."""
        self._seen: set[tuple[Namespace, str]] = set()
        self._codes: dict[Namespace, Any] = {}
        self._globals: dict[int, dict[str, Any]] = {}
        self.makers: dict[Any, Callable[..., Any]] = {
            getattr(internals, "_make_function", None): self._make_function,
            getattr(internals, "_function_setstate", None): self._set_function,
            getattr(internals, "_make_skeleton_class", None): self._make_class,
            getattr(internals, "_make_skeleton_enum", None): self._make_enum,
            getattr(internals, "_class_setstate", None): self._set_class,
            rebuild.rebuild_cached: registry.cached,
            rebuild.rebuild_module: registry.module,
            rebuild.set_variables: self._set_module,
            loads_defined: load_defined,
        }
        # A later version of cloudpickle may use other functions; these then create new objects for each pickle.
        self.makers.pop(None, None)

    def load(self, data: bytes) -> Any:
        """Unpickle a value, and note the objects in it that are global variables, which a second pickle behind it
        names."""
        unpickling = unpickler(data, (), self.stand_in)
        value = unpickling.load()
        with suppress(EOFError):  # mostly there are none
            for module, variables in unpickling.load().items():
                self._receive(self._registry.module_namespace(module), variables)
        return value

    def close(self) -> None:
        """Drop the references to what was read: they form a cycle, and the objects may be large."""
        self.makers.clear()
        self.received.clear()

    def stand_in(self, found: Any) -> Any:
        """Return the function to call in place of a function of cloudpickle or of ``rebuild``."""
        try:
            return self.makers.get(found, found)
        except TypeError:  # it has no hash
            return found

    def _make_function(self, code: Any, variables: dict[str, Any], name: Any, defaults: Any, closure: Any) -> Any:
        shared = self._globals.get(id(variables))
        if shared is None:
            shared = variables
            if variables.pop(rebuild.PRIVATE, None) is None and "__name__" in variables:
                shared = vars(self._registry.module(variables["__name__"]))
                for key, value in variables.items():
                    shared.setdefault(key, value)
            self._globals[id(variables)] = shared

        def make() -> Any:
            return internals._make_function(code, shared, None, defaults, closure)

        if name is None or shared is variables:
            return make()
        namespace, made = self._registry.function(name, shared, make)
        self._codes[namespace] = code
        if made:
            self.fresh.add(namespace)
        return namespace.thing

    def _set_function(self, function: FunctionType, state: Any) -> None:
        attributes, slots = state
        namespace = self._registry.find(function)
        home = self._registry.find(function.__globals__)
        if home is not None:
            self._receive(
                home, {**slots["__globals__"], **self._missing(function.__code__, home, slots["__globals__"])}
            )
            slots["__globals__"] = {}
        if namespace is None or namespace not in self._codes:
            internals._function_setstate(function, state)
            return
        contents = tuple(_content(cell) for cell in slots["__closure__"] or ())
        parts = {slot: slots[slot] for slot in slots if slot in _STATE_SLOTS}
        if namespace in self.fresh:
            internals._function_setstate(function, (attributes, slots))
        self._receive(namespace, {**attributes, STATE: (self._codes[namespace], parts, contents)}, complete=True)

    def _missing(self, code: Any, home: Namespace, given: dict[str, Any]) -> dict[str, Any]:
        """Return the variables that the function uses and that exist here, but no longer in the client."""
        names = set(code.co_names) & home.fingerprints.keys() - given.keys()
        return dict.fromkeys(names & internals._extract_code_globals(code).keys(), ABSENT) if names else {}

    def _make_class(self, kind: Any, name: str, bases: Any, kwargs: Any, number: str, extra: Any) -> Any:
        def make() -> type:
            arguments = kind, name, bases, kwargs, None, extra
            try:
                made: type = internals._make_skeleton_class(*arguments)
            except Exception:  # noqa: BLE001 - the user's code; it may need the class's keywords or attributes
                # What the hook does has happened in the client, and comes with the variables that it changed.
                with self._without_hooks(bases):
                    made = internals._make_skeleton_class(*arguments)
            return made

        return self._class(number, (kwargs.get("__module__", ""), (extra or {}).get("qualname", name)), make)

    @contextmanager
    def _without_hooks(self, bases: Any) -> Iterator[None]:
        """Remove ``__init_subclass__`` from shared classes during a ``with`` block."""
        kinds = {
            kind for base in resolve_bases(bases) for kind in base.__mro__ if self._registry.find(kind) is not None
        }
        hooks = {kind: vars(kind)[_HOOK] for kind in kinds if _HOOK in vars(kind)}
        for kind in hooks:
            type.__delattr__(kind, _HOOK)
        try:
            yield
        finally:
            for kind, hook in hooks.items():
                type.__setattr__(kind, _HOOK, hook)

    def _make_enum(
        self, bases: Any, name: str, qualname: str, members: Any, module: str, number: str, extra: Any
    ) -> Any:
        return self._class(
            number,
            (module, qualname),
            lambda: internals._make_skeleton_enum(bases, name, qualname, members, module, None, extra),
        )

    def _class(self, number: str, name: tuple[str, str], make: Callable[[], type]) -> type:
        namespace, made = self._registry.class_(number, name, make)
        if made:
            self.fresh.add(namespace)
        return namespace.thing

    def _set_class(self, found: type, state: Any) -> Any:
        namespace = self._registry.find(found)
        attributes, _ = state
        if namespace is None:
            return internals._class_setstate(found, state)
        assert isinstance(namespace, ClassNamespace)
        if namespace in self.fresh:
            internals._class_setstate(found, state)
            self._registry.follow_class(namespace)
            self.new_classes.append(namespace)
        elif "_abc_impl" in attributes:
            for registered in attributes["_abc_impl"]:
                if not issubclass(registered, found):
                    found.register(registered)  # type: ignore[attr-defined]
        attributes.pop("_abc_impl", None)
        self._receive(namespace, attributes, complete=True)
        return found

    def _set_module(self, module: ModuleType, variables: dict[str, Any]) -> None:
        namespace = self._registry.find(module)
        if namespace is None:
            rebuild.set_variables(module, variables)
        else:
            vars(module).setdefault("__builtins__", __builtins__)
            self._receive(namespace, variables, complete=True)
            self._registry.publish(module)

    def _receive(self, namespace: Namespace, variables: dict[str, Any], *, complete: bool = False) -> None:
        """Note variables, and set those that do not exist here. ``complete``: the namespace has no other variables."""
        fresh = namespace in self.fresh
        for name, value in variables.items():
            if (namespace, name) in self._seen:
                continue
            self._seen.add((namespace, name))
            new = fresh or (value is not ABSENT and namespace.read(name) is ABSENT)
            if new and not fresh:
                namespace.write(name, value)
            self.received.append((namespace, name, value, new))
        if complete:
            self.complete[namespace] = frozenset(variables)


_STATE_SLOTS = frozenset(
    {"__defaults__", "__kwdefaults__", "__annotations__", "__doc__", "__module__", "__name__", "__qualname__"}
)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return ABSENT
