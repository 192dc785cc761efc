from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobpool.config.files import Findings, Places, load_toml
from jobpool.model.errors import ConfigError

if TYPE_CHECKING:
    from configkit import Site

STRANGER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of another user, which only root can make")


def problems_of(site: Site) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        site.resolve()
    return list(refused.value.problems)


def test_a_file_that_everyone_can_write_is_an_error_with_its_cure(site: Site) -> None:
    path = site.write("user.toml", "setup = 'evil'")
    path.chmod(0o602)
    assert problems_of(site) == [f"{path} cannot be trusted: everyone can write it; run: chmod o-w {path}"]


@as_root
def test_a_group_counts_as_ones_own_if_it_has_the_user_s_name_and_nobody_else(site: Site) -> None:
    path = site.write("user.toml", "qos = 'mine'")
    path.chmod(0o660)
    assert site.resolve().request.qos == "mine"  # root's own group
    os.chown(path, 0, 1)  # daemon's group
    assert problems_of(site) == [f"{path} cannot be trusted: its group can write it; run: chmod g-w {path}"]


def test_a_yaml_of_dask_is_judged_in_the_same_way(site: Site) -> None:
    path = site.write("dask/jobqueue.yaml", "jobqueue:\n  slurm:\n    job-script-prologue: [evil]\n")
    path.chmod(0o666)
    assert problems_of(site) == [f"{path} cannot be trusted: everyone can write it; run: chmod o-w {path}"]
    path.write_text("# jobqueue:\n")  # what says nothing about jobs is not worth a word
    assert site.resolve().notes == ()


@as_root
@pytest.mark.parametrize("kind", ["file", "unreadable", "link", "pipe", "directory"])
def test_what_another_user_left_is_passed_over_with_a_note(site: Site, kind: str) -> None:
    path = site.places.project[0]
    if kind in ("file", "unreadable"):
        path.write_text("setup = 'evil'")
        path.chmod(0o000 if kind == "unreadable" else 0o666)
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    site.write("jobpool.toml", "qos = 'mine'")

    settings = site.resolve()

    assert settings.request.setup == ()
    assert settings.request.qos == "mine"  # the search goes on above it
    (note,) = settings.notes
    assert note.startswith(f"{path} is not used: it belongs to another user (nobody).")
    assert f"JOBPOOL_SITE_CONFIG={path}" in note


@as_root
def test_a_link_of_one_s_own_to_a_file_of_another_is_passed_over(site: Site) -> None:
    target = site.write("theirs.toml", "setup = 'evil'")
    os.chown(target, STRANGER, STRANGER)
    site.places.project[0].symlink_to(target)
    settings = site.resolve()
    assert settings.request.setup == ()
    assert "belongs to another user" in settings.notes[0]


@as_root
def test_a_file_that_was_named_may_belong_to_another_but_not_to_everyone(site: Site) -> None:
    site.places = replace(site.places, site_is_named=True)
    path = site.write("site.toml", "setup = 'module load site'")
    os.chown(path, STRANGER, STRANGER)
    path.chmod(0o664)
    assert site.resolve().request.setup == ("module load site",)
    path.chmod(0o666)
    assert "everyone can write it" in problems_of(site)[0]


def test_a_named_site_file_must_exist(site: Site) -> None:
    site.places = replace(site.places, site_is_named=True)
    assert problems_of(site) == [f"JOBPOOL_SITE_CONFIG names {site.places.site}, which does not exist"]


def test_what_is_not_a_readable_file_is_told(site: Site) -> None:
    (site.root / "user.toml").mkdir()
    os.mkfifo(site.root / "site.toml")
    (site.root / "project/jobpool.toml").symlink_to("nowhere")
    assert problems_of(site) == [
        f"{site.root}/project/jobpool.toml cannot be read: No such file or directory",
        f"{site.root}/user.toml cannot be read: Is a directory",
        f"{site.root}/site.toml cannot be read: it is not a regular file",
    ]


def test_what_is_not_text_is_told(site: Site) -> None:
    site.write("user.toml", "").write_bytes(b"name = '\xff'")
    site.write("site.toml", "#" * (2**20 + 1))
    assert problems_of(site) == [
        f"{site.root}/user.toml cannot be read: it is not UTF-8 text (invalid start byte at byte 8)",
        f"{site.root}/site.toml cannot be used: it is larger than 1 MiB",
    ]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    # pytest's own directories are closed to others, who must get as far as the file here.
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@as_root
def test_a_file_without_permission_is_told(open_directory: Path) -> None:
    path = open_directory / "jobpool.toml"
    path.write_text("cores = 2")
    path.chmod(0o600)
    findings = Findings()
    os.seteuid(STRANGER)
    try:
        load_toml(Places(site=path), findings)
    finally:
        os.seteuid(0)
    assert findings.problems == [f"{path} cannot be read: Permission denied"]
