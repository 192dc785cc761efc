"""Quotas of file systems: a command for each kind of file system, and its parser. Nothing here runs anything."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jobpool.diagnose.facts import DiskQuota, Folder
from jobpool.model.command import Command, Completed
from jobpool.model.units import Memory

__all__ = ["command_for", "read_quotas"]

_PATIENCE = 10.0
"""Seconds. A file server that does not answer must not hold up the rest."""

_PLAIN = ("ext2", "ext3", "ext4", "xfs", "nfs", "nfs4", "reiserfs", "jfs", "f2fs")
"""File systems whose quotas the command ``quota`` knows, on this host or on their server."""


def command_for(folder: Folder, user: str) -> Command | None:
    """Make the command that tells the user's quota where the folder is. None: none is known."""
    match folder.kind:
        case "lustre":
            return Command(("lfs", "quota", "-u", user, folder.mount), timeout=_PATIENCE)
        case "gpfs":
            return Command(("mmlsquota", "-Y", "-u", user, folder.device.removeprefix("/dev/")), timeout=_PATIENCE)
        case kind if kind in _PLAIN:
            # Wide lines, grace as a number: each line has the same columns. Its exit code is 1 over the quota.
            return Command(("quota", "--no-wrap", "--raw-grace", "--user", "--group"), timeout=_PATIENCE)
        case _:
            return None


def read_quotas(folder: Folder, done: Completed | None) -> list[DiskQuota]:
    """Read the answer. Without a limit in it, the list is empty; what could not be asked is one that is unknown."""
    if done is None:
        return [DiskQuota(mount=folder.mount, unknown=f"no command is known for {folder.kind or 'its file system'}")]
    if done.returncode is None:
        program = done.command.argv[0]
        why = f"no command {program!r} here" if "No such file" in done.stderr else done.words
        return [DiskQuota(mount=folder.mount, unknown=why)]
    found = _gpfs(done.stdout) if folder.kind == "gpfs" else _columns(done.stdout, folder)
    # The lines without a limit say what is used, and nothing about what is left.
    quotas = [_quota(folder, whose, *figures) for whose, figures in found]
    limited = [quota for quota in quotas if quota.limit is not None or quota.files_limit is not None]
    if not limited and not done.ok and done.stderr.strip():
        return [DiskQuota(mount=folder.mount, unknown=done.words.splitlines()[0])]
    return limited


_Figures = tuple[int, int, int, int, int, int]
"""KiB used, soft and hard limit; files, soft and hard limit. 0: no limit."""


def _columns(text: str, folder: Folder) -> Iterator[tuple[str, _Figures]]:
    """Read what ``quota`` and ``lfs quota`` print: the name, then used, quota, limit, grace, twice."""
    name = re.escape(folder.mount if folder.kind == "lustre" else folder.device)
    number = r"\[?(\d+)k?\]?\*?"  # a star: over the limit; brackets: not exact, a server is away
    half = rf"{number}\s+{number}\s+{number}\s+\S+"
    whose = "user"
    for part in re.split(r"(?=Disk quotas for )", text):
        if heading := re.match(r"Disk quotas for (\w+) ([^\s:]+)", part):
            whose = "group " + heading[2] if heading[1].startswith("g") else "user"
        for match in re.finditer(rf"^\s*{name}\s+{half}\s+{half}\s*$", part, re.MULTILINE):
            used, soft, hard, files, soft_files, hard_files = map(int, match.groups())
            yield whose, (used, soft, hard, files, soft_files, hard_files)


def _gpfs(text: str) -> Iterator[tuple[str, _Figures]]:
    """Read ``mmlsquota -Y``: rows of fields between colons, named by a header."""
    header: list[str] = []
    for line in text.splitlines():
        cells = line.split(":")
        if "HEADER" in cells:
            header = cells
            continue
        row = dict(zip(header, cells, strict=False))
        names = ("blockUsage", "blockQuota", "blockLimit", "filesUsage", "filesQuota", "filesLimit")
        values = [int(row[name]) for name in names if row.get(name, "").isdecimal()]
        if len(values) == len(names):
            used, soft, hard, files, soft_files, hard_files = values
            yield row.get("quotaType", "user").lower(), (used, soft, hard, files, soft_files, hard_files)


def _quota(
    folder: Folder, whose: str, used: int, soft: int, hard: int, files: int, soft_files: int, hard_files: int
) -> DiskQuota:
    return DiskQuota(
        mount=folder.mount,
        whose={"usr": "user", "grp": "group"}.get(whose, whose),
        used=Memory(used * 1024),
        # Over the soft one for a week, it holds as the hard one does.
        limit=Memory((soft or hard) * 1024) if soft or hard else None,
        files=files,
        files_limit=soft_files or hard_files or None,
    )
