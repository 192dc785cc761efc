"""What a tool uses of a pool. The executor, which stands above the tools, hands in the maker."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from jobpool.config.resolve import Settings
from jobpool.model.status import PoolStatus

__all__ = ["MakePool", "ToolPool"]


class ToolPool(Protocol):
    """The part of :class:`~jobpool.JobPoolExecutor` that tools use."""

    @property
    def settings(self) -> Settings:
        """What the pool is configured with."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Return the :class:`~jobpool.JobFuture` of a call."""

    def status(self) -> PoolStatus:
        """Say how the pool is."""

    def terminate_workers(self) -> None:
        """End everything at once."""


MakePool = Callable[..., ToolPool]
"""Makes a pool from the keywords of :class:`~jobpool.JobPoolExecutor`."""
