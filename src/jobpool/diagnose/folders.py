"""Pitfalls of folders: how much room they have, what the quota leaves, and where they are."""

from __future__ import annotations

from collections.abc import Iterator

from jobpool.diagnose.facts import DiskQuota, Folder, Side
from jobpool.diagnose.finding import GIB, Finding, Level, ok

__all__ = ["IN_MEMORY", "NETWORK", "examine_quotas", "room", "scratch"]

NETWORK = (
    "nfs",
    "nfs4",
    "lustre",
    "gpfs",
    "beegfs",
    "cifs",
    "smb3",
    "afs",
    "ceph",
    "fuse.sshfs",
    "fuse.glusterfs",
    "9p",
)
"""File systems behind a network, by the kernel's names."""

IN_MEMORY = ("tmpfs", "ramfs")

FEW_FILES = 10_000
"""An environment of Python's has 20 000, a run of many small results as many."""

NEARLY = 0.9
"""Part of a quota from which on it is worth a warning."""


def room(folder: Folder, subject: str, *, also_ok: bool = False) -> Iterator[Finding]:
    """Say how much room a folder has: bytes, and files."""
    low = []
    if folder.free is not None and folder.free < GIB:
        low.append(f"{folder.free}")
    if folder.files is not None and folder.files < FEW_FILES:
        low.append(f"room for {folder.files} files")
    if low:
        text = f"{folder.path} has {' and '.join(low)} left"
        yield Finding(subject, Level.WARNING, text, "remove what is not needed, or write elsewhere")
    elif also_ok:
        yield ok(subject, f"{folder.path} ({folder.kind}), {_free(folder)}")


def _free(folder: Folder) -> str:
    files = "" if folder.files is None else f" and {folder.files} files"
    return f"{folder.free}{files} free"


def examine_quotas(here: Side) -> Iterator[Finding]:
    """Say what is left of the user's quotas where home, project and scratch are."""
    for quota in here.quotas or ():
        folder = next((each for each in _folders(here) if each.mount == quota.mount), None)
        if folder is None:
            continue
        subject = f"quota of {folder.path}"
        if quota.unknown:
            text = f"not known, {quota.unknown}; its file system ({folder.kind}) has {_free(folder)}"
            yield Finding(subject, Level.NOTE, text)
        else:
            yield _quota(subject, quota)
    told = {quota.mount for quota in here.quotas or ()}
    for folder in _folders(here):
        if here.quotas is not None and folder.mount not in told:
            told.add(folder.mount)
            yield ok(f"quota of {folder.path}", f"none; its file system ({folder.kind}) has {_free(folder)}")


def _folders(side: Side) -> list[Folder]:
    return [folder for folder in (side.home, side.project, *side.scratch.values()) if folder.there]


def _quota(subject: str, quota: DiskQuota) -> Finding:
    said, parts = [], []
    if quota.limit is not None and quota.used is not None:
        said.append(f"{quota.used} of {quota.limit}")
        parts.append(quota.used / quota.limit)
    if quota.files_limit is not None:
        said.append(f"{quota.files} of {quota.files_limit} files")
        parts.append(quota.files / quota.files_limit)
    text = f"{' and '.join(said)} are used ({quota.whose})"
    cure = "remove what is not needed, or let calls write elsewhere; logs go where log_directory= says"
    if max(parts) >= 1:
        return Finding(subject, Level.PROBLEM, f"{text}: calls that write there fail, or soon will", cure)
    if max(parts) >= NEARLY:
        return Finding(subject, Level.WARNING, text, cure)
    return ok(subject, text)


def scratch(there: Side) -> Iterator[Finding]:
    """Look at the folders that variables name, as a job sees them."""
    for variable, folder in there.scratch.items():
        name = f"${variable} ({folder.path})"
        if not folder.there:
            text = f"{name} does not exist on {there.node}"
            yield Finding("scratch", Level.WARNING, text, "ask which folder jobs are to use")
        elif folder.kind in NETWORK:
            text = f"{name} is behind a network ({folder.kind}): fine for large files, slow for many small ones"
            yield Finding("scratch", Level.NOTE, text, f"let calls keep small files below {there.temp.path}")
        elif folder.kind in IN_MEMORY:
            text = f"{name} is in memory ({folder.kind}) on {there.node}: files there count as the job's memory"
            yield Finding("scratch", Level.WARNING, text, "let calls keep large files on a disk")
        else:
            yield from room(folder, "scratch", also_ok=True)
    if not there.scratch:
        yield ok("scratch", f"no variable names a folder for it; temporary files go to {there.temp.path}")
