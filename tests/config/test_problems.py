from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobpool.config.settings import SETTINGS
from jobpool.model.errors import BatchSystemUnavailable, ConfigError

if TYPE_CHECKING:
    from configkit import Site

AT_LEAST_1 = "it must be a whole number, at least 1"
ONE_LINE = "it must be text on one line, without control characters"
TEXTS = "it must be text, or a list of texts, each on one line"
ARRAYS = "it must be true, false, or the most jobs of one array, a whole number above 0"
HOST = "it must be a host as ssh takes it: its name, user@name, or one of your configuration of ssh"
NAME = "it must begin with a letter and have letters, digits, '-' and '_' only, at most 40"

# One bad value: the keyword, and what the sentence says is wrong with it.
BAD = [
    ("cores", -2, AT_LEAST_1),
    ("cores", 0, AT_LEAST_1),
    ("cores", 1.5, AT_LEAST_1),
    ("cores", "2", AT_LEAST_1),
    ("cores", True, AT_LEAST_1),
    ("max_workers", 0, "max_workers must be greater than 0, and a whole number"),
    ("max_workers", -1, "max_workers must be greater than 0, and a whole number"),
    ("min_workers", -1, "it must be a whole number, at least 0"),
    ("gpus", -1, "it must be a whole number, at least 0"),
    ("workers_per_job", 0, AT_LEAST_1),
    ("workers_per_job", 2**16 + 1, "it must be at most 65536: no node has more"),
    ("cores", 10**30, "it must be at most 65536: no node has more"),
    ("gpus", 10**6, "it must be at most 65536: no node has more"),
    ("threads_per_core", 9, "it must be a whole number from 1 to 8"),
    ("max_tasks_per_child", 0, AT_LEAST_1),
    ("max_memory_growth", 8, "8 B is less than 1 MiB (missing unit?); write for example '8 GiB' or '500 MB'"),
    ("memory", "8GBB", "'8GBB' has the unknown unit 'GBB'; write for example '8 GiB' or '500 MB'"),
    ("memory", "8G", "'8G' is ambiguous: write '8 GiB' (binary, as batch systems count) or '8 GB' (decimal)"),
    ("memory", 8, "8 B is less than 1 MiB (missing unit?); write for example '8 GiB' or '500 MB'"),
    ("memory", "0 GiB", "0 B is less than 1 MiB (missing unit?); write for example '8 GiB' or '500 MB'"),
    ("walltime", "soon", "'soon' is not a time; write for example '5 h', '90 min' or '1-12:00:00'"),
    ("walltime", 5, "5 s is less than a minute (missing unit?); write for example '5 h' or '90 min'"),
    ("walltime", "0 s", "0 s is less than a minute (missing unit?); write for example '5 h' or '90 min'"),
    ("idle_timeout", -1, "a time must be finite and not negative: -1"),
    ("bind", "socket", "it must be cores, threads or none"),
    ("bind", "core", "it must be cores, threads or none; did you mean cores?"),
    ("scheduler", "slrum", "it must be auto, slurm, pbs, sge, lsf, htcondor, oar or local; did you mean slurm?"),
    ("partition", "long\n#SBATCH --uid=0", ONE_LINE),
    ("partition", " ", ONE_LINE),
    ("account", 7, ONE_LINE),
    ("licenses", ["a", 1], TEXTS),
    ("exclude", {"n1"}, TEXTS),
    ("job_extra", "--a\n--b", TEXTS),
    ("job_skip", None, TEXTS),
    ("arrays", 0, ARRAYS),
    ("arrays", "no", ARRAYS),
    ("arrays", 2.5, ARRAYS),
    ("container", "", ONE_LINE),
    ("submit_host", "-oProxyCommand=x", HOST),
    ("submit_host", "a b", HOST),
    ("submit_by", "files", "it must be stdin or file; did you mean file?"),
    ("setup", 3, "it must be lines for the shell: text, or a list of texts"),
    ("setup", ["a\0b"], "it must be lines for the shell: text, or a list of texts"),
    ("name", "my pool", NAME),
    ("name", "-x", NAME),
    ("name", "é", NAME),
    ("name", "a" * 41, NAME),
    ("name", "", NAME),
    ("log_directory", "", "it must be the path of a directory"),
    ("log_directory", 3, "it must be the path of a directory"),
    ("log_directory", "~no-such-user-here/logs", "Could not determine home directory."),
    ("python", "a\nb", ONE_LINE),
    ("environment", "A", "it must be variables with their values, such as {'OMP_PROC_BIND': 'true'}"),
    ("environment", {"A-B": "1"}, "'A-B' is not the name of a variable: letters, digits and '_' only"),
    ("environment", {"A": True}, "the value of A must be text or a whole number"),
    ("addresses", ["a b"], "it must be host names or IP addresses"),
]


