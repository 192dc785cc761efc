"""What an initializer, or an earlier call, did to the user's things stays; what the client has changed replaces it."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sharedkit import CFG, Worker

from jobpool.worker.user_imports import share_imports

KINDS = ["class", "options", "far", "item", "module", "global", "attribute", "function"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_initializer_or_a_call_sets_is_seen_by_other_calls(
    kind: str, worker: Worker, script: types.ModuleType
) -> None:
    put, get = getattr(script, f"set_{kind}"), getattr(script, f"get_{kind}")
    worker.initialize(put, 5)
    assert worker.call(get) == 5
    worker.call(put, 6)
    assert worker.call(get) == 6
    assert worker.told == []


def test_the_same_through_methods_and_functions_beside(worker: Worker, script: types.ModuleType) -> None:
    worker.initialize(script.set_class, 5)
    assert worker.call(script.get_scaled, 3) == 15
    worker.call(script.set_module, 7)
    assert worker.call(script.get_module_function) == 7
    assert worker.call(script.cfg.scale) == 7
    assert worker.call(script.is_settings, script.Settings()) == (True, 5)


@pytest.mark.parametrize(("kind", "both"), [("list", [1, 5]), ("set", [1, 5])])
def test_a_list_and_a_set_too(kind: str, both: list[int], worker: Worker, script: types.ModuleType) -> None:
    worker.initialize(getattr(script, f"set_{kind}"), 5)
    assert worker.call(getattr(script, f"get_{kind}")) == both


def test_a_cache_of_a_class_is_loaded_once(worker: Worker, script: types.ModuleType) -> None:
    assert [worker.call(script.look, script.Detector(), x) for x in range(3)] == [1, 1, 1]
    assert worker.call(script.Detector().look, 3) == 1


def test_a_cached_function_keeps_its_cache(worker: Worker, script: types.ModuleType) -> None:
    assert [worker.call(script.get_cached, 1) for _ in range(2)] == [(1, 1), (1, 1)]
    assert worker.call(script.slow, 1) == 1
    assert worker.call(script.get_cached, 2) == (2, 2)


def test_registries_see_each_class_once(worker: Worker, script: types.ModuleType) -> None:
    for _ in range(2):
        assert worker.call(script.named, script.One()) == ("One", ["One", "Two"], True)
        assert worker.call(script.registered) == (["One", "Two"], [True])
        assert worker.call(script.is_listed, script.Three()) == (1, True)
        assert worker.call(script.listed) == (1, True)


CHANGES = {
    "class": "Settings.scale = 2",
    "options": "Settings.options = {'v': 2}",
    "item": "CACHE['v'] = 2",
    "module": "cfg.SCALE = 2",
    "global": "model = 2",
    "attribute": "holder.value = 2",
    "far": "Far.scale = 2",
    "function": "get_function.value = 2",
}


@pytest.mark.parametrize("kind", CHANGES)
def test_calls_before_and_after_a_change_see_their_own(kind: str, worker: Worker, script: types.ModuleType) -> None:
    get, put = getattr(script, f"get_{kind}"), getattr(script, f"set_{kind}")
    first = worker.call(get)
    before = worker.submit(get)
    exec(CHANGES[kind], vars(script))
    after = worker.submit(get)
    for _ in range(2):
        assert before() == first
        assert after() == 2
    worker.call(put, 9)  # of the version after the change
    for _ in range(2):
        assert after() == 9
        assert before() == first


@pytest.mark.parametrize("kind", CHANGES)
def test_what_an_initializer_had_set_is_laid_over_a_change(kind: str, worker: Worker, script: types.ModuleType) -> None:
    worker.initialize(getattr(script, f"set_{kind}"), 5)
    exec(CHANGES[kind].replace("'v'", "'w'") + "\nSettings.other = cfg.OTHER = Far.other = 3", vars(script))
    assert worker.call(getattr(script, f"get_{kind}")) == 5


def test_a_class_and_a_function_defined_anew(worker: Worker, script: types.ModuleType) -> None:
    worker.initialize(script.set_class, 5)
    before = worker.submit(script.get_scaled, 3), worker.submit(script.is_settings, script.Settings())
    exec("class Settings:\n    scale = 1\n    def scaled(self, x): return -x * self.scale", vars(script))
    exec("def get_class(): return -Settings.scale", vars(script))
    after = worker.submit(script.get_scaled, 3), worker.submit(script.is_settings, script.Settings())
    for _ in range(2):
        assert [run() for run in before] == [15, (True, 5)]
        assert [run() for run in after] == [-15, (True, 5)]
    assert worker.call(script.get_class) == -5


def test_a_list_that_grew_replaces_what_the_initializer_did_and_it_is_told_once(
    worker: Worker, script: types.ModuleType
) -> None:
    worker.initialize(script.set_list, 5)
    assert worker.call(script.get_list) == [1, 5]
    assert worker.told == []
    for number in (2, 3):
        script.NUMBERS.append(number)
        assert worker.call(script.get_list) == [1, 2, 3][:number]
    assert "NUMBERS" in worker.told[0]


def test_a_set_that_grew_has_what_the_initializer_added(worker: Worker, script: types.ModuleType) -> None:
    worker.initialize(script.set_set, 5)
    script.SEEN.add(2)
    assert worker.call(script.get_set) == [1, 2, 5]


def test_functions_from_one_line_that_differ_in_their_defaults_stay_apart(
    worker: Worker, script: types.ModuleType
) -> None:
    exec("made = [lambda i=i: i for i in range(3)]\ndef each(): return [f() for f in made]", vars(script))
    assert worker.call(script.each) == [0, 1, 2]
    assert [worker.call(function) for function in script.made] == [0, 1, 2]
    runs = [worker.submit(lambda f: f(), function) for function in script.made]
    assert [run() for run in runs] == [0, 1, 2]


def test_old_versions_are_dropped_when_no_call_needs_them(worker: Worker, script: types.ModuleType) -> None:
    worker.call(script.get_list)
    old = set(worker.functions._pickles)
    for _ in range(3):
        script.NUMBERS.append(0)
        worker.call(script.get_list)
    worker.functions.forget(old)
    assert not any(key in worker.functions._pickles for key in old)
    counted = itertools.count()
    for number in range(200):
        script.NUMBERS.append(number)
        worker.call(script.get_list)
        next(counted)
    assert len(worker.shared._other_versions) <= 64


def test_a_variable_that_the_client_has_removed_is_gone(worker: Worker, script: types.ModuleType) -> None:
    exec("extra = 1\ndef has_extra():\n    try: return extra\n    except NameError: return None", vars(script))
    assert worker.call(script.has_extra) == 1
    before = worker.submit(script.has_extra)
    del script.extra
    assert worker.call(script.has_extra) is None
    assert before() == 1


@pytest.fixture
def beside(script: types.ModuleType, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A worker that finds the file of the module beside the script; in this process the client has it, too."""
    (tmp_path / "cfg.py").write_text(CFG)
    monkeypatch.syspath_prepend(str(tmp_path))
    finder = share_imports(worker.shared)
    yield tmp_path
    sys.meta_path.remove(finder)


