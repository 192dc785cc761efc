"""SLURM itself: the commands run on a real cluster, and its answers are read."""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_steps import ended, job_script, look, prepare, run, run_all, submit, tracked, until, wait_for

from jobpool.batch.base import Doubtful, NoAccounting, Refused
from jobpool.batch.slurm.system import Slurm
from jobpool.model.job import Ending, EndingKind, JobId, JobState
from jobpool.model.request import Request
from jobpool.model.site import NodeShape
from jobpool.model.units import Duration, Memory
from jobpool.testing import SlurmLab

slurm = Slurm()
SMALL = Memory(64 * 2**20)


@pytest.fixture
def lab(slurm_lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab]) -> SlurmLab:
    return enter_lab(slurm_lab)


@pytest.fixture(scope="module")
def plain_lab(tmp_path_factory: pytest.TempPathFactory, slurm_lab: SlurmLab) -> Iterator[SlurmLab]:
    """Nodes as this machine's: on many, cores without a second hardware thread."""
    with SlurmLab(tmp_path_factory.mktemp("plain"), nodes=1, gpus=0, real=True) as lab:
        yield lab


@pytest.fixture
def name() -> str:
    """A name of its own for each test: the lab still knows the jobs of those before."""
    return f"test-{uuid.uuid4().hex[:12]}"


def request(**more: Any) -> Request:
    return Request(**{"memory": SMALL, **more})


def bash(text: str) -> list[str]:
    return ["bash", "-c", text, "bash"]


def shape(partition: str = "short") -> NodeShape:
    limits = slurm.parse_limits([run(command) for command in slurm.limits("root")])
    assert limits.unknown == ()
    return next(found.nodes[0] for found in limits.partitions if found.name == partition)


def told(lab: SlurmLab, id: JobId) -> dict[str, str]:
    """What SLURM knows of a job."""
    text = lab.run("scontrol", "--oneliner", "show", "job", id).stdout
    return dict(re.findall(r"(\S+?)=(\S*)", text))


