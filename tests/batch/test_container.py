"""The command that runs Python in a container, as text: each program has its own words for the same things.

Charliecloud really runs in ``tests/behaviour/test_containers.py``.
"""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from jobpool.batch.container import Image, binds, command, image_of
from jobpool.model.errors import ConfigError


def written(runtime: str, name: str, **more: Any) -> str:
    """Write the command for a pool in alice's home that works in /scratch/alice."""
    given: dict[str, Any] = {
        "folders": [
            "/home/alice/.jobpool/p",
            "/home/alice/.jobpool",
            "/scratch/alice",
            "/usr/lib/python3",
            "/opt/conda",
        ],
        "working_directory": "/scratch/alice",
        "gpus": False,
        "as_root": False,
    }
    return shlex.join(command(Image(runtime, name), ["python3"], **{**given, **more}))


@pytest.mark.parametrize("program", ["apptainer", "singularity"])
def test_apptainer_and_singularity(program: str) -> None:
    folders = "--bind=/home/alice/.jobpool --bind=/opt/conda --bind=/scratch/alice"
    assert written(program, "/images/a.sif") == (f"{program} exec --pwd=/scratch/alice {folders} /images/a.sif python3")
    assert written(program, "docker://python:3.12", gpus=True, options=["--bind=/data"]) == (
        f"{program} exec --pwd=/scratch/alice {folders} --nv --bind=/data docker://python:3.12 python3"
    )


def test_podman_shares_what_a_job_has() -> None:
    shared = "--network=host --ipc=host --cgroups=disabled --security-opt=label=disable"
    volumes = "--volume=/home/alice/.jobpool:/home/alice/.jobpool --volume=/opt/conda:/opt/conda"
    volumes += " --volume=/scratch/alice:/scratch/alice --volume=/tmp:/tmp"
    assert written("podman", "python:3.12") == (
        f"podman run --rm --env-host {shared} --userns=keep-id --entrypoint= --workdir=/scratch/alice {volumes} "
        "python:3.12 python3"
    )
    assert written("podman", "python:3.12", gpus=True, as_root=True, options=["--volume=/data:/data"]) == (
        f"podman run --rm --env-host {shared} --entrypoint= --workdir=/scratch/alice {volumes} "
        "--device=nvidia.com/gpu=all --volume=/data:/data python:3.12 python3"
    )


def test_charliecloud_binds_onto_folders_that_the_image_has() -> None:
    has = {"/home", "/scratch", "/opt/conda"}
    assert written("charliecloud", "/images/a", in_image=has.__contains__, options=["--bind=/data"]) == (
        "ch-run --cd=/scratch/alice --bind=/home --bind=/opt/conda --bind=/scratch --bind=/tmp --bind=/data "
        "/images/a -- python3"
    )
    with pytest.raises(ConfigError, match="has no such folder") as caught:
        written("charliecloud", "/images/a", in_image={"/home", "/scratch", "/usr"}.__contains__)
    assert "mkdir /images/a/opt" in str(caught.value)
    with pytest.raises(ConfigError, match="has no such folder"):  # /usr would hide the image's own
        written("charliecloud", "/images/a", folders=["/usr/local/tools"], in_image={"/usr"}.__contains__)


def test_nothing_that_would_hide_the_images_system_is_bound() -> None:
    folders = [
        "/",
        "/usr",
        "/usr/lib/python3",
        "/etc/x",
        "/lib64",
        "/home",
        "/tmp",
        "/home/a",
        "/home/a/b",
        "/home/ab",
        "/a",
    ]
    assert binds(folders) == ("/a", "/home/a", "/home/ab")
    for name in ("/scratch/a,b", "/scratch/a:b", "/scratch/a\nb"):
        with pytest.raises(ConfigError):
            written("apptainer", "/images/a.sif", folders=[name])


@pytest.mark.parametrize(
    ("text", "here", "runtime", "name"),
    [
        ("/images/a.sif", "apptainer singularity podman", "apptainer", "/images/a.sif"),
        ("/images/a.sif", "singularity ch-run", "singularity", "/images/a.sif"),
        ("/images/folder", "podman ch-run", "charliecloud", "/images/folder"),
        ("docker://python", "podman singularity", "singularity", "docker://python"),
        ("docker.io/library/python:3.12", "apptainer podman", "podman", "docker.io/library/python:3.12"),
        ("podman:///images/rootfs", "", "podman", "/images/rootfs"),
        ("apptainer://docker://python", "", "apptainer", "docker://python"),
        ("charliecloud:///images/a", "apptainer", "charliecloud", "/images/a"),
    ],
)
def test_the_program_is_the_first_that_can_run_the_image_or_named(
    text: str, here: str, runtime: str, name: str
) -> None:
    programs = here.split()
    found = image_of(
        text, which=lambda word: word if word in programs else None, is_directory=lambda path: path.endswith("/folder")
    )
    assert found == Image(runtime, name)


def test_without_a_program_the_way_out_is_named() -> None:
    with pytest.raises(ConfigError, match="it needs podman, and that cannot be found on this host") as caught:
        image_of("python:3.12", which=lambda word: None, is_directory=lambda path: False)
    assert "container='podman://python:3.12'" in str(caught.value)
