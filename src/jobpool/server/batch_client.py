"""Everything that is said to the batch system, and its answers as events."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from jobpool.batch.base import BatchSystem, Doubtful, JobScript, NoAccounting, Refused, Submitted, Unanswered
from jobpool.commands import shell
from jobpool.core import events as e
from jobpool.host.home import PoolDirectory
from jobpool.host.linux import total_memory
from jobpool.host.log_tail import tail
from jobpool.host.user import user_name
from jobpool.model.errors import JobPoolError, PoolBroken
from jobpool.model.job import Ending, JobId
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Memory
from jobpool.server.scripts import Door, as_file, job_script
from jobpool.server.spec import Spec

__all__ = ["BatchClient", "read_limits"]

log = logging.getLogger("jobpool.asking")


HANGS = 10.0
"""Seconds after which a file system that was asked for a write of some bytes hangs."""


MISSING = 60.0
"""Seconds that the place of all pools may be away: a file system is mounted again after some."""


class BatchClient:
    """The batch system as the server speaks to it. Each method runs a command and tells the core what came of it."""

    def __init__(
        self,
        directory: PoolDirectory,
        spec: Spec,
        system: BatchSystem,
        tell: Callable[[e.Event], None],
        warn: Callable[[str], None],
    ) -> None:
        self._directory, self._spec, self._system, self._tell, self._warn = directory, spec, system, tell, warn
        self._scripts: dict[str, JobScript] = {}
        self._ids: dict[e.JobKey, JobId] = {}
        self._served: set[e.JobKey] = set()
        self._read: dict[tuple[e.JobKey, Ending], Ending] = {}
        self._missing_since: float | None = None
        self.log_directory = spec.own_logs or spec.settings.log_directory or directory.logs
        # The batch system opens a job's log by its name, and follows links: never below a folder where others write.
        self._job_logs = directory.logs if spec.own_logs else self.log_directory
        self.door: Door = ((), 0)
        self._hash_seed = _hash_seed()

    async def submit(self, name: str, request: Request, count: int) -> None:
        """Submit jobs; ``JobsSubmitted``, ``SubmitRefused`` or ``SubmitDoubtful`` follows."""
        job = self._script(name, request)
        try:
            text = self._system.script(job)
            command = self._system.submit(text, name=name, count=count, environment=dict(os.environ))
        except (JobPoolError, ValueError) as error:
            # It was tried when the pool was made; but nodes to avoid, or a grown size, may have come since.
            log.error("submission=%s cannot be written", name, exc_info=error)
            words = f"no job script can be written: {error}"
            self._tell(e.SubmitRefused(self._now(), name, words, temporary=False))
            return
        self._scripts[name] = job
        try:
            await self._in_the_directory(lambda: self._write_down(name, command.stdin or text))
        except PoolBroken as error:
            self._tell(e.SubmitRefused(self._now(), name, str(error), temporary=False, error=error))
            return
        except OSError as error:
            words = f"the pool's directory cannot be written: {error}"
            self._tell(e.SubmitRefused(self._now(), name, words, temporary=True))
            return
        self._missing_since = None
        if self._spec.settings.submit_by == "file" and self._system.name != "local":
            command = as_file(command, self._directory.path / f"{name}.sh")
        done = await shell.run(command)
        log.info("submission=%s jobs=%d rc=%s said=%r", name, count, done.returncode, done.words[:200])
        match self._system.parse_submit(done, count=count):
            case Submitted(ids):
                for index, id in enumerate(ids):
                    self._ids.setdefault(e.JobKey(name, index), id)
                self._tell(e.JobsSubmitted(self._now(), name, ids))
            case Refused(words, temporary):
                self._tell(e.SubmitRefused(self._now(), name, words, temporary))
            case Doubtful(words, unclear):
                self._tell(e.SubmitDoubtful(self._now(), name, words, unclear))

    def _write_down(self, name: str, script: str) -> None:
        self._look_at_the_directory()
        # On the disk before the jobs can exist: whoever finds this pool dead can find its jobs.
        self._directory.append("submissions", name)
        self._directory.write(f"{name}.sh", script.encode())

    def _look_at_the_directory(self) -> None:
        """Raise ``PoolBroken`` when jobs could not read their keys, ``OSError`` when that may pass."""
        try:
            loss = self._directory.loss()
        except FileNotFoundError as error:
            now = time.monotonic()
            self._missing_since = self._missing_since or now
            if now - self._missing_since < MISSING:
                raise
            loss = f"the pool's directory is not there any more: {error.filename}"
        if loss:
            advice = "what runs may end; make a new pool for what has no result"
            raise PoolBroken(f"{loss}; new jobs could not read their keys", advice=advice)
        if self.log_directory.parent.is_dir():
            self.log_directory.mkdir(mode=0o700, exist_ok=True)  # SLURM would fail without a word

    async def _in_the_directory(self, act: Callable[[], None]) -> None:
        """Do what takes long when the file system hangs, and say so then."""
        acting = asyncio.ensure_future(asyncio.to_thread(act))
        if not (await asyncio.wait([acting], timeout=HANGS))[0]:
            self._warn(
                f"the pool's directory, {self._directory.path}, does not answer: its file system hangs; what runs goes "
                "on, and no new jobs are asked for"
            )
        await acting

    def check(self, request: Request) -> None:
        """Raise ``ConfigError`` for a request of which no job script can be written."""
        self._system.script(self._script("jp-trial-1", request))

    def _script(self, name: str, request: Request) -> JobScript:
        return job_script(
            self._spec.settings,
            request,
            name=name,
            pool=self._directory.path,
            log_directory=self._job_logs,
            working_directory=self._spec.working_directory,
            door=self.door,
            environment=self._hash_seed,
        )

    async def poll(self, names: Sequence[str]) -> None:
        """Look at all jobs of these submissions; ``Polled`` or ``PollFailed`` follows."""
        answer = self._system.parse_poll(await shell.run(self._system.poll(names)))
        if isinstance(answer, Unanswered):
            log.warning("poll unanswered said=%r", answer.words[:200])
            self._tell(e.PollFailed(self._now(), answer.words))
            return
        for seen in answer:  # what the submit command or the agent said is surer
            self._ids.setdefault(e.JobKey(seen.name, seen.index), seen.id)
        jobs = [(e.JobKey(seen.name, seen.index), seen.ending) for seen in answer]
        endings = await self._with_logs([(job, ending) for job, ending in jobs if ending is not None])
        answer = tuple(
            seen if ending is None else replace(seen, ending=endings[job])
            for seen, (job, ending) in zip(answer, jobs, strict=True)
        )
        self._tell(e.Polled(self._now(), tuple(names), answer))

    async def account(self, names: Sequence[str]) -> None:
        """Ask how jobs ended; ``Accounted`` follows."""
        wanted = frozenset(names)
        ids = [id for job, id in self._ids.items() if job.submission in wanted]
        command = self._system.account(names, ids)
        answer = NoAccounting("") if command is None else self._system.parse_account(await shell.run(command))
        match answer:
            case NoAccounting():
                self._tell(e.Accounted(self._now(), tuple(names), None))
            case Unanswered(words):
                log.warning("accounting unanswered said=%r", words[:200])
                self._tell(e.Accounted(self._now(), tuple(names), {}))
            case known:
                jobs = {id: job for job, id in self._ids.items()}
                endings = {id: ending for id, ending in known.items() if isinstance(ending, Ending) and id in jobs}
                read = await self._with_logs([(jobs[id], ending) for id, ending in endings.items()])
                told = {**known, **{id: read[jobs[id]] for id in endings}}
                self._tell(e.Accounted(self._now(), tuple(names), told))

    async def _with_logs(self, endings: Sequence[tuple[e.JobKey, Ending]]) -> dict[e.JobKey, Ending]:
        """Return the endings with what the jobs' logs add; each log is read once, if an agent has written to it."""
        new = [(job, ending) for job, ending in endings if job in self._served and (job, ending) not in self._read]
        if new:
            read = await asyncio.to_thread(lambda: [self._with_log(job, ending) for job, ending in new])
            self._read.update(zip(new, read, strict=True))
        return {job: self._read.get((job, ending), ending) for job, ending in endings}

    def _with_log(self, job: e.JobKey, ending: Ending) -> Ending:
        path = self.log_path(job)
        return ending if path is None else self._system.read_log(ending, tail(path))

    async def cancel(self, names: Sequence[str], ids: Sequence[JobId]) -> None:
        """Cancel jobs. Whether it worked is seen by the next poll."""
        for done in await asyncio.gather(*map(shell.run, self._system.cancel(names, ids))):
            if (answer := self._system.parse_cancel(done)) is not None:
                log.warning("cancel=%s unanswered said=%r", done.command.argv, answer.words[:200])

    async def starts(self) -> dict[JobId, float]:
        """Ask when the pending jobs may start: seconds since the epoch, of those for which there is an estimate.

        Raises ``JobPoolError`` when the batch system does not say.
        """
        command = self._system.starts(list(self._scripts)) if self._scripts else None
        answer = {} if command is None else self._system.parse_starts(await shell.run(command))
        if isinstance(answer, Unanswered):
            raise JobPoolError(f"the batch system does not say when the jobs may start: {answer.words}")
        return dict(answer)

    def joined(self, job: e.JobKey, id: JobId) -> None:
        """Note a job's id as its agent knows it: it may be here before the submit command's answer."""
        self._ids[job] = id
        if job in self._served:  # requeued, or cut off a while: its log goes on
            self._read = {(one, ending): read for (one, ending), read in self._read.items() if one != job}
        self._served.add(job)

    def request_of(self, job: e.JobKey) -> Request | None:
        """Return the request that a job was submitted for."""
        script = self._scripts.get(job.submission)
        return None if script is None else script.request

    def id_of(self, job: e.JobKey) -> JobId | None:
        """Return the batch system's id of a job, if it is known."""
        return self._ids.get(job)

    def log_path(self, job: e.JobKey) -> Path | None:
        """Return where the log of a job is, if its id is known."""
        script, id = self._scripts.get(job.submission), self._ids.get(job)
        return None if script is None or id is None else self._system.log_path(script, id, job.element)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def read_limits(system: BatchSystem) -> Limits:
    """Read the site's limits, all commands at once. Of the local system, this machine's memory is what it has."""
    limits = system.parse_limits(await asyncio.gather(*map(shell.run, system.limits(user_name()))))
    if system.name == "local":
        return replace(limits, max_memory=Memory(total_memory()))
    return limits


def _hash_seed() -> dict[str, str]:
    """Return the variable by which ``hash("text")`` is the same in all jobs of the pool: the user's, or a random one.

    In the job's script, since an interpreter reads it when it starts: the agent, in which Dask's tasks run, and all
    that it starts have it from there.
    """
    given = os.environ.get("PYTHONHASHSEED", "")
    return {"PYTHONHASHSEED": str(secrets.randbelow(2**32)) if given in ("", "random") else given}