@pytest.mark.parametrize(("name", "value", "complaint"), [case for case in BAD if case[1] is not None])
def test_a_bad_keyword_is_named_with_its_value_and_what_is_accepted(
    site: Site, name: str, value: Any, complaint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        site.resolve(**{name: value})
    assert refused.value.problems == [f"{name}={value!r} (keyword) cannot be used: {complaint}"]


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [("cores", "-2", "-2"), ("cores", "two", "'two'"), ("memory", "8000", "'8000'"), ("environment", "A", "'A'")],
)
def test_a_bad_variable_is_named(site: Site, name: str, text: str, shown: str) -> None:
    variable = f"JOBPOOL_{name.upper()}"
    site.environment[variable] = text
    with pytest.raises(ConfigError) as refused:
        site.resolve()
    (problem,) = refused.value.problems
    assert problem.startswith(f"{name}={shown} (variable {variable}) cannot be used: ")


def test_a_bad_value_in_a_file_is_named_with_file_and_key(site: Site) -> None:
    path = site.write("user.toml", "gpus = -1\n[slurm]\nwalltime = 'soon'")
    with pytest.raises(ConfigError) as refused:
        site.resolve()
    assert refused.value.problems == [
        f"walltime='soon' ({path}, key slurm.walltime) cannot be used: 'soon' is not a time; write for example '5 h', "
        "'90 min' or '1-12:00:00'",
        f"gpus=-1 ({path}, key gpus) cannot be used: it must be a whole number, at least 0",
    ]


def test_a_bad_value_that_is_overridden_does_no_harm(site: Site) -> None:
    site.write("site.toml", "cores = 'many'\n[pbs]\nmemory = '8G'")
    assert site.resolve(cores=2).request.cores == 2


def test_numbers_of_numpy_are_numbers(site: Site) -> None:
    numpy = pytest.importorskip("numpy")
    settings = site.resolve(cores=numpy.int64(2), memory=numpy.int64(2**30), max_workers=numpy.int32(3))
    assert (settings.request.cores, settings.request.memory, settings.max_workers) == (2, 2**30, 3)
    assert type(settings.request.cores) is int


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("partitions", "; did you mean partition?"),
        ("max-workers", "; did you mean max_workers?"),
        ("queue", "; the word for it here is partition"),
        ("n_jobs", "; the word for it here is max_workers"),
        ("colour", ""),
    ],
)
def test_an_unknown_keyword_is_named_with_what_may_be_meant(site: Site, keyword: str, meant: str) -> None:
    with pytest.raises(ConfigError) as refused:
        site.resolve(**dict[str, Any]({keyword: 1}))
    assert refused.value.problems == [f"{keyword}=1 (keyword) cannot be used: there is no such setting{meant}"]


def test_unknown_keys_of_a_file_are_named_in_all_its_sections(site: Site) -> None:
    path = site.write(
        "project/jobpool.toml", "core = 1\n[slrum]\nx = 1\n[pbs]\nqueue = 'a'\nscheduler = 'pbs'\n[environment]\nX = 1"
    )
    with pytest.raises(ConfigError) as refused:
        site.resolve()
    assert refused.value.problems == [
        f"{path}, key core: there is no such setting; did you mean cores?",
        f"{path}, key slrum: there is no such setting; did you mean slurm?",
        f"{path}, key pbs.queue: there is no such setting; the word for it here is partition",
        f"{path}, key pbs.scheduler: it belongs above the sections",
    ]


def test_a_section_must_be_one(site: Site) -> None:
    path = site.write("user.toml", "slurm = 'long'")
    with pytest.raises(ConfigError) as refused:
        site.resolve()
    assert refused.value.problems == [f"{path}, key slurm: it must be a section, [slurm]"]


def test_min_workers_above_max_workers_names_both_origins(site: Site) -> None:
    path = site.write("user.toml", "min_workers = 5")
    with pytest.raises(ConfigError) as refused:
        site.resolve(max_workers=2)
    assert refused.value.problems == [
        f"min_workers=5 ({path}, key min_workers) cannot be used: it is more than max_workers=2 (keyword)"
    ]


