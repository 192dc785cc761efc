"""Who the user is to SLURM: groups, accounts, QoS with their limits; and the reservations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from jobpool.batch.slurm.environment import command
from jobpool.batch.slurm.fields import Fields, count, fields_of, names, time, word
from jobpool.model.command import Command
from jobpool.model.site import Account, Accounting, Amounts, Quota, Reservation, User
from jobpool.model.units import Duration, Memory

__all__ = ["commands", "parse_accounting", "parse_reservations", "parse_user"]

_QOS = (
    "Name", "Flags", "MaxWall", "MaxJobsPU", "MaxSubmitPU", "MaxTRES", "MaxTRESPerNode", "MinTRES", "MaxTRESPU",
    "GrpTRES",
)  # fmt: skip
_USER = (
    "Cluster", "DefaultAccount", "Account", "Partition", "QOS", "DefaultQOS", "MaxWall", "MaxJobs", "MaxSubmit",
    "MaxTRES", "MaxTRESPerNode", "GrpTRES",
)  # fmt: skip

_PATIENCE = 10.0
"""Seconds. A database that hangs must not hold up a pool: what it would say is then unknown."""


def commands(user: str) -> tuple[Command, ...]:
    """Make the commands: groups, reservations, QoS, and the accounts of this user."""
    return (
        command("id", user, timeout=_PATIENCE),
        command("scontrol", "--oneliner", "show", "reservation"),
        command("sacctmgr", "--noheader", "--parsable2", "show", "qos", f"format={','.join(_QOS)}", timeout=_PATIENCE),
        command(
            "sacctmgr",
            "--noheader",
            "--parsable2",
            "show",
            "user",
            user,
            "withassoc",
            f"format={','.join(_USER)}",
            timeout=_PATIENCE,
        ),
    )


def parse_user(text: str, config: Fields) -> User | None:
    """Read ``uid=1(ann) gid=1(ann) groups=1(ann),2(bio)``."""
    match = re.match(r"uid=(\d+)\(([^)]*)\)", text)
    if not match:
        return None
    groups = text.partition("groups=")[2]
    slurm_user = re.match(r"([^(]+)\(", config.get("SlurmUser", ""))
    return User(
        name=match[2],
        groups=tuple(re.findall(r"\(([^)]*)\)", groups)),
        privileged=match[1] == "0" or (slurm_user is not None and slurm_user[1] == match[2]),
    )


def parse_reservations(text: str, config: str) -> tuple[Reservation, ...]:
    """Read all reservations; times are counted from when the controller printed its configuration."""
    stamp = re.search(r"^Configuration data as of (\S+)", config, re.MULTILINE)
    now = _moment(stamp[1]) if stamp else None

    def ahead(fields: Fields, key: str) -> Duration | None:
        moment = _moment(fields.get(key, ""))
        return None if moment is None or now is None else Duration(max(0.0, (moment - now).total_seconds()))

    return tuple(
        Reservation(
            name=fields["ReservationName"],
            users=names(fields.get("Users", "")),
            groups=names(fields.get("Groups", "")),
            accounts=names(fields.get("Accounts", "")),
            partition=word(fields.get("PartitionName", "")),
            node_names=word(fields.get("Nodes", "")) or "",
            starts_in=ahead(fields, "StartTime"),
            ends_in=ahead(fields, "EndTime"),
        )
        for fields in map(fields_of, text.splitlines())
        if fields.get("ReservationName")
    )


def parse_accounting(qos: str, user: str, config: Fields) -> Accounting:
    """Read the user's accounts and all QoS."""
    enforced = config.get("AccountingStorageEnforce", "").split(",")
    # One database may serve several clusters, with other accounts on each.
    here = config.get("ClusterName", "").lower()
    rows = [row for row in _rows(user, _USER) if row["Cluster"].lower() == here]
    return Accounting(
        default_account=next((row["DefaultAccount"] for row in rows if row["DefaultAccount"]), None),
        accounts=tuple(
            Account(
                name=row["Account"],
                partition=word(row["Partition"]),
                qos=names(row["QOS"]),
                default_qos=word(row["DefaultQOS"]),
                quota=_quota(row, f"account {row['Account']!r}", jobs="MaxJobs", submit="MaxSubmit"),
            )
            for row in rows
            if row["Account"]
        ),
        qos=tuple(_quota(row, row["Name"], jobs="MaxJobsPU", submit="MaxSubmitPU") for row in _rows(qos, _QOS)),
        enforces_accounts="associations" in enforced,
        enforces_limits="limits" in enforced,
        enforces_qos="qos" in enforced,
    )


def _quota(row: Fields, name: str, *, jobs: str, submit: str) -> Quota:
    return Quota(
        name=name,
        max_time=time(row["MaxWall"]),
        max_jobs=count(row[jobs]),
        max_submit=count(row[submit]),
        per_job=_amounts(row["MaxTRES"]),
        per_node=_amounts(row["MaxTRESPerNode"]),
        at_least=_amounts(row.get("MinTRES", "")),
        together=_amounts(row.get("MaxTRESPU", "")),
        of_all=_amounts(row["GrpTRES"]),
        over_partition="OverPartQOS" in row.get("Flags", ""),
    )


def _rows(text: str, columns: tuple[str, ...]) -> Iterator[Fields]:
    for line in text.splitlines():
        cells = line.split("|")
        if len(cells) == len(columns):
            yield dict(zip(columns, cells, strict=True))


def _amounts(text: str) -> Amounts:
    """Read ``cpu=8,gres/gpu=2,mem=4G``."""
    pairs = dict(part.partition("=")[::2] for part in text.split(",") if "=" in part)
    return Amounts(
        cpus=count(pairs.get("cpu", "")), memory=_size(pairs.get("mem", "")), gpus=count(pairs.get("gres/gpu", ""))
    )


def _size(text: str) -> Memory | None:
    """Read ``4G``, ``1.5T``, ``500M``, or a number of MiB."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([KMGTP]?)", text)
    if not match:
        return None
    return Memory(float(match[1]) * 2 ** {"K": 10, "": 20, "M": 20, "G": 30, "T": 40, "P": 50}[match[2]])


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
