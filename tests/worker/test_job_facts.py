"""What an agent reads of its command line: what the server wrote, and what the job's environment told."""

from __future__ import annotations

import os
import signal
import subprocess

from jobpool.agent.job_facts import parse_arguments
from jobpool.batch.base import Notice, Notices
from jobpool.batch.job_side import JobSide, agent_line

ARGV = ("agent", "--pool", "/p q", "--submission", "jp-x-1", "--address", "::1", "--address", "h", "--port", "7")
NOTICES = Notices(walltime=Notice("USR2", 60.0), delete=Notice("TERM", 10.0), suspension="USR1")
SIDE = JobSide(
    index="$((NUMBER - 1))",
    id='"$ID"',
    node='"${NODE:-}"',
    began='"${BEGAN:-}"',
    ends='"${ENDS:-}"',
    cpus='"${CPUS:-}"',
    cluster='"${CLUSTER:-}"',
    step_variables=r"X_.*|Y\d",
)


def words(**environment: str) -> list[str]:
    """Let a shell expand the agent's line, and return what the agent gets."""
    line = agent_line(ARGV, SIDE, NOTICES).replace("agent", r"printf '%s\n'", 1)
    done = subprocess.run(
        ["bash", "-uc", line],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[:-1]


def test_what_the_environment_tells_reaches_the_agent() -> None:
    told = {"NUMBER": "4", "ID": "13[4].node1", "NODE": "node1", "BEGAN": "1000", "ENDS": "4600.5", "CPUS": "8"}
    facts = parse_arguments(words(**told, CLUSTER="a b"))
    assert (facts.index, facts.id, facts.node, facts.cluster) == (3, "13[4].node1", "node1", "a b")
    assert (facts.began, facts.ends, facts.cpus) == (1000.0, 4600.5, 8)
    assert facts.step_variables == SIDE.step_variables
    assert facts.notice == (signal.SIGUSR2, signal.SIGTERM)
    assert facts.suspension is signal.SIGUSR1
    assert facts.addresses == ("::1", "h")


def test_what_the_environment_does_not_tell_is_not_known() -> None:
    facts = parse_arguments(words(NUMBER="1", ID="7", ENDS="Unknown"))
    assert (facts.index, facts.id, facts.node) == (0, "7", os.uname().nodename)
    assert (facts.began, facts.ends, facts.cpus, facts.cluster) == (None, None, 0, "")


def test_a_job_that_is_killed_at_once_has_no_signals() -> None:
    plain = JobSide(index="0", id="7")
    line = agent_line(ARGV, plain, Notices(walltime=None, delete=None))
    facts = parse_arguments(line.replace("'/p q'", "/p").split()[1:])
    assert (facts.notice, facts.suspension, facts.step_variables) == ((), None, "")
