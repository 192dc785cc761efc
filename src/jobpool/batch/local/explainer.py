"""What jobs of this machine tell people: nothing waits, and nothing is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobpool.batch.explainer import Explainer
from jobpool.model.job import JobId

__all__ = ["LocalExplainer", "make"]


def make() -> LocalExplainer:
    """Return what explains this machine to people."""
    return LocalExplainer()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExplainer(Explainer):
    """This machine as an :class:`~jobpool.batch.explainer.Explainer`."""

    def job_of_log(self, stem: str) -> tuple[str, JobId, int] | None:
        """Read ``SUBMISSION-INDEX``."""
        match = re.fullmatch(r"(jp-.+-\d+)-(\d+)", stem)
        return None if match is None else (match[1], JobId(f"{match[1]}.{match[2]}"), int(match[2]))
