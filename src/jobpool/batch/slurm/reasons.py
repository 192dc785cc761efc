"""SLURM's reasons for a pending job, in plain words, with what can be done."""

from __future__ import annotations

import re

__all__ = ["explain_reason"]

_REASONS = {
    "None": "SLURM has not looked at the job yet; wait a minute.",
    "Resources": "It is next in line and waits until enough cores, memory or GPUs are free.",
    "Priority": "Other jobs are before it in the queue; shorter or smaller jobs may be fitted in earlier.",
    "JobHeldUser": "It is held by its owner; 'scontrol release JOB' lets it go on.",
    "JobHeldAdmin": "An administrator, or SLURM after a failed start, holds it; only an administrator can release it.",
    "JobHoldMaxRequeue": "It was requeued too often and is held; ask an administrator why its starts fail.",
    "Dependency": "It waits for another job to end.",
    "DependencyNeverSatisfied": "It waits for a job that can no longer end as needed; it will never start: cancel it.",
    "BeginTime": "Its start time has not come; a requeued job waits for about two minutes.",
    "PartitionTimeLimit": "Its walltime is longer than the partition allows, so it will never start; ask for less time "
    "or another partition.",
    "PartitionNodeLimit": "It asks for more nodes than the partition allows, or for one that is down; ask for less, or "
    "use another partition.",
    "PartitionConfig": "No node of the partition can hold it (cores, memory, features), so it will never start; "
    "ask for less or another partition.",
    "PartitionDown": "The partition is down; it waits until an administrator opens it, so try another partition.",
    "PartitionInactive": "The partition is inactive; it waits until an administrator opens it, so try another one.",
    "BadConstraints": "No node fits what it asks for; it will never start, so ask for less or another partition.",
    "AccountNotAllowed": "The account may not use this partition; use another account or partition.",
    "QOSNotAllowed": "The QoS may not be used with this account or partition; use another QoS.",
    "InvalidAccount": "The account does not exist or is not yours; 'sacctmgr show assoc user=$USER' lists yours.",
    "InvalidQOS": "The QoS does not exist or is not yours; 'sacctmgr show assoc user=$USER' lists yours.",
    "AccountingPolicy": "A limit of the account or the QoS is reached; 'sacctmgr show assoc user=$USER' lists yours.",
    "AssociationJobLimit": "Your account has as many jobs as it may; it waits until some of them end.",
    "AssociationResourceLimit": "Your account uses as much as it may; it waits until some of its jobs end.",
    "AssociationTimeLimit": "Your account has used its time, or the walltime is above its limit; ask for less.",
    "QOSJobLimit": "The QoS has as many jobs as it may; it waits until some of them end.",
    "QOSResourceLimit": "The QoS uses as much as it may; it waits until some of its jobs end.",
    "QOSTimeLimit": "The QoS has used its time, or the walltime is above its limit; ask for less, or use another QoS.",
    "QOSUsageThreshold": "The account used more than the QoS allows; use another QoS, or wait until that decays.",
    "Constraints": "No free node has the features that it asks for; it waits until one is free.",
    "NvidiaImexChannels": "All channels between the GPUs of several nodes are taken; it waits until some are free.",
    "MPIPortsBusy": "The ports for MPI are taken on its nodes; it starts when some are free.",
    "PowerNotAvail": "The site's power limit is reached; it waits until other jobs end.",
    "MaxPoweredUpNodes": "As many nodes as the site allows are powered up; it waits until some become free.",
    "PowerReserved": "Power is reserved for others; it waits until that reservation ends.",
    "Licenses": "It waits for a licence; 'scontrol show licenses' tells which are in use.",
    "JobArrayTaskLimit": "As many elements of its array run as the array allows at once; it waits until one ends.",
    "Reservation": "It waits for its reservation to begin.",
    "ReservationDeleted": "Its reservation is gone, so it will never start; submit without it.",
    "ReservationInvalid": "Its reservation does not exist or has ended; submit without it.",
    "NodeDown": "A node that it needs is down; it waits until the node is back.",
    "NodesDown": "Nodes that it needs are down; it waits until they are back.",
    "FrontEndDown": "No front-end node can start it; it waits until one is back.",
    "SystemFailure": "SLURM, the file system or the network failed; ask an administrator.",
    "JobLaunchFailure": "Its start failed; the log, or an administrator, knows why.",
    "Prolog": "The site's prolog script still prepares the node; it starts when that is done.",
    "Cleaning": "Its last run is still being cleaned up; it starts when that is done.",
    "Preempted": "A job with more priority took its place; it waits to run again.",
    "SchedDefer": "SLURM defers starts to its next scheduling cycle; wait a minute.",
    "BurstBufferResources": "It waits for room in the burst buffer.",
    "BurstBufferStageIn": "Its data are being staged into the burst buffer; it starts when they are there.",
    "BurstBufferOperation": "An operation on its burst buffer failed; ask an administrator.",
    "DeadLine": "It can no longer end before its deadline, so it will not start; submit it again without --deadline.",
    "FedJobLock": "It waits for the clusters of the federation to agree on where it runs.",
    "InactiveLimit": "It reached the site's limit on inactivity; submit it again.",
    "NonZeroExitCode": "Its last run ended with an exit code other than 0; its log tells more.",
    "RaisedSignal": "Its last run was ended by a signal; its log tells more.",
    "OutOfMemory": "Its last run was killed for memory; ask for more.",
    "TimeLimit": "Its last run reached its walltime; ask for more.",
    "NodeFail": "The node of its last run failed; it waits to run on another one.",
    "MaxMemPerLimit": "It asks for more memory than the partition allows per CPU or node; ask for less.",
    "MaxRequeueExceeded": "It was requeued too often and is held; ask an administrator why its starts fail.",
    "launch_failed_requeued_held": "Its start failed and SLURM holds it; an administrator knows why.",
    "job_requeued_in_held_state": "It was requeued and is held; 'scontrol release JOB' lets it go on.",
    "job_requeued_in_special_exit_state": "It was requeued and is held; 'scontrol release JOB' lets it go on.",
}

