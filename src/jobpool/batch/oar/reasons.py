"""Why a job of OAR's waits: what its message says, in plain words, with what can be done."""

from __future__ import annotations

import re

__all__ = ["explain_reason", "reason_of"]

_SUMMARY = re.compile(r"R=\d*,W=[\d:]*,J=\w.*?(?: \((?P<said>.*)\))?")
"""``R=4,W=0:2:0,J=B,N=full-1 (Karma=0.000,quota_ok)``: what was asked for, and what the scheduler said of it."""

_REASONS = (
    (r"Hold", "It is held; 'oarresume JOB' lets it go on."),
    (
        r"dependency with the job",
        "It waits for another job to end. When that job was deleted or is held, it waits for ever: delete it.",
    ),
    (r"quota(?!_ok)", "A quota of its user, its project or its queue is reached; it waits until some jobs end."),
    (
        r"not? enough|cannot find enough|no suitable",
        "No resources fit now: those that would are down, or kept for others; ask for less, or for other properties.",
    ),
    (r"resources|scheduling OK", "It waits until enough resources are free; the scheduler has planned it for then."),
    (r"new", "The scheduler has not looked at it yet; it does so every few seconds."),
    (r"container", "It waits for the container job inside of which it runs; when that has ended, it never starts."),
    (r"token|license", "It waits for a token that other jobs hold."),
    (r"never run", "It cannot start in time any more, and OAR ends it."),
)


def reason_of(state: str, message: str) -> str:
    """Return the reason alone: the message without what the job has asked for."""
    if state == "Hold":
        return "Hold"
    if (match := _SUMMARY.fullmatch(message)) is None:
        return message
    said = re.sub(r"Karma ?= ?-?[\d.]+,?", "", match["said"] or "").strip(" ,")
    if not match["said"]:
        return "new"
    return "resources" if said in ("", "quota_ok") else said


def explain_reason(reason: str) -> str:
    """Say in plain sentences what it means. Empty: nothing is known of it."""
    return next((text for pattern, text in _REASONS if re.search(pattern, reason, re.IGNORECASE)), "")
