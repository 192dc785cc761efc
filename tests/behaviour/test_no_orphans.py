"""Whatever ends a script, a minute later no job of its pool is in the queue and no process of it lives."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest
from scripts import Script, started
from sites import PATIENCE, FakeSite, Site

from jobpool.testing import wait_until

WORKING = """\
    import subprocess, sys, time
    from jobpool import JobPoolExecutor

    def work(number):
        # A child of a worker, as ffmpeg would be: it must go too.
        subprocess.run(["sleep", "300"])

    if __name__ == "__main__":
        pool = JobPoolExecutor(2)
        futures = [pool.submit(work, number) for number in range(6)]
        while sum(future.running() for future in futures) < 2:
            time.sleep(0.02)
        print("working", flush=True)
        {then}
    """


def working(then: str) -> str:
    return WORKING.replace("{then}", then)


def is_sleep(process: psutil.Process) -> bool:
    try:
        return process.name() == "sleep"
    except psutil.NoSuchProcess:  # it ended between the two looks
        return False


def works(script: Script) -> None:
    """Wait until both workers are at work, in children of their own, and see that they would be found."""
    script.wait_for("working")
    assert wait_until(lambda: sum(map(is_sleep, script.processes())) == 2, PATIENCE)
    assert len(script.site.jobs_in_queue(script.pool)) >= 1


def test_an_exception_in_the_script(site: Site, tmp_path: Path) -> None:
    with started(site, tmp_path / "script", working("raise RuntimeError('the script failed')")) as script:
        script.wait_for("working")
        script.nothing_left()
        assert script.process.wait(PATIENCE) == 1
        assert script.stderr.count("RuntimeError: the script failed") == 1


def test_an_exception_inside_with(site: Site, tmp_path: Path) -> None:
    with started(site, tmp_path / "script", working("with pool: raise RuntimeError('the script failed')")) as script:
        script.wait_for("working")
        script.nothing_left()
        assert script.process.wait(PATIENCE) == 1


@pytest.mark.every_dialect
@pytest.mark.parametrize("then", ["[future.result() for future in futures]", "with pool: time.sleep(300)"])
def test_control_c(site: Site, tmp_path: Path, then: str) -> None:
    with started(site, tmp_path / "script", working(then)) as script:
        works(script)
        script.interrupt()
        script.nothing_left()
        assert script.process.wait(PATIENCE) in (1, 130, -signal.SIGINT)
        assert "KeyboardInterrupt" in script.stderr


@pytest.mark.every_dialect
def test_the_client_is_killed(site: Site, tmp_path: Path) -> None:
    with started(site, tmp_path / "script", working("time.sleep(300)")) as script:
        works(script)
        script.process.kill()
        script.process.wait()
        script.nothing_left()


@pytest.mark.every_dialect
def test_the_server_is_killed(site: Site, tmp_path: Path) -> None:
    then = "print(type(futures[0].exception()).__name__, flush=True); time.sleep(300)"
    with started(site, tmp_path / "script", working(then)) as script:
        works(script)
        script.server().kill()
        script.wait_for("PoolBroken")
        others_gone(script)
        script.process.kill()
        script.process.wait()
        script.nothing_left()


def others_gone(script: Script) -> None:
    """Wait until nothing of the pool is left but the script itself."""
    mine = f"{script.process.pid} "
    assert wait_until(lambda: not [left for left in script.left() if not left.startswith(mine)], PATIENCE), (
        script.left()
    )


def test_client_and_server_are_killed_together(site: Site, tmp_path: Path) -> None:
    with started(site, tmp_path / "script", working("time.sleep(300)")) as script:
        works(script)
        script.server().kill()
        script.process.kill()
        script.process.wait()
        script.nothing_left()


@pytest.mark.every_dialect
def test_the_client_is_killed_while_its_jobs_wait(fake_site: FakeSite, tmp_path: Path) -> None:
    fake_site.cluster.hold("Priority")
    code = """\
        import time
        from jobpool import JobPoolExecutor

        pool = JobPoolExecutor(3)
        future = pool.submit(abs, 1)
        time.sleep(300)
        """
    with started(fake_site, tmp_path / "script", code) as script:
        fake_site.wait_for_jobs(script.pool, 1)
        script.process.kill()
        script.process.wait()
        script.nothing_left()
        assert set(fake_site.cluster.jobs.values()) == {"CANCELLED"}


def test_a_pool_that_is_forgotten_ends_with_the_script(site: Site, tmp_path: Path) -> None:
    code = """\
        from jobpool import JobPoolExecutor

        def make():
            return JobPoolExecutor(1).submit(abs, -1)

        print(make().result(60))
        """
    with started(site, tmp_path / "script", code) as script:
        assert script.process.wait(PATIENCE) == 0, script.stderr
        assert script.stdout == "1\n"
        script.nothing_left()


def test_keys_are_gone_when_the_pool_is(site: Site, tmp_path: Path) -> None:
    with started(site, tmp_path / "script", working("time.sleep(300)")) as script:
        works(script)
        directory = tmp_path / "script" / ".jobpool" / script.pool
        assert (directory / "key.pem").exists()
        script.process.kill()
        script.process.wait()
        script.nothing_left()
        assert not list(directory.glob("*.pem"))
        assert (directory / "logs").is_dir()


NOTEBOOK = """\
    import time
    from pathlib import Path
    from jupyter_client import KernelManager

    CELL = '''
    import subprocess
    import time
    from jobpool import JobPoolExecutor

    def work(number):
        subprocess.run(["sleep", "300"])

    with JobPoolExecutor(2) as pool:
        futures = [pool.submit(work, number) for number in range(6)]
        while sum(future.running() for future in futures) < 2:
            time.sleep(0.02)
        print("working", flush=True)
        futures[0].result()
    '''

    def see(client, word):
        while True:
            message = client.get_iopub_msg(timeout=60)
            if word in str(message["content"].get("text", "")) + str(message["content"].get("ename", "")):
                print(word, flush=True)
                return

    kernel = KernelManager()
    kernel.start_kernel()
    client = kernel.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    client.execute(CELL, stop_on_error=False)
    see(client, "working")
    while not Path("interrupt").exists():
        time.sleep(0.02)
    kernel.interrupt_kernel()
    see(client, "KeyboardInterrupt")
    client.execute("print('alive' * 2)")
    see(client, "alivealive")
    while not Path("end").exists():
        time.sleep(0.02)
    client.stop_channels()
    kernel.shutdown_kernel(now=True)
    """


def test_a_cell_of_a_notebook_is_interrupted(site: Site, tmp_path: Path) -> None:
    with started(site, tmp_path, NOTEBOOK) as script:
        works(script)
        (tmp_path / "interrupt").touch()
        script.wait_for("KeyboardInterrupt")
        # The kernel lives, and is all that is left.
        script.wait_for("alivealive")
        assert wait_until(
            lambda: not any("jobpool." in " ".join(words) for _, words in script.command_lines()), PATIENCE
        )
        assert not script.site.jobs_in_queue(script.pool)
        (tmp_path / "end").touch()
        script.nothing_left()
