"""What a job's log says about its end where Grid Engine's accounting does not: that memory could not be had."""

from __future__ import annotations

import re
from dataclasses import replace

from jobpool.model.job import Ending, EndingKind

__all__ = ["read_log"]

# Where h_vmem limits the address space, an allocation fails and nobody is killed: qacct says 0 and the exit code.
_NO_MEMORY = re.compile(
    r"^(MemoryError.*|.*[Cc]annot allocate memory.*|.*std::bad_alloc.*|.*failed to map segment from shared object.*)$",
    re.MULTILINE,
)

_RUN = re.compile(r"^.* jobpool\.agent job=.* begins$", re.MULTILINE)
"""The agent's first line. A job that ran again writes to the log of its run before."""


def read_log(ending: Ending, text: str) -> Ending:
    """Return the ending as the end of the job's log shows it: out of memory, where its last words say so."""
    if ending.kind is not EndingKind.FAILED:
        return ending
    run = text[list(_RUN.finditer(text))[-1].end() :] if _RUN.search(text) else text
    last = "\n".join(run.splitlines()[-5:])
    if (found := _NO_MEMORY.search(last)) is None:
        return ending
    return replace(ending, kind=EndingKind.OUT_OF_MEMORY, message=f"{ending.message}; its log: {found[0].strip()}")
