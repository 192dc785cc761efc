"""HTCondor's reasons for a job that waits, or is held, in plain words, with what can be done."""

from __future__ import annotations

import re

__all__ = ["explain_reason"]

_REASONS = (
    (
        "no match found",
        "No machine of the pool has room for it now, or none ever will: 'condor_q -better-analyze JOB' counts the "
        "slots that meet each of its requirements; where a line shows 0, ask for less of that.",
    ),
    (
        "concurrency limit (.*?) reached",
        "As many jobs as the pool allows hold the limit {0!r}; it waits until one of them ends.",
    ),
    (
        "insufficient priority|submitter limit exceeded|priority",
        "You, or your accounting group, use your share of the pool; it waits until others, or your own jobs, end. "
        "'condor_userprio' shows the shares.",
    ),
    (
        "group quota|over quota|quota",
        "Your accounting group uses all of its quota; it waits until jobs of the group end, so use another group, or "
        "ask who manages it.",
    ),
    (
        "preemption|PREEMPTION_REQUIREMENTS",
        "All machines that fit run other jobs, which it may not displace; it waits.",
    ),
    (
        "exceeded allowed (job|execute) duration",
        "It ran as long as its walltime allows, and was held for it; ask for more walltime.",
    ),
    (
        "memory usage exceeded|memory",
        "It used more memory than it asked for, and was held for it; ask for more.",
    ),
    (
        "Failed to open .* as standard output",
        "The directory of its log is not there on the machine, or cannot be written; choose another log_directory.",
    ),
    (
        "Failed to execute",
        "Its program cannot be run on the machine; an administrator, or another machine (exclude=), helps.",
    ),
    (
        "Cannot access initial working directory|Failed to .*working directory|[Ii]wd",
        "The directory that it shall run in is not there on the machine; make the pool in one that all machines have.",
    ),
    (
        "submitted on hold|via condor_hold",
        "Somebody holds it; 'condor_release JOB' lets it go on.",
    ),
    (
        "Transfer (in|out)put files failure|transfer",
        "Its files could not be sent to the machine, or back; an administrator knows why.",
    ),
    (
        "disconnected too long",
        "The machine was not heard of for too long; its calls run again in another job.",
    ),
)
"""Patterns of what LastRejMatchReason and HoldReason say, with the words for each."""


def explain_reason(reason: str) -> str:
    """Say in plain sentences what a reason means and what can be done. Empty: nothing is known of it."""
    for pattern, words in _REASONS:
        if match := re.search(pattern, reason):
            return words.format(*match.groups()) if "{" in words else words
    return ""