def test_all_problems_of_all_sources_come_at_once(site: Site) -> None:
    site.environment["JOBPOOL_GPUS"] = "-1"
    site.write("project/jobpool.toml", "walltime = 'soon'")
    site.write("user.toml", "cores = ")
    site.write("site.toml", "colour = 'red'")
    site.write("dask/jobqueue.yaml", "jobqueue:\n  slurm:\n    queue: [some]\n    walltime: overridden\n")
    with pytest.raises(ConfigError) as refused:
        site.resolve(memory="8GBB", bind="x", nope=1, min_workers=3, max_workers=2)
    assert len(refused.value.problems) == 9
    text = str(refused.value)
    assert text.startswith("9 settings cannot be used:\n  - ")
    for piece in (
        "JOBPOOL_GPUS",
        "'soon'",
        "user.toml",
        "colour",
        "jobqueue.yaml",
        "8GBB",
        "bind='x'",
        "nope",
        "min_worke",
    ):
        assert piece in text


def test_an_unknown_batch_system_alone_has_its_own_exception(site: Site) -> None:
    with pytest.raises(BatchSystemUnavailable, match="did you mean slurm"):
        site.resolve(scheduler="slurmm")
    with pytest.raises(ConfigError) as refused:
        site.resolve(scheduler="slurmm", cores=0)
    assert type(refused.value) is ConfigError
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("name", ["user.toml", "site.toml", "project/jobpool.toml"])
def test_toml_that_does_not_parse_is_told_with_the_line(site: Site, name: str) -> None:
    path = site.write(name, "cores = 2\nmemory = 8 GiB\n")
    with pytest.raises(ConfigError) as refused:
        site.resolve()
    (problem,) = refused.value.problems
    assert problem.startswith(f"{path} is not valid TOML: ")
    assert "line 2" in problem


def test_yaml_that_does_not_parse_is_told_with_the_line_if_it_speaks_of_jobqueue(site: Site) -> None:
    site.write("dask/distributed.yaml", "a: [\n")
    assert site.resolve().request.partition is None
    path = site.write("dask/jobqueue.yaml", "jobqueue:\n  slurm: [\n")
    with pytest.raises(ConfigError) as refused:
        site.resolve()
    (problem,) = refused.value.problems
    assert problem.startswith(f"{path} is not valid YAML: ")
    assert "line 3" in problem


def problems_of(site: Site, **keywords: Any) -> list[str]:
    try:
        settings = site.resolve(**keywords)
    except ConfigError as error:
        return list(error.problems)
    return [] if set(settings.values()) == set(SETTINGS) else ["settings are missing"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(sorted(SETTINGS)), value=anything)
def test_any_value_is_used_or_refused_with_a_sentence(site: Site, name: str, value: Any) -> None:
    assert all(problem.startswith(f"{name}=") for problem in problems_of(site, **{name: value}))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(sorted(SETTINGS)), text=st.text())
def test_any_text_of_a_variable_is_used_or_refused_with_a_sentence(site: Site, name: str, text: str) -> None:
    variable = f"JOBPOOL_{name.upper()}"
    site.environment = {variable: text}
    problems = problems_of(site)
    assert len(problems) <= 1
    assert all(f"(variable {variable}) cannot be used: " in problem for problem in problems)


def test_options_that_are_the_pools_own_are_refused_with_their_place(site: Site) -> None:
    path = site.write("user.toml", 'job_extra = ["--job-name=x", "--array=0-3", "--nice=1"]\n')
    with pytest.raises(ConfigError) as caught:
        site.resolve()
    assert [str(path) in problem for problem in caught.value.problems] == [True, True]
    site.environment["JOBPOOL_JOB_EXTRA"] = "--output=x"
    with pytest.raises(ConfigError, match=r"variable JOBPOOL_JOB_EXTRA\) cannot be used: --output is the pool's own"):
        site.resolve()
    with pytest.raises(ConfigError, match="use memory="):
        site.resolve(memory="auto", job_extra=["--mem=1G"])
    assert site.resolve(scheduler="local", job_extra=["--array=0-3"])  # nothing of it is read there


def test_more_workers_of_this_machine_than_one_job_may_have_are_several_jobs(site: Site) -> None:
    found = site.resolve(max_workers=100_000, scheduler="local")
    assert (found.max_workers, found.request.workers_per_job) == (100_000, 2**16)