@contextmanager
def elsewhere() -> Iterator[None]:
    """Be a process that has not imported the module."""
    mine = sys.modules.pop("cfg")
    try:
        yield
    finally:
        sys.modules["cfg"] = mine


def test_a_module_that_the_initializer_imports_itself_is_that_of_the_calls(
    worker: Worker, script: types.ModuleType, beside: Path
) -> None:
    exec("def set_inside(s):\n    import cfg\n    cfg.SCALE = cfg.Far.scale = cfg.scale.value = s", vars(script))
    with elsewhere():
        worker.initialize(script.set_inside, 5)
    assert worker.call(script.get_module) == 5
    assert worker.call(script.get_module_function) == 5
    assert worker.call(script.get_far) == 5
    assert worker.call(lambda: script.cfg.scale.value) == 5
    vars(sys.modules["cfg"])["SCALE"] = 2
    assert worker.call(script.get_module) == 5


def test_what_an_import_in_a_call_completes_stays_as_it_was(
    worker: Worker, script: types.ModuleType, beside: Path
) -> None:
    exec("def inside():\n    import cfg\n    return cfg.Far.scale, cfg.SCALE", vars(script))
    worker.initialize(script.set_far, 5)
    worker.call(script.cfg.scale)
    with elsewhere():
        assert worker.call(script.inside) == (5, 1)


def test_a_class_whose_base_asks_for_keywords(worker: Worker, script: types.ModuleType) -> None:
    code = """
class Base:
    def __init_subclass__(cls, *, kind):
        cls.kind = kind
class Sub(Base, kind="x"): pass
def get_kind(sub): return type(sub) is Sub, sub.kind, Base.__init_subclass__ is not object.__init_subclass__
"""
    exec(code, vars(script))
    assert worker.call(script.get_kind, script.Sub()) == (True, "x", True)
    assert worker.call(lambda: script.Sub.kind) == "x"


def test_what_is_the_initializers_own_is_told(worker: Worker, script: types.ModuleType) -> None:
    code = """
def around():
    count, cache = 0, {}
    def prepare(given):
        nonlocal count
        count, cache["v"], given["w"] = 1, 2, 3
    def read():
        return count, cache
    return prepare, read
prepare, read = around()
"""
    exec(code, vars(script))
    worker.initialize(script.prepare, {})
    assert worker.call(script.read) == (0, {})
    assert [told.partition(", and")[0] for told in worker.told] == [
        "the initializer changed its argument 1 (of type dict)",
        "the initializer changed the variable 'cache' of the function around it",
        "the initializer changed the variable 'count' of the function around it",
    ]


def test_what_has_a_checkpoint_begins_with_variables_as_at_the_submit(worker: Worker, script: types.ModuleType) -> None:
    code = """
def go_on():
    CACHE["n"] = CACHE.get("n", 0) + 1
    return CACHE["n"], CACHE.get("v")
go_on.checkpoint = lambda: go_on
"""
    exec(code, vars(script))
    worker.initialize(script.set_item, 5)
    run = worker.submit(script.go_on)
    assert [run() for _ in range(3)] == [(1, 5)] * 3


def test_arrays(worker: Worker, script: types.ModuleType) -> None:
    numpy = pytest.importorskip("numpy")
    vars(script)["numbers"] = numpy.zeros(100_000)
    exec("def fill(x): numbers[0] = x\ndef total(): return numbers.sum()", vars(script))
    worker.initialize(script.fill, 5)
    assert worker.call(script.total) == 5
    before = worker.submit(script.total)
    script.numbers[1] = 1
    assert worker.call(script.total) == 1
    assert before() == 5
    assert "numbers" in worker.told[0]