def test_an_array_runs_with_indices_ids_and_logs(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    directory = tmp_path / "my logs 100% #'\"$x é"
    directory.mkdir()
    nasty = 'it\'s "$HOME" `x`\n\\ ü'
    job = job_script(
        directory, bash('printf "%s|" "${@:1:4}" "$NASTY"; pwd; echo oops >&2'), environment={"NASTY": nasty}, name=name
    )
    ids = submit(slurm, job, 4)
    seen = wait_for(slurm, name, ended(4))
    assert [seen[index].id for index in range(4)] == list(ids)
    assert {index: job.ending.kind for index, job in seen.items() if job.ending} == dict.fromkeys(
        range(4), EndingKind.COMPLETED
    )
    for index, id in enumerate(ids):
        log = slurm.log_path(job, id, index).read_text()
        assert log == f"--index|{index}|--job-id|{id}|{nasty}|{directory}\noops\n"
    assert {seen[index].node for index in range(4)} <= set(lab.nodes)


def test_a_single_job_has_a_plain_id(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    job = job_script(tmp_path, bash('echo "${@:1:6}"; umask'), name=name)
    [id] = submit(slurm, job)
    assert id.isdecimal()
    seen = wait_for(slurm, name, ended(1))[0]
    assert seen.id == id
    assert slurm.log_path(job, id, 0).read_text() == f"--index 0 --job-id {id} --node {seen.node}\n0077\n"


# What is asked, and what SLURM allocates: whole cores, whatever the node


def allocated(lab: SlurmLab, directory: Path, name: str, asked: Request) -> tuple[int, dict[str, str]]:
    [id] = submit(slurm, job_script(directory, bash("exit 0"), request=asked, name=name))
    wait_for(slurm, name, ended(1))
    known = told(lab, id)
    return int(known["NumCPUs"]), known


@pytest.mark.parametrize("cores", [1, 3, 4, 16])
def test_cores_are_whole_cores_on_nodes_with_two_threads_each(
    lab: SlurmLab, tmp_path: Path, cores: int, name: str
) -> None:
    assert shape().threads_per_core == 2
    cpus, known = allocated(lab, tmp_path, name, request(cores=cores))
    assert cpus == 2 * cores
    # Per job: neither the cores nor their threads multiply it.
    assert known["MinMemoryNode"] == "320M"


@pytest.mark.parametrize("cores", [1, 3, 4])
def test_both_threads_of_a_core_when_they_are_asked_for(lab: SlurmLab, tmp_path: Path, cores: int, name: str) -> None:
    cpus, known = allocated(lab, tmp_path, name, request(cores=cores, threads_per_core=2))
    assert (cpus, known["CPUs/Task"]) == (2 * cores, str(2 * cores))


def test_without_threads_per_core_two_cpus_are_one_core(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    # What the directive is there for.
    cpus, _ = allocated(lab, tmp_path, name, request(cores=4, job_skip=("--threads-per-core",)))
    assert cpus == 4


def test_cores_are_whole_cores_on_plain_nodes(
    plain_lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], tmp_path: Path, name: str
) -> None:
    enter_lab(plain_lab)
    node = shape()
    cpus, _ = allocated(plain_lab, tmp_path, name, request(cores=node.cores))
    assert cpus == node.cores * node.threads_per_core


def test_two_threads_are_refused_where_cores_have_one(
    plain_lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], tmp_path: Path
) -> None:
    enter_lab(plain_lab)
    if shape().threads_per_core != 1:
        pytest.skip("NOT TESTED: plain cores; those of this machine have more than one thread")
    answer = refused(tmp_path, request(threads_per_core=2))
    assert "Requested node configuration is not available" in answer.words


def test_gpus_licences_walltime_and_node(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    asked = request(
        gpus=2, walltime=Duration(90), partition="gpu", licenses=("matlab:1",), job_extra=("--comment=\"a 'b' #c\"",)
    )
    [id] = submit(slurm, job_script(tmp_path, bash("echo $SLURM_JOB_GPUS"), request=asked, name=name))
    seen = wait_for(slurm, name, ended(1))
    known = told(lab, id)
    assert seen[0].node in lab.gpu_nodes
    assert (known["TimeLimit"], known["Licenses"]) == ("00:02:00", "matlab:1")
    text = lab.run("scontrol", "--oneliner", "show", "job", id).stdout
    assert "Comment=a 'b' #c " in text
    assert slurm.log_path(job_script(tmp_path, (), name=name), id, 0).read_text() == "0,1\n"


def test_sbatch_reads_nasty_values_as_they_are(lab: SlurmLab, tmp_path: Path) -> None:
    nasty = "a 'b' \"c\" $HOME `x` #d \\ é ; & | < > \\"
    asked = request(constraint=nasty)
    answer = refused(tmp_path, asked)
    # Read as one value, it is a feature that no node has; cut at '#' or a blank, sbatch would complain of options.
    assert answer.words == "sbatch: error: Batch job submission failed: Invalid feature specification"


# Environment


def test_a_submit_from_inside_another_allocation(
    lab: SlurmLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "99999")
    monkeypatch.setenv("SLURM_CPU_BIND", "mask_cpu:0x1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "1")
    monkeypatch.setenv("MINE", "kept")
    job = job_script(tmp_path, bash('echo "${@:1:4}" $MINE "$SLURM_CPU_BIND" $SLURM_CPUS_PER_TASK'), name=name)
    [id] = submit(slurm, job)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    wait_for(slurm, name, ended(1))
    assert slurm.log_path(job, id, 0).read_text() == f"--index 0 --job-id {id} kept  1\n"


def test_setup_lines_come_before_the_agent(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    job = job_script(
        tmp_path, bash("echo $COLOUR"), request=request(setup=("COLOUR='dark blue'", "export COLOUR")), name=name
    )
    [id] = submit(slurm, job)
    wait_for(slurm, name, ended(1))
    assert slurm.log_path(job, id, 0).read_text() == "dark blue\n"


# Refusals


def refused(directory: Path, asked: Request, count: int = 1) -> Refused:
    job = job_script(directory, bash("true"), request=asked)
    done = run(prepare(slurm, job, count).command)
    answer = slurm.parse_submit(done, count=count)
    assert isinstance(answer, Refused), answer
    return answer


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"partition": "nosuch"}, "Invalid partition name specified"),
        ({"memory": Memory(2**40)}, "Requested node configuration is not available"),
        ({"cores": 17}, "Requested node configuration is not available"),
        ({"gpus": 1}, "Requested node configuration is not available"),
        ({"licenses": ("nosuch:1",)}, "Invalid license specification"),
        ({"reservation": "nosuch"}, "Requested reservation is invalid"),
        ({"job_extra": ("--nosuch",)}, "unrecognized option '--nosuch'"),
    ],
)
def test_refusals(lab: SlurmLab, tmp_path: Path, asked: dict[str, Any], words: str) -> None:
    answer = refused(tmp_path, request(**asked))
    assert words in answer.words
    assert not answer.temporary


