"""Bad input gets one clear error, at the call that it came with, and nothing is started for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sites import PATIENCE, Site

from jobpool import JobPoolExecutor
from jobpool.model.errors import BatchSystemUnavailable, ConfigError


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"scheduler": "slrum"}, "slurm"),
        ({"cores": -1}, "cores"),
        ({"cores": 1.5}, "cores"),
        ({"memory": "8GBB"}, "8GBB"),
        ({"memory": "8G"}, "GiB"),
        ({"walltime": "soon"}, "soon"),
        ({"walltime": 5}, "walltime"),
        ({"max_workers": 0}, "max_workers"),
        ({"workers_per_job": 0}, "workers_per_job"),
        ({"name": "a b"}, "name"),
        ({"bind": "sockets"}, "bind"),
        ({"idle_timeout": -1}, "idle_timeout"),
        ({"max_tasks_per_child": 0}, "max_tasks_per_child"),
        ({"environment": {"A B": "1"}}, "A B"),
    ],
)
def test_a_value_that_makes_no_sense(site: Site, keywords: dict[str, object], words: str, home: Path) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        JobPoolExecutor(**{**site.keywords, **keywords})
    assert isinstance(caught.value, ValueError)
    assert not (home / ".jobpool").exists()


def test_all_problems_at_once(site: Site) -> None:
    with pytest.raises(ConfigError) as caught:
        site.make(cores=-1, memory="8GBB", walltime="soon")
    assert len(caught.value.problems) == 3


def test_a_batch_system_that_is_not_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BatchSystemUnavailable, match="sbatch"):
        JobPoolExecutor(1, scheduler="slurm")


@pytest.mark.parametrize("keywords", [{"initializer": 3}, {"maxworkers": 3}])
def test_what_python_itself_refuses(site: Site, keywords: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        site.make(1, **keywords)


@pytest.mark.parametrize("place", ["/dev/null/logs", "/proc/logs"])
def test_a_log_directory_that_cannot_be_made(site: Site, place: str) -> None:
    with pytest.raises(ConfigError, match="log_directory") as caught:
        site.make(1, log_directory=place)
    assert caught.value.advice


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: a full log directory; a small file system needs root")
def test_a_full_log_directory(site: Site, tmp_path: Path) -> None:
    import subprocess

    full = tmp_path / "full"
    full.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(full)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("NOT TESTED: a full log directory; nothing can be mounted here")
    try:
        (full / "ballast").write_bytes(b"\0" * 64 * 1024)
        with pytest.raises(ConfigError, match="No space left") as caught:
            site.make(1, log_directory=full)
        assert "log_directory" in str(caught.value)
    finally:
        subprocess.run(["umount", str(full)], check=True)


@pytest.fixture
def odd_directory(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Return a function that makes a directory, of so many parts, and goes there; at the end we are back."""
    before = Path.cwd()

    def enter(name: str, times: int = 1) -> Path:
        os.chdir(tmp_path)
        for _ in range(times):
            os.mkdir(name)  # noqa: PTH102 - the whole path may be longer than the kernel takes
            os.chdir(name)
        return Path.cwd()

    yield enter
    os.chdir(before)


@pytest.mark.parametrize("setting", ["working directory", "log_directory", "JOBPOOL_HOME"])
def test_a_path_that_no_job_script_can_say(
    slurm_site: Site, odd_directory: Callable[..., Path], setting: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keywords: dict[str, object] = {}
    match setting:
        case "working directory":
            odd_directory("two\nlines")
        case "log_directory":
            keywords["log_directory"] = home / "back\\slash"
        case _:
            monkeypatch.setenv("JOBPOOL_HOME", str(home / "back\\slash"))
    with pytest.raises(ConfigError, match=r"single line|backslash"):
        slurm_site.make(1, **keywords)
    assert [path.name for path in home.iterdir()] == []


@pytest.mark.parametrize("parts", [17, 40])
def test_a_working_directory_that_is_too_long(
    slurm_site: Site, odd_directory: Callable[..., Path], parts: int, home: Path
) -> None:
    odd_directory("x" * 240, parts)
    with pytest.raises(ConfigError, match="longer than 4000 bytes"):
        slurm_site.make(1)
    assert not (home / ".jobpool").exists()


def test_a_working_directory_with_odd_characters(site: Site, odd_directory: Callable[..., Path]) -> None:
    # What can be said is said as it is: SLURM gives some of these a meaning in other places.
    place = odd_directory("%j %% 'a' \"b\" $HOME #c é")
    with site.pool(1) as pool:
        assert pool.submit(os.getcwd).result(PATIENCE) == str(place)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"environment": {"LONG": "x" * 140_000}}, "LONG is too long"),
        ({"setup": ["true # " + "x" * 5_000_000]}, "shorten setup="),
        ({"setup": ["echo '\udcff'"]}, "not text"),
        ({"job_extra": ["--array=0-3", "--job-name=x"]}, "--job-name is the pool's own: .*use name="),
    ],
)
def test_a_job_script_that_cannot_be_written(
    slurm_site: Site, keywords: dict[str, object], words: str, home: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        slurm_site.make(1, **keywords)
    assert not (home / ".jobpool").exists()


def test_a_view_with_an_option_that_is_the_pools_own(slurm_site: Site) -> None:
    with slurm_site.pool(1) as pool, pytest.raises(ConfigError, match="use max_workers="):
        pool.with_request(job_extra=["--array=0-3"])


def test_a_home_that_others_can_read_is_refused(site: Site, home: Path) -> None:
    (home / ".jobpool").mkdir(mode=0o755)
    (home / ".jobpool").chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        site.make(1)


def test_two_pools_of_one_name(site: Site) -> None:
    with site.pool(1, name="twice"), pytest.raises(ConfigError, match="twice"):
        site.make(1, name="twice")


@pytest.mark.parametrize("count", [-1, 1.5, "2", True, 99])
def test_a_scale_that_makes_no_sense(pool: JobPoolExecutor, count: object) -> None:
    with pytest.raises(ConfigError, match="scale"):
        pool.scale(count)  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", [None, 3, "print"])
def test_what_cannot_be_called(pool: JobPoolExecutor, thing: object) -> None:
    with pytest.raises(TypeError):
        pool.submit(thing).result(60)  # type: ignore[arg-type]
