"""Reads a pickle in which functions, classes and modules come by value, and takes those that live here already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FunctionType, ModuleType, resolve_bases
from typing import TYPE_CHECKING, Any

import cloudpickle.cloudpickle as internals

from jobpool.serialize import rebuild
from jobpool.serialize.pickling_classes import loads_defined, unpickler
from jobpool.worker.namespaces import ABSENT, STATE, ClassNamespace, Namespace

if TYPE_CHECKING:
    from jobpool.worker.shared_objects import SharedObjects

__all__ = ["SharingUnpickler"]


_HOOK = "__init_subclass__"


class SharingUnpickler:
    """One pickle being read: what it has brought, and what was made for it."""

    def __init__(self, living: SharedObjects) -> None:
        self._living = living
        self.brought: list[tuple[Namespace, str, Any, bool]] = []
        """The variables: where, name, value, whether it was put there as it is, since there was none."""
        self.made: list[ClassNamespace] = []
        """Classes that are new here, in their order."""
        self.whole: dict[Namespace, frozenset[str]] = {}
        """Names of all variables of those that were brought with all of them."""
        self.fresh: set[Namespace] = set()
        """What is new here."""
        self._seen: set[tuple[Namespace, str]] = set()
        self._codes: dict[Namespace, Any] = {}
        self._globals: dict[int, dict[str, Any]] = {}
        self.makers: dict[Any, Callable[..., Any]] = {
            getattr(internals, "_make_function", None): self._make_function,
            getattr(internals, "_function_setstate", None): self._set_function,
            getattr(internals, "_make_skeleton_class", None): self._make_class,
            getattr(internals, "_make_skeleton_enum", None): self._make_enum,
            getattr(internals, "_class_setstate", None): self._set_class,
            rebuild.cached_again: living.cached,
            rebuild.module_again: living.module,
            rebuild.set_variables: self._set_module,
            loads_defined: living.load_defined,
        }
        # A later version of cloudpickle may have others; then these make new functions or classes for each pickle.
        self.makers.pop(None, None)

    def load(self, data: bytes) -> Any:
        """Unpickle a value, and take note of the objects in it that are global variables, which stand behind it."""
        unpickling = unpickler(data, (), self.stand_in)
        value = unpickling.load()
        with suppress(EOFError):  # mostly there are none
            for module, variables in unpickling.load().items():
                self._bring(self._living.space(module), variables)
        return value

    def close(self) -> None:
        """Let go of what was read: it is held in a cycle, and may be large."""
        self.makers.clear()
        self.brought.clear()

    def stand_in(self, found: Any) -> Any:
        """Return what is called in the place of one of the picklers' own functions."""
        try:
            return self.makers.get(found, found)
        except TypeError:  # it has no hash
            return found

    def _make_function(self, code: Any, variables: dict[str, Any], name: Any, defaults: Any, closure: Any) -> Any:
        shared = self._globals.get(id(variables))
        if shared is None:
            shared = variables
            if variables.pop(rebuild.PRIVATE, None) is None and "__name__" in variables:
                shared = vars(self._living.module(variables["__name__"]))
                for key, value in variables.items():
                    shared.setdefault(key, value)
            self._globals[id(variables)] = shared

        def make() -> Any:
            return internals._make_function(code, shared, None, defaults, closure)

        if name is None or shared is variables:
            return make()
        space, made = self._living.function(name, shared, make)
        self._codes[space] = code
        if made:
            self.fresh.add(space)
        return space.thing

    def _set_function(self, function: FunctionType, state: Any) -> None:
        attributes, slots = state
        space = self._living.living(function)
        home = self._living.living(function.__globals__)
        if home is not None:
            self._bring(home, {**slots["__globals__"], **self._missing(function.__code__, home, slots["__globals__"])})
            slots["__globals__"] = {}
        if space is None or space not in self._codes:
            internals._function_setstate(function, state)
            return
        contents = tuple(_content(cell) for cell in slots["__closure__"] or ())
        parts = {slot: slots[slot] for slot in slots if slot in _STATE_SLOTS}
        if space in self.fresh:
            internals._function_setstate(function, (attributes, slots))
        self._bring(space, {**attributes, STATE: (self._codes[space], parts, contents)}, whole=True)

    def _missing(self, code: Any, home: Namespace, given: dict[str, Any]) -> dict[str, Any]:
        """Return variables that the function uses, that are here, and that the client did not have any more."""
        names = set(code.co_names) & home.prints.keys() - given.keys()
        return dict.fromkeys(names & internals._extract_code_globals(code).keys(), ABSENT) if names else {}

    def _make_class(self, kind: Any, name: str, bases: Any, kwargs: Any, number: str, extra: Any) -> Any:
        def make() -> type:
            arguments = kind, name, bases, kwargs, None, extra
            try:
                made: type = internals._make_skeleton_class(*arguments)
            except Exception:  # noqa: BLE001 - the user's code; it may need the class's keywords or attributes
                # What it does has happened in the client, and comes with the variables to which it was done.
                with self._without_hooks(bases):
                    made = internals._make_skeleton_class(*arguments)
            return made

        return self._class(number, (kwargs.get("__module__", ""), (extra or {}).get("qualname", name)), make)

    @contextmanager
    def _without_hooks(self, bases: Any) -> Iterator[None]:
        """Set aside, for the time of a ``with`` block, what classes by value want to be called for a new subclass."""
        kinds = {
            kind for base in resolve_bases(bases) for kind in base.__mro__ if self._living.living(kind) is not None
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
        space, made = self._living.class_(number, name, make)
        if made:
            self.fresh.add(space)
        return space.thing

    def _set_class(self, found: type, state: Any) -> Any:
        space = self._living.living(found)
        attributes, _ = state
        if space is None:
            return internals._class_setstate(found, state)
        assert isinstance(space, ClassNamespace)
        if space in self.fresh:
            internals._class_setstate(found, state)
            self._living.follow_class(space)
            self.made.append(space)
        elif "_abc_impl" in attributes:
            for registered in attributes["_abc_impl"]:
                if not issubclass(registered, found):
                    found.register(registered)  # type: ignore[attr-defined]
        attributes.pop("_abc_impl", None)
        self._bring(space, attributes, whole=True)
        return found

    def _set_module(self, module: ModuleType, variables: dict[str, Any]) -> None:
        space = self._living.living(module)
        if space is None:
            rebuild.set_variables(module, variables)
        else:
            vars(module).setdefault("__builtins__", __builtins__)
            self._bring(space, variables, whole=True)
            self._living.publish(module)

    def _bring(self, space: Namespace, variables: dict[str, Any], *, whole: bool = False) -> None:
        """Take note of variables, and put those in place that were not there. ``whole``: the space has no others."""
        fresh = space in self.fresh
        for name, value in variables.items():
            if (space, name) in self._seen:
                continue
            self._seen.add((space, name))
            new = fresh or (value is not ABSENT and space.read(name) is ABSENT)
            if new and not fresh:
                space.write(name, value)
            self.brought.append((space, name, value, new))
        if whole:
            self.whole[space] = frozenset(variables)


_STATE_SLOTS = frozenset(
    {"__defaults__", "__kwdefaults__", "__annotations__", "__doc__", "__module__", "__name__", "__qualname__"}
)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return ABSENT
