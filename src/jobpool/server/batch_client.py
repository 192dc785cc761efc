"""Everything that is said to the batch system, and its answers as events."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jobpool.batch.base import (
    BatchSystem,
    Doubtful,
    JobScript,
    NoAccounting,
    Refused,
    Submission,
    Submitted,
    Tracked,
    Unanswered,
)
from jobpool.batch.exit_file import ending_of
from jobpool.commands import shell
from jobpool.core import events as e
from jobpool.host.home import PoolDirectory
from jobpool.host.linux import total_memory
from jobpool.host.log_tail import tail
from jobpool.host.user import user_name
from jobpool.model.errors import JobPoolError, PoolBroken
from jobpool.model.job import Ending, JobId, JobState
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Memory
from jobpool.server import exit_files
from jobpool.server.cancel import Cancels
from jobpool.server.cleanup import look
from jobpool.server.scripts import ServerAddress, job_script
from jobpool.server.spec import Spec

__all__ = ["BatchClient", "read_limits"]

log = logging.getLogger("jobpool.server.batch_client")


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
        limits: Limits | None = None,
    ) -> None:
        self._directory, self._spec, self._system, self._tell, self._warn = directory, spec, system, tell, warn
        self._limits = limits or Limits()
        self._scripts: dict[str, JobScript] = {}
        self._asked: dict[str, tuple[int, float]] = {}
        """How many jobs each submission has, and when it was made, in seconds since the epoch."""
        self._ids: dict[str, dict[int, JobId]] = {}
        """Of each submission, by index."""
        self._cancels = Cancels(system)
        self._no_accounting = False
        """The batch system has said that there is no accounting."""
        self._served: set[e.JobKey] = set()
        self._read: dict[tuple[e.JobKey, Ending], Ending] = {}
        self._missing_since: float | None = None
        self.log_directory = spec.own_logs or spec.settings.log_directory or directory.logs
        # The batch system opens a job's log by its name, and follows links: never below a folder where others write.
        self._job_logs = directory.logs if spec.own_logs else self.log_directory
        self.address: ServerAddress = ((), 0)
        self._hash_seed = _hash_seed()

    async def submit(self, name: str, request: Request, count: int) -> None:
        """Submit jobs; ``JobsSubmitted``, ``SubmitRefused`` or ``SubmitDoubtful`` follows."""
        job = self._script(name, request)
        try:
            submission = self._system.prepare(job, count=count, environment=dict(os.environ))
        except (JobPoolError, ValueError) as error:
            # It was tried when the pool was made; but nodes to avoid, or a grown size, may have come since.
            log.error("submission=%s cannot be written", name, exc_info=error)
            words = f"no job script can be written: {error}"
            self._tell(e.SubmitRefused(self._now(), name, words, temporary=False))
            return
        self._scripts[name], self._asked[name] = job, (count, time.time())
        try:
            await self._in_the_directory(lambda: self._write_down(name, submission))
        except PoolBroken as error:
            self._tell(e.SubmitRefused(self._now(), name, str(error), temporary=False, error=error))
            return
        except OSError as error:
            words = f"the pool's directory cannot be written: {error}"
            self._tell(e.SubmitRefused(self._now(), name, words, temporary=True))
            return
        self._missing_since = None
        done = await shell.run(submission.command)
        log.info("submission=%s jobs=%d rc=%s said=%r", name, count, done.returncode, done.words[:200])
        match self._system.parse_submit(done, count=count):
            case Submitted(ids):
                self._asked[name] = len(ids), self._asked[name][1]
                for index, id in enumerate(ids):
                    self._note(name, index, id)
                self._tell(e.JobsSubmitted(self._now(), name, ids))
            case Refused(words, temporary):
                self._tell(e.SubmitRefused(self._now(), name, words, temporary))
            case Doubtful(words, unclear):
                self._tell(e.SubmitDoubtful(self._now(), name, words, unclear))

    def _write_down(self, name: str, submission: Submission) -> None:
        self._look_at_the_directory()
        # On the disk before the jobs can exist: whoever finds this pool dead can find its jobs.
        self._directory.append("submissions", name)
        for file, text in submission.files.items():
            self._directory.write(file, text.encode())
        if self._system.capabilities.exit_files:
            exit_files.make_directory(self._directory.path)

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
            self.log_directory.mkdir(mode=0o700, exist_ok=True)  # batch systems fail without a word where it is missing

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
        self._system.prepare(self._script("jp-trial-1", request), count=1, environment={})

    def _script(self, name: str, request: Request) -> JobScript:
        return job_script(
            self._spec.settings,
            request,
            name=name,
            pool=self._directory.path,
            log_directory=self._job_logs,
            working_directory=self._spec.working_directory,
            address=self.address,
            environment=self._hash_seed,
            site=self._limits,
        )

    def _tracked(self, names: Sequence[str]) -> list[Tracked]:
        unknown = None, None
        return [Tracked(name, dict(self._ids.get(name, {})), *self._asked.get(name, unknown)) for name in names]

    def _note(self, name: str, index: int, id: JobId) -> None:
        """Keep a job's id, unless the submit command or the agent said it, who are surer."""
        self._ids.setdefault(name, {}).setdefault(index, id)

    async def poll(self, names: Sequence[str]) -> None:
        """Look at all jobs of these submissions; ``Polled`` or ``PollFailed`` follows."""
        answer = await look(self._system, self._tracked(names))
        if isinstance(answer, Unanswered):
            log.warning("poll unanswered said=%r", answer.words[:200])
            self._tell(e.PollFailed(self._now(), answer.words))
            return
        for seen in answer:
            self._note(seen.name, seen.index, seen.id)
        jobs = [(e.JobKey(seen.name, seen.index), seen.ending) for seen in answer]
        endings = await self._with_logs([(job, ending) for job, ending in jobs if ending is not None])
        answer = tuple(
            seen if ending is None else replace(seen, ending=endings[job])
            for seen, (job, ending) in zip(answer, jobs, strict=True)
        )
        self._tell(e.Polled(self._now(), tuple(names), answer))

    async def account(self, names: Sequence[str]) -> None:
        """Ask the accounting, and then the exit files, how jobs ended; ``Accounted`` follows."""
        answer = await self._accounting(names)
        told = await self._with_all_logs({} if answer is None else answer)
        if self._system.capabilities.exit_files:
            unknown = [job for job, id in self._jobs(names).items() if id not in told]
            told |= {self._ids[job.submission][job.element]: ending for job, ending in await self._exits(unknown)}
            answer = told
        self._tell(e.Accounted(self._now(), tuple(names), None if answer is None else told))

    async def _accounting(self, names: Sequence[str]) -> Mapping[JobId, Ending | JobState] | None:
        """Ask the accounting. None: there is none, and there will be none."""
        if self._no_accounting:
            return None
        submissions = self._tracked(names)
        if not (commands := self._system.account(submissions)):
            return {}  # nothing is known by which it could be asked; later that may be otherwise
        match self._system.parse_account(await shell.run_all(commands), submissions):
            case NoAccounting():
                self._no_accounting = True  # the core goes on asking where there are exit files
                return None
            case Unanswered(words):
                log.warning("accounting unanswered said=%r", words[:200])
                return {}
            case known:
                return known

    async def _exits(self, jobs: Sequence[e.JobKey]) -> list[tuple[e.JobKey, Ending]]:
        """Return the endings that the exit files of these jobs tell, as far as they are there by now."""
        notices = self._system.notices(self._limits)
        files = await asyncio.to_thread(exit_files.read, self._directory.path, jobs)
        walltimes = {job: request.walltime if (request := self.request_of(job)) else None for job in files}
        endings = [(job, ending_of(file, walltime=walltimes[job], notices=notices)) for job, file in files.items()]
        read = await self._with_logs(endings)
        return list(read.items())

    async def _with_all_logs(self, known: Mapping[JobId, Ending | JobState]) -> dict[JobId, Ending | JobState]:
        jobs = {id: e.JobKey(name, index) for name, ids in self._ids.items() for index, id in ids.items()}
        endings = {id: ending for id, ending in known.items() if isinstance(ending, Ending) and id in jobs}
        read = await self._with_logs([(jobs[id], ending) for id, ending in endings.items()])
        return {**known, **{id: read[jobs[id]] for id in endings}}

    def _jobs(self, names: Sequence[str]) -> dict[e.JobKey, JobId]:
        return {e.JobKey(name, index): id for name in names for index, id in self._ids.get(name, {}).items()}

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
        await self._cancels.cancel(self._tracked(names), ids)

    async def starts(self) -> dict[JobId, float]:
        """Ask when the pending jobs may start: seconds since the epoch, of those for which there is an estimate.

        Raises ``JobPoolError`` when the batch system does not say.
        """
        commands = self._system.starts(self._tracked(list(self._scripts))) if self._scripts else ()
        answer = self._system.parse_starts(await shell.run_all(commands)) if commands else {}
        if isinstance(answer, Unanswered):
            raise JobPoolError(f"the batch system does not say when the jobs may start: {answer.words}")
        return dict(answer)

    def joined(self, job: e.JobKey, id: JobId) -> None:
        """Note a job's id as its agent knows it: it may be here before the submit command's answer."""
        self._ids.setdefault(job.submission, {})[job.element] = id
        if job in self._served:  # requeued, or cut off a while: its log goes on
            self._read = {(one, ending): read for (one, ending), read in self._read.items() if one != job}
        self._served.add(job)

    def request_of(self, job: e.JobKey) -> Request | None:
        """Return the request that a job was submitted for."""
        script = self._scripts.get(job.submission)
        return None if script is None else script.request

    def id_of(self, job: e.JobKey) -> JobId | None:
        """Return the batch system's id of a job, if it is known."""
        return self._ids.get(job.submission, {}).get(job.element)

    def log_path(self, job: e.JobKey) -> Path | None:
        """Return where the log of a job is, if its id is known."""
        script, id = self._scripts.get(job.submission), self.id_of(job)
        return None if script is None or id is None else self._system.log_path(script, id, job.element)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def read_limits(system: BatchSystem) -> Limits:
    """Read the site's limits, all commands at once. Where jobs share this machine, its memory is what there is."""
    limits = system.parse_limits(await shell.run_all(system.limits(user_name())))
    if system.capabilities.shares_machine:
        return replace(limits, max_memory=Memory(total_memory()))
    return limits


def _hash_seed() -> dict[str, str]:
    """Return the variable by which ``hash("text")`` is the same in all jobs of the pool: the user's, or a random one.

    In the job's script, since an interpreter reads it when it starts: the agent, in which Dask's tasks run, and all
    that it starts have it from there.
    """
    given = os.environ.get("PYTHONHASHSEED", "")
    return {"PYTHONHASHSEED": str(secrets.randbelow(2**32)) if given in ("", "random") else given}
