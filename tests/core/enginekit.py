"""Pools in a simulated cluster, for whole stories."""

from __future__ import annotations

from typing import TypeVar

from jobpool.core import actions as act
from jobpool.core.actions import Action
from jobpool.core.settings import CoreSettings
from jobpool.model.request import Request
from jobpool.testing.simulation import Simulation

A = TypeVar("A", bound=Action)


def pool(*, max_workers: int = 4, request: Request | None = None, **more: object) -> Simulation:
    settings = CoreSettings(pool="t", max_workers=max_workers, request=request or Request(), **more)  # type: ignore[arg-type]
    return Simulation(settings)


def actions(sim: Simulation, kind: type[A]) -> list[A]:
    return [action for action in sim.actions if isinstance(action, kind)]


def serving(sim: Simulation, count: int) -> None:
    """Run until so many agents are connected and known."""
    assert sim.run(120, until=lambda: [view.state for view in sim.core.snapshot().jobs].count("serving") == count)


def states(sim: Simulation) -> list[str]:
    return [view.state for view in sim.core.snapshot().jobs]


def finish(sim: Simulation) -> None:
    sim.shut_down()
    assert sim.run(120, until=lambda: sim.finished is not None)
    assert sim.finished == act.Finished()
    assert not sim.queue
