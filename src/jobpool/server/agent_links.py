"""Everything that is said to the agents, and what they say as events.

An agent's first words are its versions; it hears whether it is wanted and what its workers are like. When they run it
says hello, and from then on it gets bundles, on the same link.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import assert_never

from msgspec.structs import replace

from jobpool.core import events as e
from jobpool.host.told_once import first_time
from jobpool.host.versions import compare_versions
from jobpool.model.call import Call
from jobpool.model.errors import PoolBroken, from_data
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.serialize.checkpoint_resume import PICKLED, RESUME
from jobpool.server.spec import Spec
from jobpool.transport.frames import WireError
from jobpool.transport.link import Link, in_parts
from jobpool.transport.messages.agent import (
    AgentBye,
    AgentHello,
    AgentSettings,
    AgentToServer,
    Bundle,
    Cut,
    Died,
    Done,
    JoinDask,
    Leaving,
    NodeWarning,
    NotWanted,
    Ping,
    Pong,
    Ready,
    Returned,
    ServerToAgent,
    SlotsTaken,
    Started,
    StopAgent,
    Suspended,
    Trouble,
    WentOn,
)
from jobpool.transport.messages.base import Checkpointed, Function, Functions, Remark

__all__ = ["GRACE_SHARE", "AgentLinks"]

log = logging.getLogger("jobpool.server.agent_links")

GRACE = 20.0
"""Seconds that an agent may wait for checkpoints after the batch system's signal. Where it is killed sooner, and nobody
could tell, it is killed while it waits: that costs nothing that has come by then."""

GRACE_SHARE = 0.8
"""Part of the time between the signal and the kill that it may wait: the rest is for its last words."""

PING = 30.0
"""Seconds between two questions to an agent whether it lives. All it costs is a message of some bytes."""

SILENT = 300.0
"""Seconds without a word after which an agent counts as lost: its node hangs, or it was stopped. A dead host or network
is noticed after one minute; a living one may be under such a load that it takes longer to answer."""

STILL = 10.0
"""Seconds between two looks, which come every second, above which this process itself stood still."""


class AgentLinks:
    """The agents of a pool as the server speaks to them."""

    def __init__(
        self,
        spec: Spec,
        log_directory: Path,
        tell: Callable[[e.Event], None],
        warn: Callable[[str], None],
        suspended: Callable[[e.JobKey], bool] = lambda job: False,
        *,
        grace: float = GRACE,
        confines_cores: bool = True,
    ) -> None:
        self._spec, self._log_directory, self._tell, self._warn = spec, log_directory, tell, warn
        self._suspended = suspended
        self._grace, self._confines_cores = min(GRACE, grace), confines_cores
        self._jobs: dict[Link, tuple[e.JobKey, AgentHello]] = {}
        self._links: dict[e.JobKey, Link] = {}
        self._functions: dict[str, Function] = {RESUME: Function(RESUME, PICKLED)}
        self.functions: dict[str, str] = {}
        """The keys of the functions that clients have told of, each by itself."""
        self._replaced: set[Link] = set()
        """Those of jobs that have another agent now: a node whose daemon was cut off lets a job's first run go on."""
        self._knows: dict[Link, set[str]] = {}
        self._hellos: dict[e.JobKey, e.Hello] = {}
        self._last_words: dict[Link, str] = {}
        self._warned: set[str] = set()
        self._dask_port: int | None = None
        self._told_dask: set[Link] = set()
        self._heard: dict[Link, float] = {}
        """When each agent said something last."""
        self._next_look = 0.0
        self._last_look = self._now()
        self._held = False

    # ------------------------------------------------------------------------------------- the first words

    def greet(self, link: Link, hello: AgentHello, job: e.JobKey, request: Request | None) -> None:
        """Answer an agent's first words with what it needs, or with why it is not wanted."""
        fatal, odd = compare_versions(self._spec.versions, hello.versions)
        if fatal:
            words = f"the jobs' Python does not fit this one's: {'; '.join(fatal)}"
            error = PoolBroken(
                words,
                job=hello.id,
                node=hello.node,
                advice=f"start the jobs with the same environment (python={self._spec.versions['executable']!r} here, "
                f"{hello.versions.get('executable')!r} there)",
            )
            link.answer(hello, NotWanted(why=words))
            self._tell(e.AgentTrouble(self._now(), job, words, fatal=error))
            return
        for sentence in odd:
            self._warn_once(sentence, f"{sentence}; objects of it may not survive the way")
        self._heard[link] = self._now()
        if self._held:
            link.pause()
        self._jobs[link] = job, hello
        if self._dask_port is not None:
            self._told_dask.add(link)
        link.answer(hello, self._settings(request or self._spec.settings.request))

    def _settings(self, request: Request) -> AgentSettings:
        """Return what an agent has to know of its workers."""
        spec, settings = self._spec, self._spec.settings
        return AgentSettings(
            time=time.time(),
            dask_port=self._dask_port,
            workers=request.workers_per_job,
            cores=request.cores,
            gpus=request.gpus,
            walltime=request.walltime,
            grace=self._grace,
            log_level=spec.log_level,
            umask=spec.umask,
            threads_per_core=request.threads_per_core,
            # Where jobs own no cores, other pools and programs run on them too.
            bind=request.bind if self._confines_cores else None,
            sys_path=list(spec.sys_path),
            working_directory=spec.working_directory,
            initializer=spec.initializer,
            max_tasks_per_child=settings.max_tasks_per_child,
            memory=request.memory,
            max_memory_growth=settings.max_memory_growth,
            log_directory=str(self._log_directory),
            environment=dict(settings.environment),
        )

    # ------------------------------------------------------------------------------------------------------ from agents

    def __contains__(self, link: Link) -> bool:
        return link in self._jobs

    def receive(self, link: Link, message: AgentToServer) -> None:
        """Turn what an agent says into an event. Raises ``WireError`` for what cannot be said now."""
        (job, hello), now = self._jobs[link], self._now()
        self._heard[link] = now
        if link in self._replaced:
            # Its calls are in other hands, perhaps under the same numbers in those of its job's new agent.
            if isinstance(message, AgentBye):
                link.close()
            return
        match message:
            case Done(outcomes):
                self._tell(e.CallsDone(now, job, tuple(outcomes)))
            case Started(ids):
                self._tell(e.CallsStarted(now, job, ids))
            case Pong():
                pass
            case Ready(workers, left):
                self._join(link, job, hello, workers, left)
            case Returned(ids):
                self._tell(e.CallsReturned(now, job, ids))
            case Cut(call, at):
                self._tell(e.CallsCut(now, job, call, at))
            case Checkpointed(call, payload):
                self._tell(e.CallCheckpointed(now, job, call, RESUME, payload))
            case Died(call, death):
                self._tell(e.WorkerDied(now, job, call, death))
            case Leaving(why, planned):
                self._tell(e.AgentLeaving(now, job, why, planned))
            case Suspended():
                self._tell(e.AgentSuspended(now, job))
            case WentOn(left):
                self._tell(e.AgentWentOn(now, job, None if left is None else now + left))
            case SlotsTaken(count):
                self._tell(e.SlotsTaken(now, job, count))
            case Trouble(words, fatal):
                self._tell(e.AgentTrouble(now, job, words, None if fatal is None else from_data(fatal)))
            case NodeWarning(sentence, topic):
                text = f"on {hello.node} (perhaps on others too): {sentence}"
                self._warn_once(sentence, text) if topic is None else self._warn_daily(topic, text)
            case Remark(topic, text):
                self._warn_once(topic, text)
            case AgentBye(why):
                self._last_words[link] = why
                link.close()  # nothing comes after it: so the agent sees that its last results are here
            case AgentHello():
                raise WireError("AgentHello is no message of an agent that is in")
            case _:
                assert_never(message)

    def _join(self, link: Link, job: e.JobKey, hello: AgentHello, workers: int, left: float | None) -> None:
        """Let an agent whose workers are on their way have calls."""
        now = self._now()
        deadline = None if left is None else now + left
        joined = e.Hello(
            job=job, id=JobId(hello.id), node=hello.node, workers=workers, pid=hello.pid, deadline=deadline
        )
        self._replace(job)
        self._hellos[job] = joined
        self._links[job], self._knows[link] = link, set()
        if self._dask_port is not None and link not in self._told_dask:
            link.send(JoinDask(self._dask_port))  # the Scheduler started between its first words and these
        self._tell(e.AgentJoined(now, joined))

    def _replace(self, job: e.JobKey) -> None:
        """Stop the agent that this job had before, if it lives: before its calls run elsewhere."""
        if (before := self._links.get(job)) is not None:
            log.warning("job=%s has a new agent, and the one before lives", job)
            self._replaced.add(before)
            before.send(StopAgent("its job was requeued, and runs elsewhere", drain=False))

    def look(self) -> None:
        """Ask the agents now and then whether they live, and hang up on those that have not answered for long."""
        now = self._now()
        stood_still, self._last_look = now - self._last_look - STILL, now
        if stood_still > 0:  # what they said meanwhile was not read yet
            self._heard = {link: heard + stood_still for link, heard in self._heard.items()}
        if now < self._next_look:
            return
        self._next_look = now + PING
        for link, (job, _) in list(self._jobs.items()):
            if self._suspended(job):
                # It cannot answer, and its time begins anew when it can. Questions would fill its socket meanwhile.
                self._heard[link] = now
                continue
            silent = 0.0 if self._held else now - self._heard[link]
            if silent > SILENT:
                log.warning("job=%s said nothing for %.0f s", job, silent)
                link.abort(TimeoutError("its agent does not answer"))
            else:
                link.send(Ping())

    def hold(self, held: bool) -> None:
        """Take nothing from the agents for a while: their results wait with them, and they for new bundles."""
        self._held = held
        for link in self._jobs:
            link.pause() if held else link.resume()
        self._heard = dict.fromkeys(self._heard, self._now())

    def first_words(self, link: Link) -> AgentHello:
        """Return what the agent at this link said of itself at first."""
        return self._jobs[link][1]

    def left(self, link: Link, error: BaseException | None = None) -> None:
        """Tell that the connection to an agent ended."""
        job, hello = self._jobs.pop(link)
        if isinstance(error, WireError):
            self._warn_once("malformed", f"the agent of the job {hello.id} on {hello.node} was cut off: {error}")
        self._told_dask.discard(link)
        self._knows.pop(link, None)
        self._heard.pop(link, None)
        word = self._last_words.pop(link, "")
        if link in self._replaced:
            self._replaced.discard(link)
            return
        if self._links.get(job) is link:
            del self._links[job]
        self._tell(e.AgentLeft(self._now(), job, word, hello.pid))

    def hello(self, job: e.JobKey) -> e.Hello | None:
        """Return what the agent of this job said of itself, also after it left."""
        return self._hellos.get(job)

    # -------------------------------------------------------------------------------------------------------- to agents

    def define(self, functions: Iterable[Function]) -> None:
        """Keep pickled functions for the agents that will need them."""
        for function in functions:
            self._functions[function.key] = function
            self.functions[function.key] = function.key

    def send_bundle(self, job: e.JobKey, calls: Sequence[Call]) -> None:
        """Hand calls to an agent, with the functions that it has not seen yet."""
        link = self._links.get(job)
        if link is None:
            return  # it left a moment ago; AgentLeft is on its way and returns the calls
        known = self._knows[link]
        if missing := {call.function for call in calls} - known:
            known |= missing
            for functions in in_parts([self._functions[key] for key in missing]):
                link.send(Functions(functions))
        for part in in_parts(calls):
            link.send(Bundle([call if call.terms is None else replace(call, terms=None) for call in part]))

    def send(self, job: e.JobKey, message: ServerToAgent) -> None:
        """Send any other message to an agent; nothing when it has left."""
        if (link := self._links.get(job)) is not None:
            link.send(message)

    def join_dask(self, port: int) -> None:
        """Let all agents, and those that come later, be Workers of the Scheduler on this port."""
        self._dask_port = port
        for link in self._links.values():
            link.send(JoinDask(port))

    def _warn_once(self, what: str, text: str) -> None:
        # A thousand nodes say the same.
        if what not in self._warned:
            self._warned.add(what)
            self._warn(text)

    def _warn_daily(self, topic: str, text: str) -> None:
        """Tell what is true of a site once a day, not with each pool. Looked up elsewhere: the home may stand still."""
        if topic in self._warned:
            return
        self._warned.add(topic)
        looked = asyncio.get_running_loop().run_in_executor(None, partial(first_time, topic, daily=True))

        def tell(done: asyncio.Future[bool]) -> None:
            if not done.cancelled():
                (self._warn if done.result() else log.info)(text)

        looked.add_done_callback(tell)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