def test_an_array_beyond_the_sites_limit_is_refused(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    limits = slurm.parse_limits([run(command) for command in slurm.limits("root")])
    assert limits.max_array_size is not None
    assert "Invalid job array specification" in refused(tmp_path, request(), limits.max_array_size + 1).words
    ids = submit(
        slurm,
        job_script(tmp_path, bash("true"), request=request(job_extra=("--hold",)), name=name),
        limits.max_array_size,
    )
    assert len(look(slurm, name)) == len(ids)


def test_a_controller_that_is_away(lab: SlurmLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    job = job_script(tmp_path, bash("true"), name=name)
    conf = tmp_path / "slurm.conf"
    conf.write_text(re.sub(r"(?m)^SlurmctldPort=.*", "SlurmctldPort=1", lab.conf.read_text()))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    answer = slurm.parse_submit(run(prepare(slurm, job).command), count=1)
    assert isinstance(answer, Doubtful)
    assert "Unable to contact slurm controller" in answer.words


# Endings


@pytest.mark.parametrize(
    ("text", "kind", "exit_code", "number"),
    [
        ("exit 3", EndingKind.FAILED, 3, None),
        ("kill -SEGV $$", EndingKind.FAILED, None, signal.SIGSEGV),
        ("kill -KILL $$", EndingKind.FAILED, None, signal.SIGKILL),
    ],
)
def test_endings(
    lab: SlurmLab, tmp_path: Path, text: str, kind: EndingKind, exit_code: int | None, number: int | None, name: str
) -> None:
    submit(slurm, job_script(tmp_path, bash(text), request=request(), name=name))
    ending = wait_for(slurm, name, ended(1))[0].ending
    assert ending is not None
    assert (ending.kind, ending.exit_code, ending.signal) == (kind, exit_code, number)


def test_a_missing_log_directory_is_a_failed_launch(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    submit(slurm, job_script(tmp_path / "nowhere", bash("true"), request=request(), name=name))
    ending = wait_for(slurm, name, ended(1))[0].ending
    assert ending is not None
    assert ending.kind is EndingKind.LAUNCH_FAILED


def test_walltime(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    text = "trap 'echo TERM; exit 0' TERM; while :; do sleep 0.1; done"
    job = job_script(tmp_path, bash(text), request=request(walltime=Duration(1)), name=name)
    [id] = submit(slurm, job)
    ending = wait_for(slurm, name, ended(1), timeout=110)[0].ending
    assert ending is not None
    assert (ending.kind, ending.limit) == (EndingKind.TIMED_OUT, "1:00")
    log = slurm.log_path(job, id, 0).read_text()
    assert "DUE TO TIME LIMIT" in log
    assert "TERM\n" in log


def test_cancel_reaches_the_process_that_the_script_became(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    text = f"trap 'echo TERM; exit 0' TERM; sleep 4{os.getpid()} & echo $$ $! > $4; while :; do sleep 0.1; done"
    job = job_script(tmp_path, bash(text), request=request(), name=name)
    ids = submit(slurm, job, 3)
    until(lambda: all((tmp_path / id).exists() for id in ids))
    pids = [int(pid) for id in ids for pid in (tmp_path / id).read_text().split()]
    for command in slurm.cancel((), ids[:2]):
        assert slurm.parse_cancel(run(command)) is None
    seen = wait_for(slurm, name, ended(2))
    assert seen[2].state is JobState.RUNNING
    assert seen[0].ending is not None
    assert seen[0].ending.kind is EndingKind.CANCELLED
    for command in slurm.cancel(tracked(name), ids):
        assert slurm.parse_cancel(run(command)) is None
    wait_for(slurm, name, ended(3))
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    for index, id in enumerate(ids):
        assert "TERM\n" in slurm.log_path(job, id, index).read_text()


def test_pending_elements_are_cancelled_too_and_no_row_is_taken_for_a_job(
    lab: SlurmLab, tmp_path: Path, name: str
) -> None:
    held = request(job_extra=("--hold",))
    ids = submit(slurm, job_script(tmp_path, bash("true"), request=held, name=name), 300)
    assert {job.state for job in look(slurm, name).values()} == {JobState.PENDING}
    [command] = slurm.cancel((), ids[:299])
    assert slurm.parse_cancel(run(command)) is None
    assert set(look(slurm, name)) == {299}
    run(slurm.cancel(tracked(name), ())[0])
    assert {job.state for job in look(slurm, name).values()} <= {JobState.ENDED}


def test_a_node_that_dies_and_a_requeue(lab: SlurmLab, tmp_path: Path, name: str) -> None:
    node = lab.nodes[-1]
    marker = tmp_path / "runs"
    text = f"echo run >> {marker}; exec sleep 300"
    lost, again = f"{name}-lost", f"{name}-again"
    for job, extra in ((lost, "--no-requeue"), (again, "--requeue")):
        asked = request(job_extra=(f"--nodelist={node}", extra))
        submit(slurm, job_script(tmp_path, bash(text), name=job, request=asked))
        wait_for(slurm, job, lambda seen: seen[0].state is JobState.RUNNING)
    until(lambda: marker.exists() and len(marker.read_text().split()) == 2)
    try:
        lab.run("scontrol", "update", f"node={node}", "state=down", "reason=test")
        ending = wait_for(slurm, lost, ended(1))[0].ending
        assert ending is not None
        assert (ending.kind, ending.node) == (EndingKind.NODE_FAILED, node)
        waiting = wait_for(slurm, again, lambda seen: seen[0].reason == "BeginTime")[0]
        assert (waiting.state, waiting.ending) == (JobState.PENDING, None)
    finally:
        lab.run("scontrol", "update", f"node={node}", "state=resume", check=False)
    wait_for(slurm, again, lambda seen: seen[0].state is JobState.RUNNING)
    until(lambda: len(marker.read_text().split()) == 3)
    [log] = tmp_path.glob(f"{again}-*.log")
    assert "DUE TO NODE FAILURE" in log.read_text()


def test_polls_for_other_names_see_nothing(lab: SlurmLab) -> None:
    assert look(slurm, "nosuch", "other") == {}


def test_no_accounting(lab: SlurmLab, name: str) -> None:
    assert isinstance(slurm.parse_account(run_all(slurm.account(tracked(name))), ()), NoAccounting)


def test_accounting(
    slurm_lab_accounting: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], tmp_path: Path, name: str
) -> None:
    enter_lab(slurm_lab_accounting)
    ids = submit(slurm, job_script(tmp_path, bash("exit $2"), name=name, request=request()), 3)
    wait_for(slurm, name, ended(3))
    found: dict[JobId, Any] = {}

    def accounted() -> bool:
        answer = slurm.parse_account(run_all(slurm.account(tracked(name, "other"))), ())
        assert isinstance(answer, dict), answer
        found.update(answer)
        return set(found) == set(ids) and all(isinstance(known, Ending) for known in found.values())

    until(accounted)
    assert [(found[id].kind, found[id].exit_code) for id in ids] == [
        (EndingKind.COMPLETED, 0),
        (EndingKind.FAILED, 1),
        (EndingKind.FAILED, 2),
    ]
    assert found[ids[0]].source == "accounting"


def test_the_accounting_knows_jobs_that_live(
    slurm_lab_accounting: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], tmp_path: Path, name: str
) -> None:
    enter_lab(slurm_lab_accounting)
    held = request(job_extra=("--hold",))
    waiting = [*submit(slurm, job_script(tmp_path, bash("exit"), name=f"{name}-a", request=held), 3)]
    waiting += submit(slurm, job_script(tmp_path, bash("exit"), name=f"{name}-b", request=held))
    [runs] = submit(slurm, job_script(tmp_path, bash("sleep 600"), name=f"{name}-c", request=request()))
    expected = {**dict.fromkeys(waiting, JobState.PENDING), runs: JobState.RUNNING}
    asked = tracked(*(f"{name}-{letter}" for letter in "abc"), ids=[*waiting, runs])
    until(lambda: slurm.parse_account(run_all(slurm.account(asked)), asked) == expected)


def test_a_limit_on_submits_is_a_temporary_refusal(
    slurm_lab_accounting: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], tmp_path: Path
) -> None:
    enter_lab(slurm_lab_accounting)
    answer = refused(tmp_path, request(qos="maxsubmit"), 4)
    assert "QOSMaxSubmitJobPerUserLimit" in answer.words
    assert answer.temporary
    denied = refused(tmp_path, request(qos="maxwall", walltime=Duration(3000)))
    assert "QOSMaxWallDurationPerJobLimit" in denied.words
    assert not denied.temporary


def test_memory(
    slurm_lab_cgroups: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], tmp_path: Path, name: str
) -> None:
    enter_lab(slurm_lab_cgroups)
    hungry = ["python3", "-c", "x = bytearray(500 * 2**20)"]
    [id] = submit(slurm, job_script(tmp_path, hungry, name=name, request=request()))
    ending = wait_for(slurm, name, ended(1))[0].ending
    assert ending is not None
    assert (ending.kind, ending.limit) == (EndingKind.OUT_OF_MEMORY, "320M")
    assert re.search("oom[-_]kill event", (tmp_path / f"{name}-{id}.log").read_text())
