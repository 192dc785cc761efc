"""A fake SLURM: what its commands print is real, what goes wrong is yours to say.

In memory, with a clock that stands still; jobs are state and nothing else::

    cluster = FakeCluster()
    done = cluster.run(Slurm().prepare(job, count=4, environment={}).command)
    cluster.clock.advance(3600)

At the process boundary; ``sbatch``, ``squeue``, ... are programs, and the jobs' scripts run as processes of this
machine::

    with FakeCluster(directory) as cluster:
        subprocess.run(["sbatch", "job.sh"], env={**os.environ, **cluster.environment})
        cluster.end("1_0", "PREEMPTED", requeue=True)

Both ways share one state machine (:mod:`jobpool.testing.fake.jobs`) and one set of answers
(:mod:`jobpool.testing.fake.slurm`), which know what jobpool uses of SLURM 22.05 and no more.

With another dialect of :mod:`jobpool.testing.fake.dialects` it is another batch system, whose commands
:mod:`jobpool.testing.fake.systems` names. One is none in the world: its commands are those of
:mod:`jobpool.testing.fake.neutral`, and jobpool speaks to it through :class:`jobpool.testing.fake.system.Fake`
(``scheduler="fake"``).
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import psutil

from jobpool.model.command import Command, Completed
from jobpool.model.site import NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.fake.command_socket import CommandSocket
from jobpool.testing.fake.dialects import SLURM, VARIABLE, Dialect
from jobpool.testing.fake.jobs import Ended, EndingWord, FakeJob, JobQueue, StateOnly
from jobpool.testing.fake.processes import Processes
from jobpool.testing.fake.site import Answer, Asked, BrokenDown, Site
from jobpool.testing.fake.systems import commands_of
from jobpool.testing.simulation import FakeClock

__all__ = ["PARTITIONS", "FakeCluster", "Received"]

TICK = 0.03
"""Seconds between two looks at the jobs' processes: less than the time that a script needs to start Python."""

_NODES = NodeShape(count=4, cores=16, threads_per_core=2, memory=Memory(64 * 2**30))
_GPU_NODE = replace(_NODES, count=1, gpus=4)

PARTITIONS = (
    Partition(name="short", default=True, max_time=Duration(3600), default_time=Duration(3600), nodes=(_NODES,)),
    Partition(name="long", max_time=Duration(2 * 86400), default_time=Duration(3600), nodes=(_NODES,)),
    Partition(name="closed", max_time=Duration(2 * 86400), allow_groups=("daemon",), nodes=(_NODES,)),
    Partition(name="gpu", max_time=Duration(86400), nodes=(_GPU_NODE,)),
)
"""The partitions of the practice SLURM (:class:`jobpool.testing.SlurmLab`), with the same limits."""

THAW = 3.0
"""A command that hangs comes back after so many times as long as jobpool waits for it: one that nobody has killed."""

