"""What no command of any batch system may be: longer than Linux takes, or a cancel of something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobpool.batch.base import Tracked
from jobpool.batch.registry import SYSTEMS, get
from jobpool.model.job import JobId

REAL = [name for name, entry in SYSTEMS.items() if entry.commands and entry.listed]
LONGEST_ARGUMENT = 131_071
TOGETHER = 1_000_000
"""Bytes of all arguments: half of what Linux takes, for variables are counted, too."""

IDS = {"pbs": "{}.node1", "htcondor": "{}.0"}


def many(system: str) -> list[Tracked]:
    """Return as many submissions of one job as a large pool with arrays=False has, with the longest names."""
    ids = IDS.get(system, "{}")
    return [
        Tracked(f"jp-{'p' * 40}-0123abcd-{number:07}", {0: JobId(ids.format(10_000_000 + number))}, 1, 1.8e9)
        for number in range(1, 5001)
    ]


@pytest.mark.parametrize("name", REAL)
def test_thousands_of_submissions_fit_into_command_lines(name: str, tmp_path: Path) -> None:
    system, submissions = get(name, tmp_path), many(name)
    ids = [id for submission in submissions for id in submission.ids.values()]
    commands = (
        *system.poll(submissions),
        *system.account(submissions),
        *system.starts(submissions),
        *system.cancel(submissions, ids),
    )
    sizes = [[len(os.fsencode(word)) for word in command.argv] for command in commands]
    assert max(size for words in sizes for size in words) <= LONGEST_ARGUMENT
    assert max(sum(words) + 9 * len(words) for words in sizes) <= TOGETHER


@pytest.mark.parametrize("id", ["", "alice", "-all", "-u", "*", "all", "1 2", "--user=root", "x1.0", "1.0\n-all"])
@pytest.mark.parametrize("name", REAL)
def test_a_word_that_is_no_id_cancels_nothing(name: str, id: str, tmp_path: Path) -> None:
    assert get(name, tmp_path).cancel([], [JobId(id)]) == ()
