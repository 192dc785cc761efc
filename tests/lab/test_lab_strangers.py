"""A lab is its owner's alone: other users of the machine read nothing of it and get nothing done in it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobpool.testing import SlurmLab, wait_until
from jobpool.testing.labs import slurm_plan
from jobpool.testing.labs.slurm_munge import munge_answers, munged_argv, new_key

pytestmark = pytest.mark.usefixtures("slurm_lab")  # it skips, or fails on CI, where there is no SLURM

STRANGER = 65534
"""User and group ``nobody``, who is on every machine."""

REFUSED = ("authentication error", "Zero Bytes were transmitted or received")
"""What a client says whom its munged refuses, and one on whom the server hung up."""

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: a lab tried as another user; this needs root")


def as_stranger(*argv: str, conf: Path | None = None) -> subprocess.CompletedProcess[str]:
    switch = ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups")
    environment = {"PATH": os.environ["PATH"], **({"SLURM_CONF": str(conf)} if conf else {})}
    return subprocess.run(
        [*switch, *argv], env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody can enter and read, unlike ``tmp_path``."""
    directory = Path(tempfile.mkdtemp(prefix="lab-open-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def forged_munge(open_directory: Path, slurm_lab: SlurmLab) -> Iterator[Path]:
    """The socket of a munged that the stranger runs, with another key."""
    place = open_directory / "munge"
    plan = replace(slurm_lab.plan, directory=place, run=place)
    for directory in (place, plan.etc):
        directory.mkdir(mode=0o700)
        os.chown(directory, STRANGER, STRANGER)
    plan.munge_key.touch(mode=0o600)
    plan.munge_key.write_text(new_key())
    os.chown(plan.munge_key, STRANGER, STRANGER)
    with subprocess.Popen(munged_argv(plan), user=STRANGER, group=STRANGER, extra_groups=[]) as munged:
        assert wait_until(lambda: munge_answers(plan), timeout=10)
        yield plan.munge_socket
        munged.terminate()


@pytest.fixture(params=["the lab's own conf", "auth/none", "a forged munge"])
def strange_conf(request: pytest.FixtureRequest, open_directory: Path, slurm_lab_accounting: SlurmLab) -> Path:
    """A slurm.conf by which a stranger tries to get in, who knows all that is in the lab's own."""
    text = slurm_lab_accounting.conf.read_text()
    match request.param:
        case "auth/none":
            text = text.replace("=auth/munge", "=auth/none").replace("=cred/munge", "=cred/none")
            kept = (line for line in text.splitlines() if not line.startswith(("AuthInfo", "AccountingStoragePass")))
            text = "\n".join([*kept, ""])
        case "a forged munge":
            forged = request.getfixturevalue("forged_munge")
            text = text.replace(str(slurm_lab_accounting.plan.munge_socket), str(forged))
    conf = open_directory / "slurm.conf"
    conf.write_text(text)
    shutil.copy(slurm_lab_accounting.conf.parent / "gres.conf", open_directory)
    for path in open_directory.glob("*.conf"):
        path.chmod(0o644)
    return conf


def all_jobs(of: SlurmLab) -> list[str]:
    return of.run("squeue", "--noheader", "--states=all", "--format=%i %u %T").stdout.splitlines()


@only_root
def test_a_stranger_gets_nothing_done(slurm_lab_accounting: SlurmLab, strange_conf: Path) -> None:
    sbatch = ("sbatch", "--parsable", "--output=/dev/null")
    job = slurm_lab_accounting.run(*sbatch, input="#!/bin/sh\nsleep 60\n").stdout.strip()
    assert wait_until(lambda: f"{job} root RUNNING" in all_jobs(slurm_lab_accounting), timeout=20)
    before = all_jobs(slurm_lab_accounting)
    for argv in (
        (*sbatch, "--wrap=true"),
        ("squeue",),
        ("scancel", job),
        ("scontrol", "update", f"JobId={job}", "TimeLimit=1"),
        ("sacctmgr", "--noheader", "show", "user"),
    ):
        done = as_stranger(*argv, conf=strange_conf)
        assert done.returncode != 0, argv
        assert done.stdout == ""
        assert any(words in done.stderr for words in (*REFUSED, "Unexpected message received")), done.stderr
    assert all_jobs(slurm_lab_accounting) == before
    slurm_lab_accounting.cancel_jobs()


@only_root
def test_a_stranger_reads_no_file(open_directory: Path) -> None:
    readable = 'for path; do if test -r "$path" -o -w "$path" -o -x "$path"; then echo "$path"; fi; done'
    with SlurmLab(open_directory / "lab", nodes=1) as own:
        paths = sorted(str(path) for path in (own.directory, *own.directory.rglob("*")))
        assert {str(own.conf), str(own.plan.munge_key), str(own.plan.munge_socket)} < set(paths)
        argv = ("sh", "-c", readable, "sh", *paths)
        assert own.run(*argv).stdout.splitlines() == paths  # its owner can
        assert as_stranger(*argv).stdout.splitlines() == []
        assert as_stranger("ls", str(open_directory)).stdout.split() == ["lab"]
        assert "Permission denied" in as_stranger("ls", str(own.directory)).stderr


def test_nothing_listens_beyond_loopback(slurm_lab_accounting: SlurmLab) -> None:
    plan = slurm_lab_accounting.plan
    if not plan.loopback:
        pytest.skip("NOT TESTED: ports on the loopback address alone; this machine's name does not lead there")
    for port in (plan.ctld_port, plan.dbd_port, *(node.port for node in plan.nodes)):
        with socket.socket() as here, socket.socket() as elsewhere:
            assert here.connect_ex(("127.0.0.1", port)) == 0
            assert elsewhere.connect_ex(("127.0.0.2", port)) == errno.ECONNREFUSED  # any address but the one


def test_a_lab_where_the_machines_name_leads_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(slurm_plan, "name_is_loopback", lambda: False)
    with SlurmLab(tmp_path / "lab", nodes=2) as own:
        assert "InAddrAny" not in own.conf.read_text()
        assert own.run("srun", "--nodes=2", "echo", "here", cwd=tmp_path).stdout.split() == ["here"] * 2
