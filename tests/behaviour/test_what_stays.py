"""What initializers and calls set in a worker stays: one script, run by a process pool and by this one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from scripts import run_script
from sites import Site

BESIDE = """\
    import functools

    SCALE = 1

    class Far:
        scale = 1

        @functools.lru_cache
        def cached(self):
            return object()

    class Plugin:
        registry = {}

        def __init_subclass__(cls):
            if cls.__name__ in Plugin.registry:
                raise TypeError(f"{cls.__name__} twice")
            Plugin.registry[cls.__name__] = cls

    class One(Plugin):
        def name(self):
            return type(self).__name__, sorted(Plugin.registry), type(self) is Plugin.registry["One"]

    def scaled(x):
        return SCALE * x
    """

SCRIPT = """\
    import sys
    import concurrent.futures
    import enum
    import functools

    import cfg
    import inner
    import odds
    from cfg import Far, One

    class Settings:
        scale = 1

    class Color(enum.Enum):
        RED = 1

    class Detector:
        net = None
        loads = 0

        def look(self, x):
            if Detector.net is None:
                Detector.net = x
                Detector.loads += 1
            return Detector.loads, Detector.net

    LISTED = []

    class Listed:
        def __init_subclass__(cls):
            LISTED.append(cls)

    class Three(Listed):
        def __init__(self, value):
            super().__init__()
            self.value = value

    CACHE = {}
    SEEN = []
    CHOSEN = set()
    model = None
    early = None
    settings = Settings()

    @functools.cache
    def slow(x):
        SEEN.append(x)
        return x

    def prepare(s):
        global early
        early = s
        Settings.scale = s
        Far.scale = s
        CACHE["v"] = s
        cfg.SCALE = s
        import inner as inner_again
        inner_again.LEVEL = s
        import odds as odds_again
        odds_again.dice.seed(s)
        CHOSEN.add(s)
        settings.name = s
        plain.called = s

    def plain(x):
        return [x * Settings.scale, x * Far.scale, x * CACHE["v"], x * cfg.SCALE, cfg.scaled(x), early, sorted(CHOSEN),
                settings.name, plain.called, inner.LEVEL, inner.level()]

    def look(detector, x):
        return detector.look(x)

    def put(x):
        global model
        model = x
        SEEN.append(x)
        Settings.scale = x

    def get():
        return model, SEEN, Settings.scale

    def named(plugin):
        return plugin.name()

    def listed(three):
        return len(LISTED), type(three) is LISTED[0], three.value

    def same_color(color):
        return color is Color.RED

    def cached(x):
        return slow(x), SEEN.count(x)

    def drawn():
        odds.dice.random()
        return odds.dice

    def main():
        if sys.argv[1:] == ["process pool"]:
            pool = concurrent.futures.ProcessPoolExecutor(1, initializer=prepare, initargs=(5,))
        else:
            from jobpool import JobPoolExecutor
            pool = JobPoolExecutor(1, initializer=prepare, initargs=(5,))
        with pool:
            print("plain", list(pool.map(plain, [1, 2, 3])))
            print("look", list(pool.map(look, [Detector(), Detector()], "ab")))
            print("look", pool.submit(Detector().look, "c").result())
            print("get", pool.submit(get).result(), pool.submit(put, 7).result(), pool.submit(get).result())
            print("named", [pool.submit(named, One()).result() for _ in range(2)], pool.submit(One().name).result())
            print("listed", [pool.submit(listed, Three(x)).result() for x in range(2)])
            print("color", pool.submit(same_color, Color.RED).result())
            print("cached", [pool.submit(cached, 1).result() for _ in range(2)], pool.submit(slow, 1).result())
            print("state", pool.submit(drawn).result().random(), pool.submit(drawn).result() is odds.dice)
            print("method", pool.submit(Three, 3).result().value, type(pool.submit(Three, 3).result()) is Three)

    if __name__ == "__main__":
        main()
    """


def test_it_is_as_in_a_process_pool(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cfg.py").write_text(textwrap.dedent(BESIDE))
    (tmp_path / "inner.py").write_text("LEVEL = 1\n\ndef level():\n    return LEVEL\n")
    (tmp_path / "odds.py").write_text("import random\n\ndice = random.Random(7)\n")
    script = run_script(site, tmp_path, SCRIPT)
    assert script.process.returncode == 0, script.stderr
    command = [sys.executable, "script.py", "process pool"]
    known = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert script.stdout.splitlines() == known.stdout.splitlines()
    assert "initializer" not in script.stderr  # nothing was lost
    script.nothing_left()


NOTEBOOK = """\
    from jobpool import JobPoolExecutor

    CACHE = {"old": 1}
    NUMBERS = [1]

    class Settings:
        scale = 1

    def prepare(s):
        Settings.scale = CACHE["v"] = s
        NUMBERS.append(s)

    def see(x):
        return x, Settings.scale, sorted(CACHE.items()), NUMBERS

    with JobPoolExecutor(1, initializer=prepare, initargs=(5,)) as pool:
        print(pool.submit(see, 1).result())
        first = [pool.submit(see, 2) for _ in range(2)]
        CACHE["new"] = 2

        class Settings:
            scale = 1
            more = 1

        def see(x):
            return -x, Settings.scale, Settings.more, sorted(CACHE.items()), NUMBERS

        later = pool.submit(see, 3)
        NUMBERS.append(3)
        last = pool.submit(see, 4)
        for future in [*first, later, last, pool.submit(see, 5)]:
            print(future.result())
    """


def test_what_the_script_changes_replaces_it_for_later_calls(site: Site, tmp_path: Path) -> None:
    script = run_script(site, tmp_path, NOTEBOOK)
    assert script.process.returncode == 0, script.stderr
    assert script.stdout.splitlines() == [
        "(1, 5, [('old', 1), ('v', 5)], [1, 5])",
        *["(2, 5, [('old', 1), ('v', 5)], [1, 5])"] * 2,
        "(-3, 5, 1, [('new', 2), ('old', 1), ('v', 5)], [1, 5])",
        *[f"({x}, 5, 1, [('new', 2), ('old', 1), ('v', 5)], [1, 3])" for x in (-4, -5)],
    ]
    [told] = [line for line in script.stderr.splitlines() if "NUMBERS" in line]
    assert "initializer" in told
    script.nothing_left()
