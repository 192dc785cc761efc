"""What the site would refuse is refused before anything is asked of it."""

from __future__ import annotations

from jobpool.model.errors import RequestRefused
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.site.check import check, fitting

__all__ = ["refuse_what_cannot_run"]


def refuse_what_cannot_run(request: Request, limits: Limits) -> None:
    """Raise ``RequestRefused`` with all reasons when the site's limits say that this request would not run."""
    if problems := [str(problem) for problem in check(request, limits)]:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise RequestRefused(
            f"the batch system would refuse this request, or never start it:\n{listed}",
            problems=problems,
            advice=_where_it_fits(request, limits),
        )


def _where_it_fits(request: Request, limits: Limits) -> str | None:
    names = [fit.partition for fit in fitting(request, limits)]
    return f"it fits, as it is, in partition {', '.join(names)} (fastest start first)" if names else None
