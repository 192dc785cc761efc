"""What SLURM's accounting leaves a user: the limits that hold for account and QoS, and how much of each is used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jobpool.batch.slurm import environment
from jobpool.batch.slurm.fields import Fields, fields_of
from jobpool.model.command import Command, Completed
from jobpool.model.site import Quota

__all__ = ["Used", "command", "parse"]

Used = tuple[str, float, float]
"""What is limited and for whom (``CPU minutes (account 'bio')``), the limit, and how much is used."""

_PATIENCE = 10.0
"""Seconds. The controller may have thousands of accounts to print."""

_COUNTS = {
    "GrpJobs": "jobs at once",
    "GrpSubmitJobs": "jobs in the queue",
    "GrpWall": "minutes of walltime",
    "MaxJobs": "jobs at once",
    "MaxSubmitJobs": "jobs in the queue",
}

_AMOUNTS = {
    "cpu": ("CPUs", "CPU minutes"),
    "mem": ("MiB", "MiB minutes"),
    "node": ("nodes", "node minutes"),
    "gres/gpu": ("GPUs", "GPU minutes"),
    "billing": ("billing units", "billing minutes"),
}


def command(user: str) -> Command:
    """Make the command. It asks the controller and not the database: what is used counts there."""
    argv = ("scontrol", "--oneliner", "show", "assoc_mgr", "flags=assoc,qos", f"users={user}")
    return environment.command(*argv, timeout=_PATIENCE)


def parse(
    done: Completed, *, user: str, uid: int, account: str | None, qos: Sequence[Quota]
) -> tuple[Used, ...] | None:
    """Read its answer, for jobs that are charged to this account and run under these QoS. None: it does not say."""
    if not done.ok or "Association Manager" not in done.stdout:
        return None
    lines = done.stdout.splitlines()
    rows = [fields_of(line) for line in lines if line.startswith("ClusterName=")]
    found = list(_of_account(rows, user, account))
    for quota in qos:
        line = next((line for line in lines if line.startswith(f"QOS={quota.name}(")), "")
        found += _of_qos(line, quota, uid, account)
    return tuple(dict.fromkeys(found))


def _of_account(rows: Sequence[Fields], user: str, account: str | None) -> Iterator[Used]:
    """Yield what holds for the user in the account, and for it and all above it."""
    mine = [row for row in rows if row.get("UserName", "").partition("(")[0] == user]
    if account is None:
        account = next((row["Account"] for row in mine if row.get("DefAssoc") == "Yes"), None)
    for row in mine:
        if row.get("Account") == account:
            yield from _limits(row, f"you, account {account!r}")
    above = {row["Account"]: row for row in rows if row.get("Account") and not row.get("UserName")}
    while account and account in above:
        row = above.pop(account)
        yield from _limits(row, f"account {account!r}")
        account = row.get("ParentAccount", "").partition("(")[0]


def _of_qos(line: str, quota: Quota, uid: int, account: str | None) -> Iterator[Used]:
    name = f"QoS {quota.name!r}"
    head, _, users = line.partition("User Limits=")
    head, _, accounts = head.partition("Account Limits=")
    yield from _limits(fields_of(head), name)
    if account is not None:
        yield from _limits(_block(accounts, re.escape(account)), f"account {account!r}, {name}")
    mine = _block(users, rf"(?:[^\s=]*\()?{uid}\)?")
    yield from _limits(mine, f"you, {name}")
    if not mine:  # it keeps no figures of those who have no jobs
        for limit, what in ((quota.max_jobs, "jobs at once"), (quota.max_submit, "jobs in the queue")):
            if limit is not None:
                yield f"{what} (you, {name})", limit, 0.0


def _block(text: str, owner: str) -> Fields:
    """Read ``0={MaxJobsPU=2(1) MaxTRESPU=cpu=N(2)}`` as fields with the names that limits of accounts have."""
    match = re.search(rf"(?:^|\s){owner}=\{{([^}}]*)\}}", text)
    fields = fields_of(match[1] if match else "")
    return {name.removesuffix("PU").removesuffix("PA"): value for name, value in fields.items()}


def _limits(fields: Fields, whose: str) -> Iterator[Used]:
    for name, what in _COUNTS.items():
        if (both := _limit_and_used(fields.get(name, ""))) is not None:
            yield f"{what} ({whose})", *both
    for name in ("GrpTRES", "MaxTRES", "GrpTRESMins", "GrpTRESRunMins"):
        for amount, value in (part.partition("=")[::2] for part in fields.get(name, "").split(",")):
            if amount in _AMOUNTS and (both := _limit_and_used(value)) is not None:
                yield f"{_words(name, amount)} ({whose})", *both


def _words(name: str, amount: str) -> str:
    plain, over_time = _AMOUNTS[amount]
    if not name.endswith("Mins"):
        return f"{plain} at once"
    return over_time + (" that running jobs have left" if "Run" in name else "")


def _limit_and_used(text: str) -> tuple[float, float] | None:
    """Read ``1000(12)``. ``N(12)`` is no limit."""
    match = re.fullmatch(r"(\d{1,18})\((\d{1,18}(?:\.\d+)?)\)", text)
    return None if match is None else (float(match[1]), float(match[2]))
