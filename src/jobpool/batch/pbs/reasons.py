"""PBS's reasons for a job that waits (its ``comment``), in plain words, with what can be done.

The sentences are those of OpenPBS's scheduler, most of which are there in all versions.
"""

from __future__ import annotations

import re

__all__ = ["explain_reason"]

_AMOUNT = re.compile(r"Insufficient amount of (?P<whose>queue |server )?resource: (?P<name>\S+)(?P<told>.*)")
_ROOM = re.compile(r"\(R: (?P<asked>\S+) A: (?P<free>\S+) T: (?P<all>\S+)\)")

_SENTENCES = (
    (
        "Queue not started",
        "The queue is stopped, and jobs wait in it until an administrator starts it; use another one.",
    ),
    ("Queue not an execution queue", "The queue only hands jobs on to others; ask for one of those."),
    ("eached.* on resource", "The limit on this resource is reached; it waits until some of those jobs end."),
    ("(User|user) has reached|per-user|for user", "You have as many jobs there as you may; it waits until some end."),
    (
        "(Group|group) has reached|per-group|for group",
        "Your group has as many jobs there as it may; it waits until some end.",
    ),
    ("(Project|project) has reached|per-project|for project", "The project has as many jobs as it may; it waits."),
    ("job limit (has been )?reached", "There are as many jobs there as there may be; it waits until some end."),
    (
        "job run limit|user run limit|group run limit",
        "Its nodes have as many jobs as they may; it waits until some end.",
    ),
    (
        "[Dd]edicated time",
        "The site keeps the machine for something else soon, before it could end; ask for less walltime.",
    ),
    ("primetime", "The queue's jobs run at certain hours only; it waits for them, or use another queue."),
    (
        "[Jj]ob (will|would) cross",
        "It could not end before the hours begin when other jobs run; ask for less walltime.",
    ),
    ("interfere with a.*reservation", "Nodes that it needs are reserved before it could end; ask for less walltime."),
    ("top job", "It would delay a job that is before it; one with less walltime may be fitted in earlier."),
    ("strict sorted order", "Jobs start here in their order; it waits for those before it."),
    ("fairshare", "You have no share of the machine here; ask who manages the shares, or use another account."),
    ("preempt enough", "It would have to push other jobs aside, and may not; it waits until some end."),
    ("pack placement", "No node is free that can hold all of it; it waits, or ask for less in one job."),
    ("requesting an exclusive node", "It asks for a node of its own, and none is empty; it waits for one."),
    ("placement set", "No group of nodes that are near each other can hold it; ask for less."),
    ("ineligible state|Nodes not available", "Nodes that it needs are down or offline; it waits until they are back."),
    ("right type of nodes", "Nodes of the kind that it asks for are taken; it waits until one is free."),
    (
        "Not enough (total|free) nodes available|No available resources on nodes",
        "No node is free, and up, that has all it asks for; it waits for one.",
    ),
    ("too many failed attempts", "Its starts failed 21 times, and PBS holds it; an administrator knows why."),
    ("Job held by", "Somebody holds it; 'qrls JOB' lets it go on."),
    ("[Pp]rovision", "Its node is to be set up anew, and cannot be now; ask an administrator."),
    ("Job Array Began", "Other elements of its array run; it starts when there is room for it."),
    ("does not exist", "It asks for something that is not there; it will not start: look at what it asks for."),
)
"""The first one that is found counts."""


def explain_reason(reason: str) -> str:
    """Say in plain sentences what a comment means and what can be done. Empty: nothing is known of it."""
    never = reason.startswith("Can Never Run")
    if (amount := _AMOUNT.search(reason)) is not None:
        return _amount(amount, never=never)
    words = next((words for pattern, words in _SENTENCES if re.search(pattern, reason)), "")
    if never:
        said = reason.partition(": ")[2].strip(". ")
        return f"It can never run here ({said or 'PBS does not say why'}); ask for less, or use another queue."
    return words


def _amount(found: re.Match[str], *, never: bool) -> str:
    name, room = found["name"], _ROOM.search(found["told"])
    where = {"queue ": "the queue", "server ": "the server"}.get(found["whose"] or "", "any node")
    if room is None:
        told = found["told"].strip(" ().")
        return (
            f"No node has the {name} that it asks for ({told}), so it {'never starts' if never else 'waits'}; look at "
            "constraint= and system_options="
        )
    amounts = f"{room['asked']} asked for, {room['free']} free, {room['all']} in all"
    if never:
        return f"It asks for more {name} than {where} has ({amounts}), so it never starts; ask for less."
    return f"It waits until enough {name} is free ({amounts})."
