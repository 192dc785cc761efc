"""Another user of this host, without any key, opens more connections than there are descriptors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import MARK, PATIENCE, LocalSite, Site, SlurmSite, script_environment

from jobpool.host.home import PoolDirectory
from jobpool.testing import wait_until
from jobpool.testing.labs.machine import processes_of

SOFT, HARD, STRANGERS = 300, 1024, 1300

_CLIENT = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, {HARD}))
from jobpool import JobPoolExecutor

def descriptors():
    import resource
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

def meet(directory, number):
    import time
    from pathlib import Path
    (Path(directory) / str(number)).touch()
    while len(list(Path(directory).iterdir())) < 3:
        time.sleep(0.01)
    return number

if __name__ == "__main__":
    with JobPoolExecutor(3, workers_per_job=1, name="flooded") as pool:
        print(pool.submit(descriptors).result(), flush=True)
        sys.stdin.readline()
        print(sum(pool.map(abs, range(1000))), flush=True)
        print(sum(future.result() for future in [pool.submit(meet, sys.argv[1], n) for n in range(3)]), flush=True)
"""

_STRANGER = f"""
import resource, socket, sys, time
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

def come():
    try:
        return socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
    except OSError:
        return None

held = [come() for _ in range({STRANGERS})]
print("here", flush=True)
while True:  # whoever is turned away comes again
    held = [*held[1:], come()]
    time.sleep(0.01)
"""


@pytest.fixture(params=["local", "slurm"])
def place(request: pytest.FixtureRequest, home: Path) -> Iterator[Site]:
    """This machine, and a real SLURM."""
    site = LocalSite() if request.param == "local" else SlurmSite(request.getfixturevalue("slurm_lab"))
    with site.entered():
        yield site


@pytest.mark.parametrize("begins", ["while it starts", "while it works"])
def test_half_open_connections_cost_neither_calls_nor_new_jobs_nor_the_disk(
    place: Site, home: Path, tmp_path: Path, begins: str
) -> None:
    """And a job gets the soft limit that the script had, though the server uses the hard one."""
    (tmp_path / "client.py").write_text(_CLIENT)
    (tmp_path / "met").mkdir()
    mark = f"{MARK}=flooded"
    client = subprocess.Popen(
        [sys.executable, str(tmp_path / "client.py"), str(tmp_path / "met")],
        env=script_environment(place, home, mark),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stranger: subprocess.Popen[str] | None = None
    first = f"{SOFT}\n"
    try:
        assert client.stdout is not None
        if begins == "while it works":
            assert client.stdout.readline() == first
            first = ""
        address = home / ".jobpool" / "flooded" / "connection.json"
        assert wait_until(address.exists, PATIENCE)
        directory = PoolDirectory.open("flooded")
        connection = directory.connection()
        assert connection is not None
        assert f"Max open files            {HARD} " in Path(f"/proc/{connection['pid']}/limits").read_text()
        argv = [sys.executable, "-c", _STRANGER, str(connection["port"])]
        stranger = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "here\n"
        out, _ = client.communicate("go\n", timeout=2 * PATIENCE)
        assert out == f"{first}{sum(range(1000))}\n3\n"
    finally:
        for process in filter(None, (client, stranger)):
            process.kill()
            process.communicate()
    log = directory.server_log.read_text()
    assert "turned away" in log
    assert len(log) < 50_000
    assert wait_until(lambda: not processes_of([mark]), PATIENCE)
