"""``jobpool logs`` on a pool that runs, and what it makes of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobpool import JobPoolError, JobPoolExecutor
from jobpool.show.logs import Follower, find_logs, last_lines, logs_of, texts
from jobpool.testing import wait_until

COMMAND = [sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())", "logs"]


def logs(*arguments: str, code: int = 0) -> str:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def say(text: str, file: str) -> None:
    print(text, flush=True)
    while not Path(file).exists():
        time.sleep(0.02)


def test_what_a_call_prints_is_seen_while_it_runs_and_followed_to_the_end(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with JobPoolExecutor(max_workers=1, scheduler="local", name="mine") as pool:
        future = pool.submit(say, "looking at clip 7", str(go))
        assert wait_until(future.running, 60)
        listed = json.loads(logs("mine", "--json"))
        assert {log["kind"] for log in listed} == {"job", "worker", "server"}
        (job,) = {log["job"] for log in listed if log["kind"] == "job"}
        assert {log["job"] for log in listed if log["kind"] == "worker"} == {job}
        assert future.job is not None
        for name in (job, future.job.id):
            assert "looking at clip 7" in logs("mine", name)
        assert "looking at" not in logs("mine", "server")

        with subprocess.Popen([*COMMAND, "mine", job, "--follow"], stdout=subprocess.PIPE, text=True) as follows:
            assert follows.stdout is not None
            said = iter(follows.stdout.readline, "")
            assert any("looking at clip 7" in line for line in said)  # from here on it follows
            second = pool.submit(print, "the second one", flush=True)
            go.touch()
            second.result(timeout=60)
            assert any("the second one" in line for line in said)
            pool.shutdown()
            assert follows.wait(timeout=60) == 0
    unknown = logs("mine", "99", code=1)
    assert "no log of a job '99'" in unknown
    assert f"there are logs of {job}, server" in unknown
    assert "begins" in logs("mine", job, "--tail", "100")


def test_a_pool_returns_its_logs_while_it_runs_and_afterwards(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with JobPoolExecutor(max_workers=1, scheduler="local", name="mine", log_directory=tmp_path / "own") as pool:
        future = pool.submit(say, "looking at clip 7", str(go))
        assert wait_until(future.running, 60)
        assert future.job is not None
        assert wait_until(lambda: "looking at clip 7" in pool.logs(future.job), 60)
        said = pool.logs(future.job.id)
        assert said.startswith("==> ")
        assert "begins" in said
        heads = [line for line in pool.logs().splitlines() if line.startswith("==> ")]
        assert {head.split()[1].strip(":") for head in heads} == {"job", "worker", "server"}
        assert pool.logs("server", tail=1).count("\n") == 1
        with pytest.raises(JobPoolError, match=f"'99'(.|\n)*there are logs of {future.job.id}, server"):
            pool.logs(99)  # type: ignore[arg-type]
        go.touch()
    assert future.job is not None
    assert future.job.log is not None
    assert future.job.log.read_text() in pool.logs(future.job)
    assert "looking at clip 7" in pool.logs(future.job)
    assert "begins" in pool.logs()
    assert future.job.id in logs("mine")  # they are found where they are, also after the pool's end


def test_a_folder_that_pools_share_shows_each_its_own(tmp_path: Path) -> None:
    run = "0a1b2c3d"
    names = (
        f"mine-{run}-1-77_3.log",
        f"mine-1-{run}-1-80.log",
        f"yours-{run}-1-81.log",
        f"mine-{run}-2-3/worker-0.log",
    )
    for name in (f"jp-{name}" for name in names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    assert {log.job for log in logs_of(tmp_path / "mine", tmp_path, None)} == {"77_3", f"jp-mine-{run}-2-3"}
    assert [log.job for log in logs_of(tmp_path / "mine-1", tmp_path, None)] == ["80"]


def test_texts_have_a_heading_each_where_there_are_several(tmp_path: Path) -> None:
    first, second = tmp_path / "jp-a-1-1.log", tmp_path / "jp-a-1-2.log"
    first.write_text("one\ntwo\ncut off")
    (tmp_path / "jp-a-1-3.log").write_text("")
    os.utime(first, (1, 1))
    second.write_text("three\n")
    found = find_logs(tmp_path, system="slurm")
    assert texts(found) == f"==> job 1: {first} <==\none\ntwo\ncut off\n==> job 2: {second} <==\nthree\n"
    assert texts(found[:1], 2) == "two\ncut off"
    assert texts(found, 0) == ""


def test_files_are_told_apart_by_their_names(tmp_path: Path) -> None:
    for name in ("jp-my-pool-1-77_3.log", "jp-my-pool-2-80.log", "jp-my-pool-1-3/worker-1.log", "other.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    found = find_logs(tmp_path, system="slurm")
    assert {(log.kind, log.job, log.element) for log in found} == {
        ("job", "77_3", 3),
        ("job", "80", 0),
        ("worker", "77_3", 3),
    }
    assert [log.path.name for log in found if log.is_of("80")] == ["jp-my-pool-2-80.log"]
    # Processes of this machine have no number of a batch system's.
    assert "jp-my-pool-2.80" in {log.job for log in find_logs(tmp_path, system="local")}


def test_the_last_lines_are_read_without_the_rest(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    log.write_text("".join(f"line {number} {'x' * 1000}\n" for number in range(1000)) + "the end")
    lines = last_lines(log, 200).splitlines()
    assert (len(lines), lines[0].split()[1], lines[-1]) == (200, "801", "the end")
    assert (last_lines(log, 0), last_lines(tmp_path / "none", 5)) == ("", "")


def test_a_follower_reads_what_is_added_also_to_new_and_rewritten_files(tmp_path: Path) -> None:
    first = tmp_path / "jp-a-1-1.log"
    first.write_text("old\n")
    follower = Follower(find_logs(tmp_path, system="slurm"))
    assert list(follower.more(find_logs(tmp_path, system="slurm"))) == []
    with first.open("a") as file:
        file.write("new\n")
    (tmp_path / "jp-a-2-2.log").write_text("other\n")
    assert {text for _, text in follower.more(find_logs(tmp_path, system="slurm"))} == {"new\n", "other\n"}
    first.write_text("anew\n")
    assert [text for _, text in follower.more(find_logs(tmp_path, system="slurm"))] == ["anew\n"]


def test_logs_of_other_pools_in_the_same_directory_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, place, read = tmp_path / "mine", tmp_path / "logs", list[Path]()
    pool.mkdir(mode=0o700)
    (pool / "system").write_text("zzz\n")
    for name in ("jp-mine-0123abcd-1-0", "jp-mine-two-0123abcd-1-0", "jp-other-0123abcd-1-0"):
        (place / name).mkdir(parents=True)
        (place / name / "worker-0.log").write_text("x\n")
        (place / name / "job-id").write_text("13[4].node1\n")
    place.chmod(0o700)

    def reading(path: Path) -> bytes:
        read.append(path)
        return path.read_bytes()

    monkeypatch.setattr("jobpool.show.logs.read_file", reading)
    (found,) = logs_of(pool, place, "13[4].node1")
    assert found.submission == "jp-mine-0123abcd-1"
    assert not [path for path in read if "jp-other" in str(path)]


def test_a_job_whose_id_does_not_tell_its_place_is_known_by_what_its_agent_wrote(tmp_path: Path) -> None:
    names = [f"jp-a-0123abcd-1-{id}.log" for id in ("13[4].node1", "13[5].node1", "13[6].node1")]
    names += [f"jp-a-0123abcd-1-{element}/worker-0.log" for element in range(3)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    for element, id in enumerate(("13[4].node1", "13[5].node1")):  # the third had no time to
        (tmp_path / f"jp-a-0123abcd-1-{element}/job-id").write_text(f"{id}\n")
    found = find_logs(tmp_path, system="zzz")
    assert {(log.kind, log.job, log.element) for log in found} == {
        ("job", "13[4].node1", 0),
        ("worker", "13[4].node1", 0),
        ("job", "13[5].node1", 1),
        ("worker", "13[5].node1", 1),
        ("job", "13[6].node1", None),
        ("worker", "jp-a-0123abcd-1-2", 2),
    }
    assert [log.kind for log in found if log.is_of("jp-a-0123abcd-1-0")] == ["job", "worker"]
