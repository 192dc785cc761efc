"""Nodes that fail again and again while others do well: later jobs avoid them.

A node gets a strike when a job comes to nothing there, when it fails under a job, and when a call's worker dies there.
A call that dies on a second node is to blame itself, and its strike on the first one is taken back. A result takes all
of a node's strikes away. Where every node fails, the fault is in the setup: nothing is avoided.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from jobpool.model.command import UNREACHABLE
from jobpool.model.job import Ending, EndingKind
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.site.check import partitions_of

__all__ = ["FORGET", "STRIKES", "BadNodes"]

STRIKES = 3
"""Calls or jobs in a row that fail on a node before it is avoided; once may be chance, twice a neighbour's."""

EMPTY_STRIKES = 2
"""Jobs in a row that come to nothing on the same node, and on no other: such a node is free when all others are full,
and would get all of a pool's jobs before anything else could be learned. One node only can be avoided for this."""

FORGET = 3600.0
"""Seconds after which a node is tried again: it may have been mended."""

_FAULTS = frozenset({EndingKind.NODE_FAILED, EndingKind.LAUNCH_FAILED, EndingKind.FAILED})
"""Endings that may be a node's fault. Others have a cause of their own."""


@dataclass(slots=True)
class _Node:
    strikes: set[Hashable] = field(default_factory=set)
    empty: set[Hashable] = field(default_factory=set)
    """Those of jobs that never served."""
    cut_off: bool = False
    """One of those found no way to the server, for most of a minute: nobody needs a second one."""
    served: bool = False
    """A call came back from it."""
    avoided_at: float | None = None

    def clear(self) -> None:
        """Forget its strikes."""
        self.strikes.clear()
        self.empty.clear()
        self.cut_off = False


class BadNodes:
    """What is known of the nodes where this pool's jobs ran."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nodes: dict[str, _Node] = {}
        self._crashes: dict[int, str | None] = {}
        """Calls whose worker died -> where; None: on more than one node."""

    def served(self, name: str | None) -> None:
        """Note that a call came back from a node."""
        if name is not None:
            node = self._of(name)
            node.served = True
            if node.strikes and node.avoided_at is None:
                node.clear()

    def crashed(self, name: str | None, call: int, request: Request, now: float) -> bool:
        """Note that a call's worker died on a node. Returns whether the node is avoided from now on."""
        if name is None:
            return False
        before = self._crashes.setdefault(call, name)
        if before != name:
            self._crashes[call] = None
            if before is not None:
                self._of(before).strikes.discard(call)
            return False
        self._of(name).strikes.add(call)
        return self._judge(name, request, now)

    def lost(
        self, name: str | None, job: Hashable, ending: Ending, request: Request, now: float, *, proven: bool
    ) -> bool:
        """Note that a job ended that was not told to. Returns whether its node is avoided from now on."""
        empty = not proven and ending.kind is not EndingKind.TIMED_OUT
        if name is None or not (empty or ending.kind in _FAULTS):
            return False
        node = self._of(name)
        node.strikes.add(job)
        if empty:
            node.empty.add(job)
            node.cut_off |= ending.exit_code == UNREACHABLE
        return self._judge(name, request, now)

    def avoided(self, now: float) -> tuple[str, ...]:
        """Return the nodes that jobs must not use."""
        for node in self._nodes.values():
            if node.avoided_at is not None and now - node.avoided_at >= FORGET:
                node.avoided_at = None
                node.clear()
        return tuple(name for name, node in self._nodes.items() if node.avoided_at is not None)

    def pardon(self) -> None:
        """Avoid no node any more: the batch system has no place for jobs that do."""
        for node in self._nodes.values():
            if node.avoided_at is not None:
                node.avoided_at = None
                node.clear()

    def strikes(self, name: str) -> int:
        """Return how many calls and jobs failed on a node since the last success there."""
        return len(self._of(name).strikes)

    def _of(self, name: str) -> _Node:
        return self._nodes.setdefault(name, _Node())

    def _judge(self, name: str, request: Request, now: float) -> bool:
        node = self._of(name)
        others = [other for other in self._nodes.values() if other is not node]
        others_serve = any(other.served and other.avoided_at is None for other in others)
        alone = not any(other.empty for other in others)
        bad = (len(node.strikes) >= STRIKES and others_serve) or (
            (node.cut_off or len(node.empty) >= EMPTY_STRIKES) and alone
        )
        if not bad or node.avoided_at is not None or len(self.avoided(now)) >= self._most(request, node):
            return False
        node.avoided_at = now
        return True

    def _most(self, request: Request, bad: _Node) -> int:
        """Return how many nodes may be avoided: half of those that a job could have, since the rest has to do."""
        partitions = partitions_of(request, self._limits)
        known = max((sum(shape.count for shape in partition.nodes) for partition in partitions), default=0)
        # Where the batch system does not tell its nodes, those that are known to be good.
        return known // 2 or sum(node.served for node in self._nodes.values() if node is not bad)
