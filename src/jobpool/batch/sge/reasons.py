"""Why jobs wait, in plain sentences, from the scheduler's messages."""

from __future__ import annotations

import re

__all__ = ["explain_reason"]

_KNOWN: tuple[tuple[str, str], ...] = (
    (r"^h[A-Za-z]*w$", "It is held; 'qrls JOB' lets it go on, if you hold it."),
    (
        r"\(-l ([^)]*)\) cannot run (?:at host|globally|in queue) \"?([^\" ]*)\"? because it offers only (\S+)",
        "{1} has {2} left at the moment, which is less than -l {0}. It waits until running jobs give enough back. "
        "If no node has so much when it is empty, the job never starts: ask for less, and compare with 'qhost -F'.",
    ),
    (
        r"\(-l ([^)]*)\) cannot run in queue \"([^\"]*)\" because of cluster queue",
        "Queue {1} does not allow -l {0}: the job never starts there. Ask for less, or for another queue (partition=).",
    ),
    (
        r"cannot run in PE \"([^\"]*)\" because it only offers (\S+) slots",
        "The parallel environment {0} has room for {1} of the job's slots on one node now. If no node has so many, the "
        "job never starts: ask for fewer cores= or workers_per_job=.",
    ),
    (
        r"has no permission for cluster queue \"([^\"]*)\"",
        "Queue {0} is for other users: choose another one with partition=.",
    ),
    (
        r"queue instance \"([^\"]*)\" dropped because it is (disabled|suspended|overloaded|temporarily not available"
        r"|full)",
        "Queue {0} is {1} now: the job starts when it is back, or has room.",
    ),
    (
        r"cannot run because it exceeds limit \"([^\"]*)\" in rule \"([^\"]*)\"",
        "A resource quota is used up: rule {1}, for {0}. The job starts when running jobs that it counts have ended; "
        "'qquota' shows what is used.",
    ),
    (
        r"job dropped because of user limitations",
        "You have as many running jobs as the scheduler lets one user have (maxujobs): the job starts when one ends.",
    ),
    (
        r"not all array tasks may be started due to '?max_aj_instances",
        "The site lets so many elements of one array run at once, and no more (max_aj_instances); others start later.",
    ),
    (r"job dropped because of job dependencies", "It waits for the jobs that it was told to wait for (-hold_jid)."),
    (r"execution time not reached", "It was told not to start before a certain time (-a)."),
    (
        r"not contained in its hard queue list",
        "The queues that the job asked for (partition=) have no room, or do not take it.",
    ),
    (r"no suitable queues", "No queue would take the job even if the cluster were empty: check the request."),
    (
        r"can't open output file",
        "The node could not open the job's log: its folder must be there on all nodes (log_directory=).",
    ),
    (r"can't chdir to", "The working directory is not there on the node: start the pool in a folder that nodes see."),
    (r"exit_status of job start = 100", "The script ended with 100, which makes Grid Engine hold the job for good."),
    (r"can't find shell|searching requested shell|unable to find shell", "The node has no /bin/bash."),
)


def explain_reason(reason: str) -> str:
    """Say in plain sentences what the messages mean and what can be done. Empty: none of them is known."""
    told = (_explained(part) for part in reason.split("; "))
    return " ".join(dict.fromkeys(filter(None, told)))


def _explained(message: str) -> str:
    for pattern, sentence in _KNOWN:
        if match := re.search(pattern, message):
            return sentence.format(*match.groups())
    return ""
