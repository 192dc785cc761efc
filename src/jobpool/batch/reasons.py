"""SLURM's reasons for a pending job, in plain words, with what can be done."""

from __future__ import annotations

import re

__all__ = ["explain_reason"]

_REASONS = {
    "None": "SLURM has not looked at the job yet.",
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
    "PartitionNodeLimit": "It asks for more nodes than the partition allows, so it will never start.",
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
    "MPIPortsBusy": "The ports for MPI are taken on its nodes; it starts when some are free.",
    "PowerNotAvail": "The site's power limit is reached; it waits until other jobs end.",
    "PowerReserved": "Power is reserved for others; it waits until that reservation ends.",
    "Licenses": "It waits for a licence; 'scontrol show licenses' tells which are in use.",
    "JobArrayTaskLimit": "As many elements of its array run as the array allows at once.",
    "Reservation": "It waits for its reservation to begin.",
    "ReservationDeleted": "Its reservation is gone, so it will never start; submit without it.",
    "InvalidReservation": "Its reservation does not exist or has ended; submit without it.",
    "NodeDown": "A node that it needs is down; it waits until the node is back.",
    "NodesDown": "Nodes that it needs are down; it waits until they are back.",
    "FrontEndDown": "No front-end node can start it; it waits until one is back.",
    "SystemFailure": "SLURM, the file system or the network failed; ask an administrator.",
    "JobLaunchFailure": "Its start failed; the log, or an administrator, knows why.",
    "Prolog": "The site's prolog script still prepares the node.",
    "Cleaning": "Its last run is still being cleaned up before it runs again.",
    "Preempted": "A job with more priority took its place; it waits to run again.",
    "SchedDefer": "SLURM defers starts to its next scheduling cycle.",
    "BurstBufferResources": "It waits for room in the burst buffer.",
    "BurstBufferStageIn": "Its data are being staged into the burst buffer.",
    "BurstBufferOperation": "An operation on its burst buffer failed; ask an administrator.",
    "DeadLine": "It can no longer end before its deadline, so it will not start.",
    "FedJobLock": "It waits for the clusters of the federation to agree on where it runs.",
    "InactiveLimit": "It reached the site's limit on inactivity.",
    "NonZeroExitCode": "Its last run ended with an exit code other than 0.",
    "OutOfMemory": "Its last run was killed for memory; ask for more.",
    "TimeLimit": "Its last run reached its walltime.",
    "NodeFail": "The node of its last run failed.",
    "MaxMemPerLimit": "It asks for more memory than the partition allows per CPU or node; ask for less.",
    "MaxRequeueExceeded": "It was requeued too often and is held; ask an administrator why its starts fail.",
    "launch_failed_requeued_held": "Its start failed and it is held; 'scontrol release JOB' tries again.",
    "job_requeued_in_held_state": "It was requeued and is held; 'scontrol release JOB' lets it go on.",
    "job_requeued_in_special_exit_state": "It was requeued and is held; 'scontrol release JOB' lets it go on.",
}

_OWNERS = {"QOS": "the QoS", "Assoc": "your account"}

_SCOPES = {
    "PerUser": "for each user",
    "PerAccount": "for each account",
    "PerJob": "for one job",
    "PerNode": "for one node",
}

_AMOUNTS = {
    "jobs": "jobs at once",
    "submitjob": "jobs in the queue",
    "submitjobs": "jobs in the queue",
    "cpu": "CPUs",
    "cpus": "CPUs",
    "mem": "memory",
    "memory": "memory",
    "node": "nodes",
    "nodes": "nodes",
    "gres": "GPUs",
    "wall": "walltime",
    "walldurationper": "walltime",
    "wallduration": "walltime",
    "cpuminutes": "CPU time",
    "cpurunminutes": "CPU time of running jobs",
    "memminutes": "memory time",
    "license": "licences",
    "billing": "billing units",
    "unknown": "a resource",
}


def explain_reason(reason: str) -> str:
    """Say in a plain sentence what a pending reason means and what can be done; the raw word when it is not known."""
    # Some come as text: "launch failed requeued held".
    if known := _REASONS.get(reason) or _REASONS.get(reason.replace(" ", "_")):
        return known
    if reason.startswith(("ReqNodeNotAvail", "Nodes required for job are")):
        return _explain_nodes(reason)
    return _explain_limit(reason) or reason


def _explain_nodes(reason: str) -> str:
    if "may be reserved" in reason.lower():
        return (
            "The nodes it could use are, or will be, reserved (maintenance?) before it could end; "
            "a shorter walltime may fit in before."
        )
    _, _, nodes = reason.partition("UnavailableNodes:")
    which = f" ({nodes.strip()})" if nodes.strip() else ""
    return f"Nodes that it needs are not available{which}: down, drained or reserved; it waits until they are back."


def _explain_limit(reason: str) -> str | None:
    """Explain ``QOSMaxJobsPerUserLimit``, ``AssocGrpCpuLimit`` and the hundred others that are built alike."""
    match = re.fullmatch(
        r"(QOS|Assoc)(Grp|Max|Min)?([A-Z][A-Za-z]*?)(Per(?:User|Account|Job|Node)|MinutesPerJob)?(?:Limit)?", reason
    )
    if not match:
        return None
    owner, bound, amount, scope = match.groups()
    what = _AMOUNTS.get(amount.lower(), amount)
    where = f" {_SCOPES[scope]}" if scope in _SCOPES else ""
    if bound == "Grp":
        return (
            f"The limit of {_OWNERS[owner]} on {what} of all its jobs together is reached; "
            "it waits until some of them end."
        )
    if bound == "Min":
        return f"It asks for less than {_OWNERS[owner]} demands ({what}); it will not start, so ask for more."
    if scope in ("PerJob", "PerNode", "MinutesPerJob") or amount.lower().startswith("wall"):
        return f"It asks for more {what} than {_OWNERS[owner]} allows{where}; it will not start, so ask for less."
    return f"The limit of {_OWNERS[owner]} on {what}{where} is reached; it waits until some of those jobs end."
