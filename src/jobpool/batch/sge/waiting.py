"""Why jobs wait: what ``qstat -j`` tells of single jobs and elements, and of the whole cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

__all__ = ["Told", "is_dependency", "parse"]

_STAMP = re.compile(r"^\d\d/\d\d/\d{4} \d\d:\d\d:\d\d \[\d+:\d+\]: (error: )?")
"""When and by which process a start failed. Without it, jobs that failed alike are told of together."""

_NO_NEWS = (
    "not contained in its hard queue list",  # said of each queue that was not asked for
    "is in error state",  # the message of the failed start says more
    "is in hold state",  # the state says so
    "collecting of scheduler job information is turned off",
    "has no permission for cluster queue",  # said of each queue of others, whatever else keeps the job waiting
    "because it is disabled",
    "temporarily not available",
)
"""Messages that say nothing where there is another one."""

_SILENT = ("collecting of scheduler job information is turned off", "is in error state", "is in hold state")
"""Messages that are no reason in any case."""

_MOST = 3
"""Messages that one reason holds: a cluster with a thousand nodes has one about each."""


@dataclass(frozen=True, slots=True)
class Told:
    """The messages, by the number of the job."""

    errors: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Why starts failed, by number and element (1 where the job is no array)."""
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    everywhere: tuple[str, ...] = ()
    """About queues, whoever waits for them."""
    queues: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The queues that a job asked for. None: any."""

    def reason(self, number: str, task: int | None, *, error: bool) -> str:
        """Say why a job, or an element of an array, waits. Empty: nothing tells."""
        if error:
            first = (message for (job, _), message in self.errors.items() if job == number)
            return self.errors.get((number, task or 1)) or next(first, "")
        said = self.own.get(number, ())
        own = [message for message in said if not _is_one_of(message, _SILENT)]
        if said and not own:
            return ""  # the state says it
        telling = [message for message in own if not _is_one_of(message, _NO_NEWS)]
        found = telling or self._of_its_queues(number) or _last_resort(own)
        return "; ".join(list(dict.fromkeys(found))[:_MOST])

    def _of_its_queues(self, number: str) -> list[str]:
        asked = self.queues.get(number, ())
        return [
            message
            for message in self.everywhere
            if not _is_one_of(message, _SILENT)
            and (not asked or any(f'"{queue}@' in message or f'"{queue}"' in message for queue in asked))
        ]


def parse(text: str) -> Told:
    """Read the answer of ``qstat -j NAMES -xml``. What cannot be read tells nothing."""
    try:
        root = ElementTree.fromstring(text.replace("%lt;", "&lt;"))
    except ElementTree.ParseError:
        return Told()
    errors: dict[tuple[str, int], str] = {}
    queues: dict[str, tuple[str, ...]] = {}
    for job in root.iterfind("./djob_info/element"):
        number = job.findtext("JB_job_number", "")
        asked = (each.text or "" for each in job.iterfind("./JB_hard_queue_list//QR_name"))
        queues[number] = tuple(filter(None, asked))
        for task in job.iterfind("./JB_ja_tasks/*"):
            said = [each.text or "" for each in task.iterfind(".//QIM_message")]
            if said:
                errors[number, int(task.findtext("JAT_task_number", "1"))] = _STAMP.sub("", said[-1]).strip()
    own: dict[str, list[str]] = {}
    for entry in root.iterfind(".//SME_message_list/element"):
        for job in entry.iterfind(".//ULNG_value"):
            own.setdefault(job.text or "", []).append(entry.findtext("MES_message", ""))
    everywhere = [each.findtext("MES_message", "") for each in root.iterfind(".//SME_global_message_list/element")]
    return Told(errors, {number: tuple(said) for number, said in own.items()}, tuple(everywhere), queues)


def is_dependency(reason: str) -> bool:
    """Say whether a job is held since it waits for others."""
    return "job dependencies" in reason


def _is_one_of(message: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in message.lower() for phrase in phrases)


def _last_resort(own: list[str]) -> list[str]:
    return [message for message in own if "hard queue list" not in message] or own
