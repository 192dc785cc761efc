from __future__ import annotations

import contextlib
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.config.jobqueue_yaml import dask_bytes, dask_processes, read_walltime
from jobpool.model.errors import ConfigError
from jobpool.model.request import AGENT_MEMORY, Request
from jobpool.model.units import Memory

if TYPE_CHECKING:
    from configkit import Site

SLURM = """
jobqueue:
  slurm:
    name: dask-worker
    cores: 24
    memory: 100 GB
    processes: 12
    python: /opt/conda/bin/python
    interface: ib0
    death-timeout: 60
    queue: regular
    project: woodshole
    walltime: 24:00:00
    job-script-prologue:
      - module load ffmpeg
      - export A="$HOME"
    job-extra-directives: ['--exclusive', '--mail-type=ALL']
    job_directives_skip: ['--mem']
    log-directory: /scratch/logs
    scheduler-options: {}
  pbs:
    queue: other
"""


def test_a_section_becomes_settings(site: Site) -> None:
    site.write("dask/jobqueue.yaml", SLURM)
    settings = site.resolve()
    assert settings.request == Request(
        cores=2,
        memory=Memory((100 * 10**9 - AGENT_MEMORY) // 12),
        workers_per_job=12,
        walltime=settings.request.walltime,
        partition="regular",
        account="woodshole",
        job_extra=("--exclusive", "--mail-type=ALL"),
        job_skip=("--mem",),
        setup=("module load ffmpeg", 'export A="$HOME"'),
    )
    assert settings.request.walltime == 86400.0
    assert settings.python == ("/opt/conda/bin/python",)
    assert settings.log_directory == Path("/scratch/logs")
    assert settings.name is None


def test_the_job_asks_for_no_more_memory_than_before(site: Site) -> None:
    site.write("dask/jobqueue.yaml", SLURM)
    job_memory = site.resolve().request.job_memory
    assert job_memory is not None
    assert 100 * 10**9 - 12 < job_memory <= 100 * 10**9


def test_the_chosen_system_has_its_section_and_local_has_none(site: Site) -> None:
    site.write("dask/jobqueue.yaml", SLURM.replace("pbs:", "local:\n    queue: x\n  pbs:"))
    assert site.resolve(scheduler="pbs").request == Request(partition="other")
    assert site.resolve(scheduler="lsf").request == Request()
    assert site.resolve(scheduler="local", max_workers=1).request == Request()


@pytest.mark.parametrize("keywords", [{"cores": 4}, {"memory": "4 GiB"}, {"workers_per_job": 3}])
def test_the_shape_of_a_job_is_taken_whole_or_not_at_all(site: Site, keywords: dict[str, Any]) -> None:
    site.write("dask/jobqueue.yaml", SLURM)
    request = site.resolve(**keywords).request
    default = Request()
    given = set(keywords)
    assert request.partition == "regular"
    for name in {"cores", "memory", "workers_per_job"} - given:
        assert getattr(request, name) == getattr(default, name)


@pytest.mark.parametrize(
    ("lines", "cores", "workers", "memory"),
    [
        ("cores: 8", 2, 4, None),
        ("cores: 4", 1, 4, None),
        ("cores: 1\n    memory: 2GB", 1, 1, 2 * 10**9 - AGENT_MEMORY),
        ("memory: 300MB", 1, 1, 150 * 10**6),
        ("processes: 3", 1, 3, None),
        ("cores: 2\n    processes: 4", 1, 4, None),
        ("cores: null\n    memory: ~\n    processes:", 1, 1, None),
    ],
)
def test_shapes(site: Site, lines: str, cores: int, workers: int, memory: int | None) -> None:
    site.write("dask/jobqueue.yaml", f"jobqueue:\n  slurm:\n    {lines}\n")
    request = site.resolve().request
    assert (request.cores, request.workers_per_job, request.memory) == (cores, workers, memory)


def test_the_older_names_of_keys_count_where_the_newer_have_no_value(site: Site) -> None:
    site.write(
        "dask/jobqueue.yaml",
        "jobqueue:\n  slurm:\n    env-extra: [old]\n    job-script-prologue: []\n    job-extra: ['--old']\n"
        "    job-extra-directives: ['--new']\n    header-skip: ['-n']\n",
    )
    request = site.resolve().request
    assert (request.setup, request.job_extra, request.job_skip) == (("old",), ("--new",), ("-n",))


def test_options_of_dasks_that_are_the_pools_own_are_left_out_with_a_note(site: Site) -> None:
    lines = "    memory: 2GB\n    cores: 1\n    job-extra-directives: ['--job-name=x -o y', '--exclusive', '--mem=0']\n"
    path = site.write("dask/jobqueue.yaml", f"jobqueue:\n  slurm:\n{lines}")
    settings = site.resolve()
    assert settings.request.job_extra == ("--exclusive",)
    left_out = [note for note in settings.notes if "left out" in note and str(path) in note]
    words = ("--job-name is", "--output is", "use memory=")
    assert [word for note in left_out for word in words if word in note] == list(words)


def test_files_are_merged_key_by_key_in_the_order_of_dask(site: Site) -> None:
    named = site.write("named.yaml", "jobqueue:\n  slurm:\n    account: by-name\n")
    site.places = replace(site.places, dask=(*site.places.dask, named))
    site.write("dask/a.yaml", "jobqueue:\n  slurm:\n    queue: a\n    account: a\n    cores: 4\n")
    site.write("dask/b.yml", "jobqueue:\n  slurm:\n    queue: b\n    processes: 1\n")
    settings = site.resolve()
    request = settings.request
    assert (request.partition, request.account, request.cores) == ("b", "by-name", 4)
    assert settings.origins["account"].place == str(named)
    assert settings.origins["partition"].place.endswith("b.yml")


def test_dask_jobqueue_s_own_file_of_comments_says_nothing(site: Site) -> None:
    spec = importlib.util.find_spec("dask_jobqueue")
    if spec is None or spec.origin is None:
        pytest.skip("dask-jobqueue is not installed")
    lines = (Path(spec.origin).parent / "jobqueue.yaml").read_text().splitlines()
    site.write("dask/jobqueue.yaml", "\n".join(f"# {line}" if line.strip() else line for line in lines))
    assert site.resolve().request == Request()
    # With the marks removed, only its half hour of walltime is a value.
    site.write("dask/jobqueue.yaml", "\n".join(lines))
    settings = site.resolve()
    assert settings.request == Request(walltime=settings.request.walltime)
    assert settings.request.walltime == 1800.0


@pytest.mark.parametrize(
    "text", ["jobqueue: 3", "jobqueue:\n  slurm: 3", "- jobqueue", "jobqueue:", "jobqueue:\n  slurm:"]
)
def test_a_file_without_a_section_says_nothing(site: Site, text: str) -> None:
    site.write("dask/jobqueue.yaml", text)
    assert site.resolve().request == Request()


def test_bad_values_are_named_with_file_and_key(site: Site) -> None:
    path = site.write(
        "dask/jobqueue.yaml",
        "jobqueue:\n  slurm:\n    cores: many\n    processes: 0\n    memory: lots\n    walltime: soon\n"
        "    queue: [a]\n",
    )
    with pytest.raises(ConfigError) as refused:
        site.resolve()
    where = f"{path}, key jobqueue.slurm."
    assert refused.value.problems == [
        f"{where}walltime: 'soon' is not a time; write for example '5 h', '90 min' or '1-12:00:00'",
        f"{where}cores: 'many' must be a whole number, at least 1",
        f"{where}processes: '0' must be a whole number, at least 1",
        f"{where}memory: 'lots' is not a size, such as '24 GiB'",
        f"partition=['a'] ({where}queue) cannot be used: it must be text on one line, without control characters",
    ]


@pytest.mark.parametrize(
    ("system", "text", "seconds"),
    [
        ("slurm", "90", 5400),
        ("slurm", "90:30", 5430),
        ("slurm", "01:30:00", 5400),
        ("slurm", "1-12", 129600),
        ("slurm", "1-12:30", 131400),
        ("slurm", "1-12:30:00", 131400),
        ("pbs", "90", 90),
        ("pbs", "90:30", 5430),
        ("sge", "01:30:00", 5400),
        ("lsf", "90", 5400),
        ("lsf", "01:30", 5400),
        ("oar", "2", 7200),
        ("oar", "2:30", 9000),
        ("oar", "2:30:00", 9000),
        ("slurm", "5 h", 18000),
    ],
)
def test_a_walltime_is_read_as_that_batch_system_reads_it(system: str, text: str, seconds: float) -> None:
    assert read_walltime(text, system) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-5", "1-", "5-5h", "99999999999"])
def test_a_walltime_that_no_batch_system_reads_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        read_walltime(text, "slurm")


def test_sizes_and_processes_are_those_of_dask() -> None:
    utils = pytest.importorskip("dask.utils")
    local = pytest.importorskip("distributed.deploy.utils")
    for text in ("100", "100 MB", "2G", "5.4 kB", "1kiB", "24GiB", ".5 TB", "100 b"):
        assert dask_bytes(text) == utils.parse_bytes(text)
    for cores in range(1, 300):
        assert dask_processes(cores) == local.nprocesses_nthreads(cores)[0]


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    for read in (dask_bytes, lambda text: read_walltime(text, "slurm")):
        with contextlib.suppress(ValueError):
            assert read(text) >= 0


@pytest.mark.parametrize(
    ("system", "lines", "options", "extra"),
    [
        (
            "pbs",
            "resource-spec: 'select=1:ncpus=24:mem=100GB:cpu_type=rome:scratch=10gb'",
            {"select": "cpu_type=rome:scratch=10gb"},
            (),
        ),
        ("pbs", "resource-spec: 'select=1:ncpus=24:mem=100GB'", {}, ()),
        (
            "sge",
            "resource-spec: 'mem_free=8G,exclusive=true'\n    job-extra-directives: ['-p -10']",
            {"memory_resource": "mem_free"},
            ("-p -10", "-l exclusive=true"),
        ),
        ("htcondor", "disk: 2 GB", {"request_disk": "2GB"}, ()),
        ("oar", "memory-per-core-property-name: memcore", {"core_memory_property": "memcore"}, ()),
    ],
)
def test_what_only_one_batch_system_has_is_read(
    site: Site, system: str, lines: str, options: dict[str, str], extra: tuple[str, ...]
) -> None:
    site.write("dask/jobqueue.yaml", f"jobqueue:\n  {system}:\n    {lines}\n")
    request = site.resolve(scheduler=system).request
    assert (dict(request.system_options), request.job_extra) == (options, extra)
