"""What the commands for quotas print, read."""

from __future__ import annotations

import pytest

from jobpool.diagnose.facts import DiskQuota, Folder
from jobpool.diagnose.quotas import command_for, read_quotas
from jobpool.model.command import Completed
from jobpool.model.units import Memory

MIB = 2**20

HOME = Folder(path="/home/ann", kind="nfs4", mount="/home", device="filer:/export/home")
LUSTRE = Folder(path="/scratch/ann", kind="lustre", mount="/scratch", device="mds@tcp:/fs")
GPFS = Folder(path="/gpfs/ann", kind="gpfs", mount="/gpfs", device="/dev/fs1")

QUOTA = """\
Disk quotas for user ann (uid 1001):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
filer:/export/home  1048576* 1024000 2048000 1732280000    3210       0       0       0
      /dev/sdb1       4       0       0       0       2       0       0       0
Disk quotas for group bio (gid 2001):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
filer:/export/home  3072000       0 4096000       0   90000   80000  100000       0
"""

LFS = """\
Disk quotas for usr ann (uid 1001):
      Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
        /scratch [2048]*       0    4096       -      7*       5      10       -
uid 1001 is using default file quota setting
Disk quotas for grp bio (gid 2001):
      Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
        /scratch    9999       0       0       -       7       0       0       -
"""

MMLSQUOTA = """\
mmlsquota::HEADER:version:reserved:reserved:filesystemName:quotaType:id:name:blockUsage:blockQuota:blockLimit:\
blockInDoubt:blockGrace:filesUsage:filesQuota:filesLimit:filesInDoubt:filesGrace:remarks:quota:defQuota:fid:filesetname:
mmlsquota::0:1:::fs1:USR:1001:ann:1024:10240:20480:0:none:5:0:0:0:none::on:off:::
mmlsquota::0:1:::fs1:USR:1001:ann:4096:0:0:0:none:5:0:0:0:none::on:off:3:set3:
"""


def quota(folder: Folder, whose: str, used: int, limit: int | None, files: int, files_limit: int | None) -> DiskQuota:
    most = None if limit is None else Memory(limit * 1024)
    return DiskQuota(
        mount=folder.mount, whose=whose, used=Memory(used * 1024), limit=most, files=files, files_limit=files_limit
    )


@pytest.mark.parametrize(
    ("folder", "stdout", "returncode", "expected"),
    [
        # Over the soft limit the command's exit code is 1.
        (HOME, QUOTA, 1, [("user", 1048576, 1024000, 3210, None), ("group bio", 3072000, 4096000, 90000, 80000)]),
        (LUSTRE, LFS, 0, [("user", 2048, 4096, 7, 5)]),
        (LUSTRE, LFS.replace("/scratch ", "/scratch\n "), 0, [("user", 2048, 4096, 7, 5)]),
        (GPFS, MMLSQUOTA, 0, [("user", 1024, 10240, 5, None)]),
        (HOME, "", 1, []),
        (LUSTRE, "what is this", 0, []),
    ],
)
def test_quotas_are_read(
    folder: Folder, stdout: str, returncode: int, expected: list[tuple[str, int, int | None, int, int | None]]
) -> None:
    command = command_for(folder, "ann")
    assert command is not None
    done = Completed(command, returncode, stdout)
    assert read_quotas(folder, done) == [quota(folder, *each) for each in expected]


def test_what_cannot_be_asked_is_unknown_and_says_why() -> None:
    command = command_for(HOME, "ann")
    assert command is not None
    missing = Completed(command, None, stderr="quota: [Errno 2] No such file or directory: 'quota'")
    slow = Completed(command, None, stderr="quota: timed out after 10 seconds")
    refused = Completed(command, 1, stderr="quota: error while getting quota from filer:/export/home: Refused\nmore")
    assert [each.unknown for done in (missing, slow, refused) for each in read_quotas(HOME, done)] == [
        "no command 'quota' here",
        "quota: timed out after 10 seconds",
        "quota: error while getting quota from filer:/export/home: Refused",
    ]
    odd = Folder(path="/x", kind="beegfs", mount="/x")
    assert command_for(odd, "ann") is None
    assert [each.unknown for each in read_quotas(odd, None)] == ["no command is known for beegfs"]
