from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobpool.config.files import Places
from jobpool.config.resolve import DEFAULT_MAX_WORKERS, Origin, keywords_from_text, local_cores, resolve
from jobpool.config.settings import SETTINGS
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.units import Duration, Memory

if TYPE_CHECKING:
    from configkit import Site


def test_without_any_source_all_values_are_defaults(site: Site) -> None:
    settings = site.resolve()
    assert settings.request == Request()
    assert settings.scheduler == "auto"
    assert settings.system == "slurm"
    assert settings.max_workers == DEFAULT_MAX_WORKERS
    assert settings.idle_timeout == Duration(600)
    assert settings.python == (sys.executable,)
    assert settings.log_directory is None
    assert settings.notes == ()
    assert set(settings.origins) == set(settings.values()) == set(SETTINGS)
    assert set(settings.origins.values()) == {Origin("default")}


SOURCES = ["keyword", "environment", "project", "user", "site", "jobqueue"]


@pytest.mark.parametrize("strongest", range(len(SOURCES) + 1))
def test_the_strongest_source_counts(site: Site, strongest: int) -> None:
    present = SOURCES[strongest:]
    keywords: dict[str, Any] = {"partition": "by-keyword"} if "keyword" in present else {}
    if "environment" in present:
        site.environment["JOBPOOL_PARTITION"] = "by-environment"
    for kind, name in (("project", "project/jobpool.toml"), ("user", "user.toml"), ("site", "site.toml")):
        if kind in present:
            site.write(name, f"partition = 'by-{kind}'")
    if "jobqueue" in present:
        site.write("dask/jobqueue.yaml", "jobqueue:\n  slurm:\n    queue: by-jobqueue\n")

    settings = site.resolve(**keywords)

    expected = (*SOURCES, "default")[strongest]
    assert settings.request.partition == (None if expected == "default" else f"by-{expected}")
    assert settings.origins["partition"].kind == expected


def test_each_origin_says_where_to_look(site: Site) -> None:
    site.environment["JOBPOOL_QOS"] = "high"
    project = site.write("project/jobpool.toml", "account = 'bio'\n[slurm]\npartition = 'long'")
    yaml = site.write("dask/jobqueue.yaml", "jobqueue:\n  slurm:\n    walltime: 02:00:00\n")
    origins = site.resolve(cores=2).origins
    assert str(origins["cores"]) == "keyword"
    assert str(origins["qos"]) == "variable JOBPOOL_QOS"
    assert str(origins["account"]) == f"{project}, key account"
    assert str(origins["partition"]) == f"{project}, key slurm.partition"
    assert str(origins["walltime"]) == f"{yaml}, key jobqueue.slurm.walltime"
    assert str(origins["gpus"]) == "default"


def test_a_section_counts_for_its_batch_system_only(site: Site) -> None:
    site.write("user.toml", "cores = 1\nsetup = 'a'\n[slurm]\ncores = 2\n[local]\ncores = 4\nsetup = ['b', 'c']")
    on_slurm, here = site.resolve(scheduler="slurm"), site.resolve(scheduler="local")
    assert (on_slurm.request.cores, on_slurm.request.setup) == (2, ("a",))
    assert (here.request.cores, here.request.setup) == (4, ("b", "c"))


def test_a_top_level_value_of_a_stronger_file_beats_a_section_of_a_weaker_one(site: Site) -> None:
    site.write("project/jobpool.toml", "partition = 'mine'")
    site.write("site.toml", "[slurm]\npartition = 'theirs'")
    assert site.resolve().request.partition == "mine"


def test_the_scheduler_comes_from_any_level_and_is_detected_only_for_auto(site: Site) -> None:
    def never() -> str:
        raise AssertionError("detect was called")

    site.write("site.toml", "scheduler = 'pbs'")
    assert site.resolve(detect=never).system == "pbs"
    site.environment["JOBPOOL_SCHEDULER"] = "sge"
    settings = site.resolve(detect=never)
    assert (settings.system, settings.origins["scheduler"].kind) == ("sge", "environment")
    settings = site.resolve(scheduler="auto", detect=lambda: "local")
    assert (settings.scheduler, settings.system) == ("auto", "local")


