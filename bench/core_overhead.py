"""What the core itself costs: microseconds of CPU per no-op call, from CallsArrived to Resolve.

The agents answer at once, so that nothing but the core's own work is measured. The target is 10 us per call.
"""

from __future__ import annotations

import sys
import time
from collections import deque

import _common

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.events import Hello, JobKey
from jobpool.core.settings import CoreSettings
from jobpool.core.steps.engine import Core
from jobpool.model.call import Call, Outcome, Usage
from jobpool.model.job import JobId
from jobpool.model.units import Memory

WALL = 20e-6
"""Seconds that a call is said to take."""


def run(calls: int, workers: int) -> tuple[float, int]:
    """Return the seconds in the core, and the number of bundles."""
    core = Core(settings=CoreSettings(pool="bench", max_workers=workers), now=0.0)
    made = tuple(Call(id, "f", b"x" * 50) for id in range(calls))
    usage = Usage(wall=WALL, cpu=WALL, peak_memory=Memory(0), threads=1)
    outcomes = {call.id: Outcome(call.id, True, b"", usage) for call in made}
    spent, now, bundles, resolved = 0.0, 0.0, 0, 0
    events: deque[ev.Event] = deque([ev.CallsArrived(0.0, made)])
    while events:
        event = events.popleft()
        begin = time.process_time()
        actions = core.handle(event)
        core.next_tick()
        spent += time.process_time() - begin
        now += 1e-4
        for action in actions:
            match action:
                case act.SubmitJobs(submission=name, count=count):
                    ids = tuple(JobId(str(element)) for element in range(count))
                    events.append(ev.JobsSubmitted(now, name, ids))
                    for element in range(count):
                        hello = Hello(job=JobKey(name, element), id=ids[element], node="n", workers=1, pid=element + 1)
                        events.append(ev.AgentJoined(now, hello))
                case act.SendBundle(job=key, calls=sent):
                    bundles += 1
                    events.append(ev.CallsStarted(now, key, tuple(call.id for call in sent)))
                    events.append(ev.CallsDone(now, key, tuple(outcomes[call.id] for call in sent)))
                case act.Resolve(outcomes=given):
                    resolved += len(given)
                case _:
                    pass
    if resolved != calls:
        raise SystemExit(f"{resolved} of {calls} calls came back")
    return spent, bundles


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(
        __doc__, {}, argv, quick={"repeats": 1, "calls": 10_000}, repeats=3, calls=100_000, workers=20
    )
    calls, workers = options.calls, options.workers
    seconds, bundles = min(run(calls, workers) for _ in range(options.repeats))
    print(
        f"{calls} calls, {workers} workers: {seconds / calls * 1e6:.2f} us of CPU per call in the core, "
        f"{bundles} bundles of {calls / bundles:.0f} calls on average"
    )
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
