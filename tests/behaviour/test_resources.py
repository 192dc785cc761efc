"""Workers and jobs: how many there are, where they write, what they are asked for; and Dask on the same workers."""

from __future__ import annotations

import concurrent.futures as cf
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from gates import Gate
from sites import PATIENCE, Site

from jobpool import JobPoolExecutor
from jobpool.testing import wait_until


def where(_: int = 0) -> int:
    time.sleep(0.05)
    return os.getpid()


def add(one: int, two: int) -> int:
    return one + two


def jobs_of(futures: list[Any]) -> set[str]:
    return {future.job.id for future in futures}


@pytest.mark.every_dialect
def test_two_workers_in_each_of_two_jobs_in_one_submit(site: Site, gate: Gate) -> None:
    with site.pool(4, workers_per_job=2) as pool:
        futures = [pool.submit(gate.hold(), number) for number in range(4)]
        gate.wait_for(4)
        assert len({path.name.split("-")[2] for path in gate.path.iterdir()}) == 4  # four processes
        gate.open()
        cf.wait(futures, timeout=PATIENCE)
        jobs = jobs_of(futures)
        assert len(jobs) == 2
        ran_in = [future.job.id for future in futures if future.job is not None]
        assert all(ran_in.count(job) == 2 for job in jobs)
        # The local batch system starts jobs at the first call, without waiting for more: nobody else uses it.
        assert site.submits(pool.name) == 1 or not site.is_batch


@pytest.mark.slow
def test_a_hundred_calls_on_twenty_workers_in_one_submit(site: Site, tmp_path: Path) -> None:
    def work() -> str:
        import uuid

        (tmp_path / uuid.uuid4().hex).touch()
        time.sleep(0.3)
        return "Finished"

    asked: dict[str, Any] = {"cores": 2, "memory": "2 GiB", "walltime": "5h"}
    if site.is_batch:
        asked["partition"] = "long"
    with site.pool(20, **asked) as pool:
        pool.scale(20)
        assert wait_until(lambda: workers_of(pool) == 20, 2 * PATIENCE), pool.status()
        futures = [pool.submit(work) for _ in range(100)]
        assert [future.result(PATIENCE) for future in futures] == ["Finished"] * 100
        assert len(list(tmp_path.iterdir())) == 100
        assert len(jobs_of(futures)) == 20 or not site.is_batch  # the local batch system puts more into one job
        assert site.submits(pool.name) == 1 or not site.is_batch


def workers_of(pool: JobPoolExecutor) -> int:
    return sum(job.workers for job in pool.status().jobs if job.state == "serving")


@pytest.mark.every_dialect
def test_scale_up_and_down(site: Site) -> None:
    with site.pool(4, workers_per_job=2) as pool:
        pool.scale(4)
        assert wait_until(lambda: workers_of(pool) == 4, PATIENCE), pool.status()
        pool.scale(2)
        assert wait_until(lambda: workers_of(pool) == 2, PATIENCE), pool.status()
        site.wait_for_jobs(pool.name, 1)
        assert pool.submit(add, 1, 2).result(PATIENCE) == 3
        pool.scale(0)
        site.wait_for_jobs(pool.name, 0)
        pool.scale(None)
        assert pool.submit(add, 1, 2).result(PATIENCE) == 3


@pytest.mark.every_dialect
def test_idle_jobs_end_and_come_back(site: Site) -> None:
    with site.pool(1, idle_timeout=0.5) as pool:
        assert pool.submit(add, 1, 2).result(PATIENCE) == 3
        site.wait_for_jobs(pool.name, 0)
        assert pool.submit(add, 3, 4).result(PATIENCE) == 7


@pytest.mark.every_dialect
def test_the_log_directory_is_the_users(site: Site, tmp_path: Path) -> None:
    logs = tmp_path / "my logs" / "100%"
    with site.pool(1, log_directory=logs) as pool:
        future = pool.submit(add, 1, 2)
        future.result(PATIENCE)
        assert pool.log_directory == logs
        assert future.job is not None
        assert future.job.log is not None
        assert future.job.log.parent == logs
        assert future.job.log.exists()


def test_logs_stay_in_the_home_directory(site: Site, home: Path) -> None:
    with site.pool(1, name="my-pool") as pool:
        pool.submit(add, 1, 2).result(PATIENCE)
        assert pool.name == "my-pool"
        assert pool.log_directory == home / ".jobpool" / "my-pool" / "logs"
    assert list((home / ".jobpool" / "my-pool" / "logs").glob("*.log"))
    assert not list((home / ".jobpool" / "my-pool").glob("*.pem"))


@pytest.mark.every_dialect
def test_setup_lines_and_variables_reach_the_workers(site: Site) -> None:
    def look() -> tuple[str | None, str | None]:
        import os

        return os.environ.get("FROM_SETUP"), os.environ.get("GIVEN")

    keywords = {"setup": ["export FROM_SETUP='a b'"], "environment": {"GIVEN": "it's $HOME"}}
    with site.pool(1, **keywords) as pool:
        assert pool.submit(look).result(PATIENCE) == ("a b", "it's $HOME")


def test_threads_of_libraries_are_as_many_as_cores(site: Site) -> None:
    def look() -> set[str | None]:
        import os

        return {os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

    with site.pool(1, cores=2) as pool:
        assert pool.submit(look).result(PATIENCE) == {"2"}


# Dask on the same workers


def test_the_client_submits_and_maps_on_the_same_workers(pool: JobPoolExecutor) -> None:
    client = pool.client
    assert client.submit(add, 1, 2).result(timeout=PATIENCE) == 3
    assert client.gather(client.map(lambda number: number + 1, range(10))) == list(range(1, 11))
    assert pool.client is client


def test_a_dask_array_is_reduced(pool: JobPoolExecutor) -> None:
    array = pytest.importorskip("dask.array")
    total = array.ones((200, 200), chunks=(100, 100)).sum()
    assert pool.client.compute(total).result(timeout=PATIENCE) == 40_000
    assert pool.submit(add, 1, 2).result(PATIENCE) == 3


def test_graph_tasks_ask_for_workers_by_themselves(site: Site) -> None:
    with site.pool(1) as pool:
        assert pool.client.submit(add, 2, 3).result(timeout=PATIENCE) == 5


def test_the_dashboard_needs_its_secret_path(pool: JobPoolExecutor) -> None:
    pytest.importorskip("bokeh")
    link = pool.dashboard_link
    assert link is not None
    with urllib.request.urlopen(link, timeout=20) as page:
        assert page.status == 200
    host = link.split("/")[2]
    for path in ("/", "/status", "/info/main/workers.html", "/json/counts.json", "/metrics", "/wrong-token/status"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{host}{path}", timeout=20)
        assert caught.value.code == 404, path
        caught.value.close()
    # On loopback alone.
    address, port = host.split(":")
    assert address == "127.0.0.1"
    for other in _addresses():
        with pytest.raises((ConnectionRefusedError, TimeoutError)):
            socket.create_connection((other, int(port)), timeout=2).close()


def _addresses() -> set[str]:
    found = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    return {str(address) for address in found if not str(address).startswith("127.")}