Controller = Literal["up", "down", "frozen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One command that a cluster received. ``ended`` is None while it is being answered."""

    argv: tuple[str, ...]
    stdin: str
    began: float
    ended: float | None = None
    returncode: int | None = None


@dataclass(frozen=True, slots=True)
class _LostAnswer:
    """A submit whose answer does not arrive."""

    jobs_exist: bool


class FakeCluster:
    """A fake SLURM in memory (without ``directory``) or at the process boundary (as a context manager with one).

    Args:
        directory: Where the programs and the jobs' scripts go; made if it is not there.
        slots: Jobs that run at once, at most.
        start_delay: Seconds that a job is pending at least.
        accounting: Whether ``sacct`` knows anything.
        partitions: What ``scontrol`` and ``sinfo`` tell, and ``sbatch`` holds requests to.
        max_array_size: SLURM's MaxArraySize: the largest index is one less.
        dialect: Its habits.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        slots: int = 100,
        start_delay: float = 0.0,
        accounting: bool = True,
        partitions: Sequence[Partition] = PARTITIONS,
        max_array_size: int = 1001,
        dialect: Dialect = SLURM,
    ) -> None:
        self.dialect = dialect
        self._system = commands_of(dialect)
        self.directory = None if directory is None else Path(directory).absolute()
        self.clock = FakeClock(0.0)
        """For use in memory. At the process boundary time goes on by itself."""
        self._site = Site(partitions=tuple(partitions), max_array_size=max_array_size, accounting=accounting)
        names = [f"fake-n{number + 1}" for number in range(_NODES.count)]
        self._processes = None if self.directory is None else Processes(self.directory / "spool")
        self._queue = JobQueue(self._processes or StateOnly(), names)
        self._queue.slots, self._queue.start_delay = slots, start_delay
        self._received: list[Received] = []
        self._answers: deque[str | _LostAnswer] = deque()
        self._hanging: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._controller: Controller = "up"
        self._listing_age, self._listing, self._listed = 0.0, self._queue, 0.0
        self._hidden: set[str] = set()
        # Guards all of the above; who waits for a frozen controller to come back waits on it.
        self._changed = threading.Condition(threading.RLock())
        self._closed = threading.Event()
        self._socket: CommandSocket | None = None
        self._ticker: threading.Thread | None = None

    # In memory

    def run(self, command: Command) -> Completed:
        """Answer a command at once. With a frozen controller it comes back as one that ran into its time-out."""
        if self._controller == "frozen":
            self._receive(command.argv, command.stdin or "")
            return _no_answer(command)
        program, *arguments = command.argv
        environment = dict(command.environment or ())
        said = self._ask(program, tuple(arguments), command.stdin or "", environment, Path("/tmp"))
        if said.hangs:
            return _no_answer(command)
        return Completed(command, said.returncode, said.stdout, said.stderr)

    # At the process boundary

    def __enter__(self) -> Self:
        if self.directory is None or self._processes is None:
            raise ValueError("FakeCluster: give it a directory to use it as a context manager")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._processes.spool.mkdir(mode=0o700)
        self._socket = CommandSocket(self.directory, self.dialect.programs, self._system.valued, self._ask)
        self._ticker = threading.Thread(target=self._tick, name="fake-cluster", daemon=True)
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all jobs and remove the programs. The jobs' logs stay."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        if self._socket is not None and self._ticker is not None:
            self._ticker.join()
            self._socket.close()
        if self._processes is not None:
            self._processes.end_all()

    @property
    def bin(self) -> Path:
        """The directory of the programs."""
        if self._socket is None:
            raise ValueError("FakeCluster: its programs exist inside 'with FakeCluster(directory)' only")
        return self._socket.bin

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client's commands here; to be added to its environment."""
        path = {"PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        return {**path, VARIABLE: self.dialect.name} if self.dialect.scheduler == "fake" else path

    # What happened

    @property
    def commands(self) -> tuple[Received, ...]:
        """All commands received, in their order."""
        with self._changed:
            return tuple(self._received)

    def commands_of(self, program: str) -> tuple[Received, ...]:
        """Return the commands of one program (``sbatch``) that were received."""
        return tuple(received for received in self.commands if received.argv[0] == program)

    @property
    def submits(self) -> tuple[Received, ...]:
        """All submit commands received."""
        return self.commands_of(self.dialect.programs[0])

    @property
    def polls(self) -> tuple[Received, ...]:
        """All commands received that list the queue."""
        return tuple(asked for asked in self.commands if self._system.lists(asked.argv[0], asked.argv[1:]))

    @property
    def jobs(self) -> dict[str, str]:
        """All jobs that the queue knows, ended ones too: id and state in SLURM's word."""
        with self._changed:
            self._queue.step(self._now())
            return {job.id: job.word for job in self._queue.jobs}

    @property
    def queue(self) -> list[str]:
        """The ids of the jobs that have not ended."""
        with self._changed:
            self._queue.step(self._now())
            return [job.id for job in self._queue.jobs if not isinstance(job.phase, Ended)]

    def name_of(self, job: str) -> str:
        """Return the name of the submission that a job is of. ``KeyError`` for an unknown id, as all that follow."""
        return self._find(job).name

    def processes_of(self, job: str) -> list[psutil.Process]:
        """Return the living processes of a job."""
        return [] if self._processes is None else self._processes.of(self._find(job))

    # Faults

    def refuse_submits(self, times: int, words: str = "Batch job submission failed: Invalid qos specification") -> None:
        """Refuse the next submits with these words (behind ``sbatch: error: ``)."""
        with self._changed:
            self._answers.extend([words] * times)

    def lose_answers(self, times: int, *, jobs_exist: bool) -> None:
        """Let the next submits time out, whether their jobs then exist or not."""
        with self._changed:
            self._answers.extend([_LostAnswer(jobs_exist)] * times)

    def hang(self, program: str, times: int = 1) -> None:
        """Let the next commands of this program do their work and not come back before jobpool gives up on them."""
        with self._changed:
            self._hanging[program] += times

    @property
    def controller(self) -> Controller:
        """``"up"``; ``"down"``: commands fail; ``"frozen"``: they wait until it is up. Jobs run on. May be set."""
        return self._controller

    @controller.setter
    def controller(self, state: Controller) -> None:
        with self._changed:
            self._controller = state
            self._changed.notify_all()

    @property
    def accounting(self) -> bool:
        """Whether ``sacct`` knows anything. May be set."""
        return self._site.accounting

    @accounting.setter
    def accounting(self, there: bool) -> None:
        with self._changed:
            self._site = replace(self._site, accounting=there)

    @property
    def listing_age(self) -> float:
        """Seconds that the listing of ``squeue`` may be old, as on a site that caches it. May be set.

        Then it is made anew at once, and by the first ``squeue`` that finds it so old. ``sacct`` shows how things are.
        """
        return self._listing_age

    @listing_age.setter
    def listing_age(self, seconds: float) -> None:
        with self._changed:
            self._listing_age = seconds
            self._listing, self._listed = self._queue.as_it_is(), self._now()

    def hide(self, job: str) -> None:
        """Let ``squeue`` not show a job, although it lives on, until it is shown with :meth:`show`."""
        with self._changed:
            self._hidden.add(self._find(job).id)

    def show(self, job: str) -> None:
        """Let ``squeue`` show a job again."""
        with self._changed:
            self._hidden.discard(self._find(job).id)

    @property
    def slots(self) -> int:
        """Jobs that run at once, at most; others are pending for ``Resources`` or ``Priority``. May be set."""
        return self._queue.slots

    @slots.setter
    def slots(self, count: int) -> None:
        with self._changed:
            self._queue.slots = count

    @property
    def start_delay(self) -> float:
        """Seconds that the next jobs are pending at least. May be set."""
        return self._queue.start_delay

    @start_delay.setter
    def start_delay(self, seconds: float) -> None:
        with self._changed:
            self._queue.start_delay = seconds

    def hold(self, reason: str) -> None:
        """Let no pending job start; ``reason`` is what squeue says of them (``QOSMaxJobsPerUserLimit``)."""
        with self._changed:
            self._queue.hold = reason

    def release(self) -> None:
        """Let pending jobs start again."""
        with self._changed:
            self._queue.hold = None

    def hold_job(self, job: str, reason: str) -> None:
        """Hold one job that is pending, for this reason, until it is released with :meth:`release_job`."""
        with self._changed:
            self._queue.step(self._now())
            self._queue.hold_job(self._find(job), reason)

    def release_job(self, job: str) -> None:
        """Let a job start that was held."""
        with self._changed:
            self._queue.step(self._now())
            self._queue.release_job(self._find(job))

    def suspend(self, job: str) -> None:
        """Stop the processes of a job that runs; it is shown as suspended until :meth:`resume`."""
        with self._changed:
            self._queue.step(self._now())
            self._queue.suspend(self._find(job))

    def resume(self, job: str) -> None:
        """Let a job go on that was suspended."""
        with self._changed:
            self._queue.step(self._now())
            self._queue.resume(self._find(job))

    def end(self, job: str, word: EndingWord, *, exit_code: int | None = None, requeue: bool = False) -> None:
        """End a job as SLURM would: its walltime is over (``"TIMEOUT"``), its node dies (``"NODE_FAIL"``), ...

        ``exit_code``: of a job that ends as ``"FAILED"``. ``requeue``: it goes back into the queue, under the same id.
        """
        with self._changed:
            status = None if exit_code is None else exit_code << 8
            self._queue.step(self._now())
            self._queue.end(self._find(job), word, status=status, requeue=requeue)

    def kill_silently(self, job: str) -> None:
        """Kill a job's processes; the job stays RUNNING, as when a node hangs."""
        with self._changed:
            self._queue.silence(self._find(job))

    def forget(self, job: str) -> None:
        """Drop a job without a trace, from the queue and from the accounting; its processes are killed."""
        with self._changed:
            self._queue.forget(self._find(job))

    # How it is done

    def _now(self) -> float:
        return self.clock() if self.directory is None else time.monotonic()

    def _find(self, job: str) -> FakeJob:
        with self._changed:
            return self._queue.find(job)

    def _tick(self) -> None:
        while not self._closed.wait(TICK):
            with self._changed:
                self._queue.step(self._now())

    def _receive(self, argv: tuple[str, ...], stdin: str) -> int:
        with self._changed:
            self._received.append(Received(argv=argv, stdin=stdin, began=self._now()))
            return len(self._received) - 1

    def _ask(
        self,
        program: str,
        arguments: tuple[str, ...],
        stdin: str,
        environment: Mapping[str, str],
        directory: Path,
        umask: int = 0o077,
    ) -> Answer:
        number = self._receive((program, *arguments), stdin)
        with self._changed:
            self._changed.wait_for(lambda: self._controller != "frozen" or self._closed.is_set())
            asked = Asked(
                arguments=arguments,
                stdin=stdin,
                environment=environment,
                directory=directory,
                umask=umask,
                now=self._now(),
            )
            said = self._answer(program, asked)
            if self._hangs(program) or said.hangs:
                return replace(said, hangs=THAW * self.dialect.patience)
            ended = replace(self._received[number], ended=self._now(), returncode=said.returncode)
            self._received[number] = ended
        return said

    def _hangs(self, program: str) -> bool:
        self._asked[program] += 1
        if program == "fake-limits":
            return False  # without the limits nothing is refused before it is submitted
        if self._hanging[program]:
            self._hanging[program] -= 1
            return True
        return self.dialect.hangs is not None and self._asked[program] % self.dialect.hangs == 0

    def _shown(self, now: float) -> JobQueue:
        """Return the queue as squeue shows it."""
        if not self._listing_age:
            return self._queue.as_it_is(self._hidden) if self._hidden else self._queue
        if now - self._listed >= self._listing_age:
            self._listing, self._listed = self._queue.as_it_is(self._hidden), now
        return self._listing

    def _answer(self, program: str, asked: Asked) -> Answer:
        self._queue.step(asked.now)
        if self._controller == "down" and not self._system.stands_alone(program, asked.arguments):
            return self._system.unreachable(program)
        submits = program == self.dialect.programs[0]
        planned = self._answers.popleft() if submits and self._answers else None
        if isinstance(planned, str):
            return self._system.refused(program, planned)
        lost = self._system.lost(program)
        if planned == _LostAnswer(jobs_exist=False):
            return lost
        said = self._carry_out(program, asked)
        self._queue.step(asked.now)
        return lost if planned is not None else said

    def _carry_out(self, program: str, asked: Asked) -> Answer:
        queue = self._shown(asked.now) if self._system.lists(program, asked.arguments) else self._queue
        try:
            return self._system.answer(self.dialect, program, self._site, queue, asked)
        except BrokenDown:
            self.controller = "down"
            return Answer()


def _no_answer(command: Command) -> Completed:
    return Completed(command, returncode=None, stderr=f"{command.argv[0]}: no answer in {command.timeout:g} s")
