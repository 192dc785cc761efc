"""What a worker's initializer does to global variables is seen by later calls, as in a process pool."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from jobpool.serialize import pickling
from jobpool.worker.initializer_globals import run_initializer
from jobpool.worker.shared_objects import SharedObjects

SOURCE = """
import functools

model = None
threshold = 5

def prepare(value):
    global model
    model = value

def use(x):
    return model, threshold, x

def untouched():
    return threshold

@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module that travels by value, as ``__main__`` does."""
    module = types.ModuleType("__main__")
    exec(compile(SOURCE, "script.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def there(shared: SharedObjects, function: Callable[..., Any]) -> Callable[..., Any]:
    loaded: Callable[..., Any] = pickling.loads_function(pickling.dumps_function(function)[1], load=shared.load)
    return loaded


def test_a_variable_that_the_initializer_set_is_seen_by_other_functions(script: types.ModuleType) -> None:
    shared = SharedObjects()
    run_initializer(pickling.dumps_initializer(script.prepare, ("loaded",)), shared)
    assert there(shared, script.use)(1) == ("loaded", 5, 1)


def test_a_variable_that_it_did_not_set_has_the_clients_value_of_the_time(script: types.ModuleType) -> None:
    shared = SharedObjects()
    run_initializer(pickling.dumps_initializer(script.prepare, ("loaded",)), shared)
    assert there(shared, script.use)(1) == ("loaded", 5, 1)
    vars(script)["threshold"] = 6
    assert there(shared, script.use)(1) == ("loaded", 6, 1)


def test_also_through_a_partial(script: types.ModuleType) -> None:
    shared = SharedObjects()
    run_initializer(pickling.dumps_initializer(functools.partial(script.prepare, "loaded"), ()), shared)
    assert there(shared, script.use)(1) == ("loaded", 5, 1)


def test_without_an_initializer_nothing_changes(script: types.ModuleType) -> None:
    assert there(SharedObjects(), script.use)(1) == (None, 5, 1)


def test_its_exception_is_raised(script: types.ModuleType) -> None:
    with pytest.raises(TypeError, match="prepare"):
        run_initializer(pickling.dumps_initializer(script.prepare, ()), SharedObjects())


def test_a_cached_function_of_a_script_travels_by_value_with_its_cache_parameters(script: types.ModuleType) -> None:
    again = there(SharedObjects(), script.fibonacci)
    assert again(90) == 2880067194370816120
    assert again.cache_parameters() == {"maxsize": None, "typed": False}  # type: ignore[attr-defined]
    assert again is not script.fibonacci