def test_the_nearest_project_file_counts_alone(site: Site) -> None:
    site.write("jobpool.toml", "qos = 'far'\naccount = 'far'")
    assert site.resolve().request.qos == "far"
    site.write("project/jobpool.toml", "qos = 'near'")
    assert (site.resolve().request.qos, site.resolve().request.account) == ("near", None)


def test_every_setting_can_be_set_by_a_variable(site: Site) -> None:
    texts: dict[str, tuple[str, Any]] = {
        "scheduler": ("local", "local"),
        "max_workers": ("7", 7),
        "min_workers": ("3", 3),
        "cores": ("2", 2),
        "memory": ("8 GiB", Memory(2**33)),
        "walltime": ("5h", Duration(18000)),
        "gpus": ("1", 1),
        "workers_per_job": ("2", 2),
        "threads_per_core": ("2", 2),
        "bind": ("threads", "threads"),
        "partition": ("long", "long"),
        "account": ("bio", "bio"),
        "qos": ("high", "high"),
        "reservation": ("course", "course"),
        "licenses": ("matlab:1\nstata", ("matlab:1", "stata")),
        "constraint": ("avx2", "avx2"),
        "exclude": ("n[1-3,5]", ("n[1-3,5]",)),
        "job_extra": ("--exclusive\n--mail-type=ALL", ("--exclusive", "--mail-type=ALL")),
        "job_skip": ("--mem", ("--mem",)),
        "system_options": ("parallel_environment=smp", (("parallel_environment", "smp"),)),
        "submit_host": ("alice@login1", None),  # local jobs run here
        "arrays": ("10", 10),
        "submit_by": ("file", "file"),
        "setup": ("module load ffmpeg\n\nexport A=1", ("module load ffmpeg", "export A=1")),
        "idle_timeout": ("none", None),
        "max_tasks_per_child": ("50", 50),
        "max_memory_growth": ("256 MiB", 256 * 2**20),
        "name": ("my-pool_1", "my-pool_1"),
        "log_directory": ("logs", site.root / "project" / "logs"),
        "python": ("/opt/python", ("/opt/python",)),
        "container": ("podman://docker.io/library/python", "podman://docker.io/library/python"),
        "container_options": ("--bind=/data\n--rocm", ("--bind=/data", "--rocm")),
        "environment": ("A=1\nB=x=y", {"A": "1", "B": "x=y"}),
        "addresses": ("login1, 10.0.0.1", ("login1", "10.0.0.1")),
    }
    assert set(texts) == set(SETTINGS)
    site.environment = {f"JOBPOOL_{name.upper()}": text for name, (text, _) in texts.items()}
    settings = site.resolve()
    assert settings.values() == {name: value for name, (_, value) in texts.items()}
    assert {origin.kind for origin in settings.origins.values()} == {"environment"}


def test_the_submit_host_comes_from_the_user_and_not_from_a_project(site: Site) -> None:
    site.environment = {"JOBPOOL_SUBMIT_HOST": "login1", "JOBPOOL_SCHEDULER": "slurm"}
    assert site.resolve().submit_host == "login1"
    site.environment = {}
    site.write("user.toml", "[slurm]\nsubmit_host = 'login2'")
    assert site.resolve(scheduler="slurm").submit_host == "login2"
    site.write("project/jobpool.toml", "submit_host = 'elsewhere'")
    with pytest.raises(ConfigError, match="a project's file must not name it"):
        site.resolve(scheduler="slurm")
    site.write("project/jobpool.toml", "[slurm]\nsubmit_host = 'elsewhere'")
    with pytest.raises(ConfigError, match="a project's file must not name it"):
        site.resolve(scheduler="slurm")


def test_an_empty_variable_is_unset(site: Site) -> None:
    site.environment = {"JOBPOOL_PARTITION": "", "JOBPOOL_CORES": " "}
    assert site.resolve().request == Request()


def test_a_variable_that_looks_like_a_slip_is_noted_and_others_are_left_alone(site: Site) -> None:
    others = {"JOBPOOL_HOME": "/scratch/me", "JOBPOOL_SITE_CONFIG": "/opt/jobpool.toml", "MEMORY": "1"}
    site.environment = {"JOBPOOL_MEMROY": "8 GiB", **others}
    (note,) = site.resolve().notes
    assert note == "variable JOBPOOL_MEMROY is not used: there is no such setting; did you mean memory?"