_KNOWN = {name.lower(): words for name, words in _REASONS.items()}
"""SLURM's versions differ in capitals: ``MPIPortsBusy``, ``MpiPortsBusy``."""

_SENTENCES = (
    ("not in group permitted", "Your groups may not use this partition; use another one."),
    ("Reservation .* was deleted", _REASONS["ReservationDeleted"]),
    ("Reservation .* (is invalid|has ended)", _REASONS["ReservationInvalid"]),
    ("requeued held", _REASONS["launch_failed_requeued_held"]),
    ("urst.?buffer", _REASONS["BurstBufferOperation"]),
    ("RaisedSignal", _REASONS["RaisedSignal"]),
)
"""Reasons that SLURM tells as text, with names and numbers in it."""

_LIMIT = re.compile(
    r"(QOS|Assoc)?(Grp|Max|Min)([A-Z][A-Za-z]*?)(Run)?(Minutes|Mins)?"
    r"(Per(?:User|Account|Job|Node))?(?:NotSatisfied)?(?:Limit)?"
)

_SCOPES = {
    "PerUser": " for each user",
    "PerAccount": " for each account",
    "PerJob": " for one job",
    "PerNode": " for one job on one node",
}

_AMOUNTS = {
    "jobs": "jobs at once",
    "submitjob": "jobs in the queue",
    "submitjobs": "jobs in the queue",
    "cpu": "CPUs",
    "mem": "memory",
    "memory": "memory",
    "node": "nodes",
    "gres": "GPUs",
    "wall": "walltime",
    "wallduration": "walltime",
    "license": "licences",
    "billing": "billing units",
    "bb": "burst buffer",
    "energy": "energy",
    "unknown": "a resource",
}

_OVER_TIME = {"cpu": "CPU time", "node": "node time", "gres": "GPU time", "license": "licence time"}


def explain_reason(reason: str) -> str:
    """Say in plain sentences what a pending reason means and what can be done; the raw word when it is not known."""
    # Some come as text: "launch failed requeued held".
    if known := _KNOWN.get(reason.lower()) or _KNOWN.get(reason.replace(" ", "_").lower()):
        return known
    if reason.startswith(("ReqNodeNotAvail", "Nodes required for job are")):
        return _explain_nodes(reason)
    sentence = next((words for pattern, words in _SENTENCES if re.search(pattern, reason)), None)
    return sentence or _explain_limit(reason) or reason


def _explain_nodes(reason: str) -> str:
    if reason.startswith("ReqNodeNotAvail") and "reserved" in reason.lower():
        return (
            "The nodes it could use are, or will be, reserved (maintenance?) before it could end; "
            "a shorter walltime may fit in before."
        )
    _, _, nodes = reason.partition("UnavailableNodes:")
    which = f" ({nodes.strip()})" if nodes.strip() else ""
    return f"Nodes that it needs are not available{which}: down, drained or reserved; it waits until they are back."


def _explain_limit(reason: str) -> str | None:
    """Explain ``QOSMaxJobsPerUserLimit``, ``AssocGrpCpuLimit`` and the hundred others that are built alike."""
    match = _LIMIT.fullmatch(reason)
    if not match:
        return None
    owner, bound, amount, running, minutes, scope = match.groups()
    whose, each = "your account" if owner == "Assoc" else "the QoS", _SCOPES.get(scope, "")
    what = _AMOUNTS.get(amount.lower(), amount)
    if minutes:
        what = _OVER_TIME.get(amount.lower(), f"{what} over time")
    if bound == "Min":
        return f"It asks for less than {whose} demands of {what}; it will not start, so ask for more."
    if running:
        return (
            f"Running jobs may use so much {what} yet that the limit of {whose}{each} is reached; it waits until "
            "some of that is used, and starts earlier with a shorter walltime."
        )
    if bound == "Grp" and (minutes or amount == "Wall"):
        return (
            f"What {whose} may use of {what} is used up, by past jobs too; it waits until that decays or is raised, so "
            "use another account or QoS, or ask who manages it."
        )
    if bound == "Grp":
        return f"The limit of {whose} on {what}, all its jobs together, is reached; it waits until some of them end."
    if minutes or scope in ("PerJob", "PerNode") or amount == "WallDuration":
        return f"It asks for more than {whose} allows of {what}{each}; it will not start, so ask for less."
    return f"The limit of {whose} on {what}{each} is reached; it waits until some of those jobs end."
