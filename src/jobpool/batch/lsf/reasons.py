"""LSF's reasons for a pending job, in plain words, with what can be done."""

from __future__ import annotations

import re

__all__ = ["explain_reason"]

_REASONS = (
    ("New job is waiting for scheduling", "LSF has not looked at the job yet; wait a minute."),
    (
        "resource requirements not satisfied",
        "No host has what it asks for free now (memory, cores, features); it waits, and never starts where no host has "
        "so much: 'jobpool check' tells.",
    ),
    (
        "requirements? for resource reservation not satisfied|for reserving resource",
        "What it reserves, memory for example, is not free on any host; it waits until it is.",
    ),
    (
        "spanning requirement",
        "No host has so many job slots free at once; it waits, and never starts where no host has so many.",
    ),
    ("Not enough (job )?slots?|Not enough job slot", "It waits until enough job slots are free."),
    (
        "job array has reached its (job slot|running element) limit",
        "As many elements of its array run as the array allows at once; it waits until one ends.",
    ),
    (
        "user's groups? has reached|One of (the )?user's groups",
        "Your group uses as many job slots as it may; it waits until some of its jobs end.",
    ),
    (
        "will not finish",
        "It would not end before the queue's window closes, or its deadline; ask for less walltime.",
    ),
    (
        "queue has reached its (job slot|.*slot) limit",
        "All slots that the queue may use are taken; it waits until some of its jobs end, or use another queue.",
    ),
    (
        r"per-user job slot limit|user has reached (his/her|the per-user|its) .*limit|User's .*limit",
        "You use as many job slots as you may; it waits until some of your jobs end.",
    ),
    (
        "not enough job slots for the parallel job|enough .*slots of the queue",
        "It asks for more job slots than you, or the queue, may have at once; ask for fewer cores, or another queue.",
    ),
    (
        "queue is inactivated by the administrator",
        "The queue is inactive; it waits until an administrator opens it, so try another queue.",
    ),
    (
        "queue is inactivated by its time windows|windows? closed|windows? .*(is|are) closed",
        "The queue runs jobs at certain times only; it waits until its next window, which 'bqueues -l' shows.",
    ),
    (
        "dependency condition (is )?invalid or never satisfied",
        "It waits for a job that can no longer end as needed: cancel it.",
    ),
    ("dependency condition not satisfied", "It waits for another job to end."),
    ("specified start time", "Its start time has not come."),
    (
        "suspended by (the )?LSF admin or root",
        "An administrator holds it; ask for the reason, and for 'bresume' of it.",
    ),
    (
        "suspended by (the )?user while pending|was suspended by the user",
        "It is held by its owner; 'bresume JOB' lets it go on.",
    ),
    (
        "pre-exec command exited",
        "A program that the site runs before jobs has failed on the host; an administrator knows why.",
    ),
    (
        "Unable to (access job file|set job's environment|determine job's home|open job's I/O|determine user account)"
        "|execution initialization failed|no such user account",
        "Its start failed; LSF tries it again. Look whether your directories are there on the hosts, or ask an "
        "administrator.",
    ),
    ("Closed by LSF administrator", "Hosts are closed by an administrator; it waits until they are open again."),
    (
        "Load information unavailable|LIM is unreachable|Unable to reach slave batch server",
        "Hosts do not answer; it waits until they are back.",
    ),
    (
        "[Ll]oad threshold reached|load exceeded threshold",
        "The hosts that it could use are too busy; it waits until their load falls.",
    ),
    ("Not specified in job submission|Not usable to the queue", "Other hosts are not for this job or queue."),
    (
        "Running an exclusive job|exclusive execution not satisfied",
        "It needs a host for itself, or its hosts run jobs that do; it waits.",
    ),
    (
        "Not the same type as the submission host",
        "Hosts of another type are left out; write select[type==any] if any will do.",
    ),
    (
        "[Ff]airshare|lower priority|Higher or equal priority",
        "Other jobs are before it in the queue; shorter or smaller jobs may be fitted in earlier.",
    ),
    ("rescheduling|re-scheduling|waiting for scheduling after", "It waits to be looked at again; wait a minute."),
    ("License|token", "It waits for a licence."),
    (
        "resource limit defined .*has been reached|Resource limit|allocation limit",
        "A limit of the site on what users, projects or queues may use at once is reached; 'blimits' shows it.",
    ),
    ("Just started a job recently", "Its hosts have just begun a job; it starts in a moment."),
    ("Job slot limit reached", "All job slots of the hosts are taken; it waits until some jobs end."),
)
"""In its versions the words differ a little; ``: 2 hosts`` may follow each. The first that is found counts."""


def explain_reason(reason: str) -> str:
    """Say in plain sentences what a pending reason means and what can be done. Empty: nothing is known of it.

    LSF gives one reason for each sort of hosts; each is explained once.
    """
    found = dict.fromkeys(words for part in re.split(r";\s*", reason) if (words := _words(part)))
    return " ".join(found)


def _words(reason: str) -> str:
    return next((words for pattern, words in _REASONS if re.search(pattern, reason, re.IGNORECASE)), "")