@pytest.mark.parametrize(
    ("keywords", "value"),
    [({"bind": None}, None), ({"bind": "none"}, None), ({}, "threads"), ({"bind": "cores"}, "cores")],
)
def test_none_as_keyword_overrides_a_file_where_none_is_a_value(site: Site, keywords: Any, value: Any) -> None:
    site.write("user.toml", "bind = 'threads'")
    assert site.resolve(**keywords).request.bind == value


def test_none_as_keyword_is_not_given_where_none_is_no_value(site: Site) -> None:
    site.write("user.toml", "cores = 3")
    assert site.resolve(cores=None).request.cores == 3


def test_none_in_a_file_takes_a_weaker_value_back(site: Site) -> None:
    site.write("site.toml", "walltime = '1 h'\nidle_timeout = '1 min'")
    site.write("user.toml", "walltime = 'none'\nidle_timeout = 'none'")
    assert site.resolve().request.walltime is None
    assert site.resolve().idle_timeout is None


def test_lists_and_variables_are_replaced_and_not_merged(site: Site) -> None:
    site.write("site.toml", "setup = ['a']\n[environment]\nA = '1'")
    site.write("user.toml", "setup = '''\nb\nc\n'''\nenvironment = {B = 2}")
    settings = site.resolve()
    assert settings.request.setup == ("b", "c")
    assert settings.environment == {"B": "2"}


def test_relative_paths_are_meant_from_where_they_are_written(site: Site) -> None:
    site.write("user.toml", "log_directory = 'logs'\npython = 'venv/bin/python'")
    assert site.resolve().log_directory == site.root / "logs"
    assert site.resolve().python == (str(site.root / "venv/bin/python"),)
    assert site.resolve(log_directory="logs").log_directory == site.root / "project" / "logs"
    assert site.resolve(log_directory=Path("~/logs")).log_directory == Path.home() / "logs"
    assert site.resolve(python="python3").python == ("python3",)


def test_python_may_be_a_command(site: Site) -> None:
    command = ("apptainer", "exec", "my image.sif", "python")
    assert site.resolve(python=list(command)).python == command
    # As dask-jobqueue's users write it; a program with a blank in its path stays one.
    assert site.resolve(python="apptainer exec 'my image.sif' python").python == command
    program = site.root / "my env" / "python"
    program.parent.mkdir()
    program.touch()
    assert site.resolve(python=str(program)).python == (str(program),)
    assert site.resolve(python=["./run", "-c"]).python == (str(site.root / "project" / "run"), "-c")
    site.write("user.toml", "python = ['bin/run', 'python']")
    assert site.resolve().python == (str(site.root / "bin/run"), "python")
    site.environment["JOBPOOL_PYTHON"] = "podman run image python"
    assert site.resolve().python == ("podman", "run", "image", "python")


def test_an_image_is_a_path_from_where_it_is_written_or_a_name(site: Site) -> None:
    site.write("user.toml", "container = 'tools.sif'")
    assert site.resolve().container == str(site.root / "tools.sif")
    assert site.resolve(container=Path("images/a.sif")).container == str(site.root / "project" / "images/a.sif")
    assert site.resolve(container="podman://./rootfs").container == f"podman://{site.root}/project/rootfs"
    (site.root / "project" / "folder").mkdir()
    assert site.resolve(container="folder").container == str(site.root / "project" / "folder")
    for name in ("docker.io/library/python:3.12", "docker://python", "podman://python", "apptainer://docker://a/b"):
        assert site.resolve(container=name).container == name
    assert site.resolve(container=None).container is None


