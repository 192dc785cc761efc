"""What a worker does with a script's functions and arguments, in the process of the test."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pytest

from jobpool.serialize import pickling
from jobpool.worker.functions import FunctionTable
from jobpool.worker.initializer_globals import run_initializer
from jobpool.worker.shared_objects import SharedObjects


class Worker:
    """What a worker does with functions and arguments, in this process."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.shared = SharedObjects(tell=lambda _topic, text: self.told.append(text))
        self.functions = FunctionTable(self.shared)

    def initialize(self, function: Callable[..., Any], *args: Any) -> None:
        run_initializer(pickling.dumps_initializer(function, args), self.shared)

    def submit(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """Pickle a call, as it is now; it runs when what is returned is called."""
        key, data = pickling.dumps_function(function)
        payload = pickling.dumps_arguments(args, {})
        self.functions.define(key, data)

        def run() -> Any:
            made = self.functions.get(key)
            arguments, _ = pickling.loads_arguments(payload, load=self.shared.load)
            return made(*arguments)

        return run

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.submit(function, *args)()


@pytest.fixture
def worker() -> Worker:
    return Worker()


SCRIPT = """
import functools
import cfg
from cfg import Far

class Settings:
    scale = 1
    options = {"a": 1}
    def scaled(self, x): return x * self.scale

class Detector:
    net = None
    loads = 0
    def look(self, x):
        if Detector.net is None:
            Detector.net = object()
            Detector.loads += 1
        return Detector.loads

class Plugin:
    registry = {}
    def __init_subclass__(cls, **keywords):
        if cls.__name__ in Plugin.registry: raise TypeError("twice")
        Plugin.registry[cls.__name__] = cls

class One(Plugin): pass
class Two(Plugin): pass

LISTED = []
class Listed:
    def __init_subclass__(cls): LISTED.append(cls)
class Three(Listed): pass

CACHE = {}
NUMBERS = [1]
SEEN = {1}
model = None
counter = 0
holder = Settings()

@functools.cache
def slow(x):
    global counter
    counter += 1
    return x

def set_class(s): Settings.scale = s
def set_options(s): Settings.options["v"] = s
def set_far(s): Far.scale = s
def set_item(s): CACHE["v"] = s
def set_module(s): cfg.SCALE = s
def set_global(s):
    global model
    model = s
def set_list(s): NUMBERS.append(s)
def set_set(s): SEEN.add(s)
def set_attribute(s): holder.value = s
def set_function(s): get_function.value = s

def get_class(): return Settings.scale
def get_scaled(x): return Settings().scaled(x)
def get_options(): return Settings.options.get("v")
def get_far(): return Far.scale
def get_item(): return CACHE.get("v")
def get_module(): return cfg.SCALE
def get_module_function(): return cfg.scale()
def get_global(): return model
def get_list(): return list(NUMBERS)
def get_set(): return sorted(SEEN)
def get_attribute(): return getattr(holder, "value", None)
def get_function(): return getattr(get_function, "value", None)
def get_cached(x): return slow(x), counter

def registered(): return sorted(Plugin.registry), [Plugin.registry["One"] is One]
def listed(): return len(LISTED), LISTED[0] is Three
def named(plugin): return type(plugin).__name__, sorted(Plugin.registry), type(plugin) is Plugin.registry["One"]
def is_listed(value): return len(LISTED), type(value) is LISTED[0]
def look(detector, x): return detector.look(x)
def is_settings(value): return type(value) is Settings, value.scale
"""

CFG = """
SCALE = 1
class Far:
    scale = 1
def scale(): return SCALE
"""


def make(name: str, source: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = f"/nowhere/{name}.py"
    sys.modules[name] = module
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A script with a module beside it."""
    for name in ("__main__", "cfg"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    cloudpickle.register_pickle_by_value(make("cfg", CFG))
    module = make("__main__", SCRIPT)
    monkeypatch.setattr(pickling, "_modules_seen", len(sys.modules))
    yield module
    cloudpickle.unregister_pickle_by_value(sys.modules["cfg"])