def test_options_of_the_batch_system_are_a_table_in_a_file(site: Site) -> None:
    site.write("user.toml", "[slurm.system_options]\nqueue_of = 'me'\n[local]\nsystem_options = {slots = 3}")
    assert site.resolve(scheduler="local").request.system_options == (("slots", "3"),)
    with pytest.raises(ConfigError) as caught:  # SLURM has none
        site.resolve()
    (problem,) = caught.value.problems
    assert problem == (
        f"system_options ({site.root}/user.toml, key slurm.system_options): SLURM has no option 'queue_of' "
        "(value 'me'): it has none"
    )


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("1", 1), ("10", 10)])
def test_arrays_are_on_off_or_a_number(site: Site, text: str, value: object) -> None:
    site.environment["JOBPOOL_ARRAYS"] = text
    assert site.resolve().arrays is value or site.resolve().arrays == value
    site.write("user.toml", f"arrays = {text.lower()}")
    site.environment.clear()
    assert (site.resolve().arrays, type(site.resolve().arrays)) == (value, type(value))


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"scheduler": "local"}, 8),
        ({"scheduler": "local", "cores": 3}, 2),
        ({"scheduler": "local", "cores": 16}, 1),
        ({"scheduler": "local", "min_workers": 12}, 12),
        ({"scheduler": "slurm"}, 100),
        ({"scheduler": "slurm", "min_workers": 120}, 120),
        ({"scheduler": "local", "max_workers": 20}, 20),
    ],
)
def test_max_workers_follows_the_machine_or_a_bound(site: Site, keywords: Any, expected: int) -> None:
    assert site.resolve(**keywords).max_workers == expected


def test_a_default_max_workers_says_so_although_none_was_given(site: Site) -> None:
    assert site.resolve(max_workers=None).origins["max_workers"] == Origin("default")


def test_workers_per_job_is_cut_to_max_workers_with_a_note(site: Site) -> None:
    path = site.write("site.toml", "workers_per_job = 8")
    settings = site.resolve(max_workers=2)
    assert settings.request.workers_per_job == 2
    assert settings.notes == (f"workers_per_job=8 ({path}, key workers_per_job) is cut to max_workers=2",)


def test_local_cores_counts_what_this_process_may_use() -> None:
    assert 1 <= local_cores() <= len(os.sched_getaffinity(0))


def test_keywords_from_text() -> None:
    assert keywords_from_text(["cores=2", "max-workers=3", "idle_timeout=None", "setup=a=b", "queue=x"]) == {
        "cores": 2,
        "max_workers": 3,
        "idle_timeout": None,
        "setup": ["a=b"],
        "queue": "x",
    }
    with pytest.raises(ConfigError, match="'cores' is not KEY=VALUE"):
        keywords_from_text(["cores"])


def test_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "work/checkout/.git").mkdir(parents=True)
    deep = tmp_path / "work/checkout/a/b"
    places = Places.usual({}, deep)
    assert [path.parent for path in places.project] == [deep, deep.parent, deep.parent.parent]
    assert Places.usual({}, tmp_path / "x").project == (tmp_path / "x/jobpool.toml", tmp_path / "jobpool.toml")
    assert Places.usual({}, Path("/srv/data")).project[-1] == Path("/jobpool.toml")
    assert places.user == tmp_path / ".config/jobpool/jobpool.toml"
    assert places.site == Path("/etc/jobpool/jobpool.toml")
    assert not places.site_is_named
    assert places.dask[0] == Path("/etc/dask")
    assert places.dask[-1] == tmp_path / ".config/dask"
    named = Places.usual({"JOBPOOL_SITE_CONFIG": "/opt/j.toml", "DASK_CONFIG": "/opt/dask.yaml"}, deep)
    assert (named.site, named.site_is_named, named.dask[-1]) == (Path("/opt/j.toml"), True, Path("/opt/dask.yaml"))


def test_a_home_that_is_a_link_ends_the_search_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "me").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert Places.usual({}, tmp_path / "disk").project == (tmp_path / "disk/jobpool.toml",)


def test_a_current_directory_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError, match="the current directory does not exist any more"):
        resolve({"scheduler": "local"})


def test_resolve_uses_this_process_s_surroundings_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith(("JOBPOOL_", "DASK_", "XDG_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobpool.toml").write_text("qos = 'here'")
    monkeypatch.setenv("JOBPOOL_ACCOUNT", "bio")
    settings = resolve({"scheduler": "local"})
    assert (settings.request.qos, settings.request.account) == ("here", "bio")
    assert settings.max_workers == local_cores()


def test_on_this_machine_all_workers_share_one_job_unless_told_otherwise(site: Site) -> None:
    assert site.resolve(scheduler="local", max_workers=6).request.workers_per_job == 6
    assert site.resolve(scheduler="local", max_workers=6, workers_per_job=2).request.workers_per_job == 2
    assert site.resolve(scheduler="slurm", max_workers=6).request.workers_per_job == 1
