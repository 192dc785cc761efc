"""What the server compares between the client and its jobs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobpool.host.versions import compare_versions, python_path, versions


def test_this_process_agrees_with_itself() -> None:
    assert compare_versions(versions(), versions()) == ([], [])


@pytest.mark.parametrize(
    ("there", "fatal", "odd"),
    [
        ({"python": "3.11.9"}, 0, 0),  # bytecode holds for a minor version
        ({"python": "3.12.0"}, 1, 0),
        ({"jobpool": "9.9"}, 1, 0),
        ({"numpy": "1.0"}, 0, 1),
        ({"numpy": None}, 0, 1),
    ],
)
def test_what_differs_is_fatal_or_worth_a_warning(there: dict[str, str | None], fatal: int, odd: int) -> None:
    here = {"python": "3.11.7", "jobpool": "0.1", "numpy": "2.0"}
    theirs = {key: value for key, value in {**here, **there}.items() if value is not None}
    sentences = compare_versions(here, theirs)
    assert tuple(map(len, sentences)) == (fatal, odd)
    for sentence in (*sentences[0], *sentences[1]):
        assert next(iter(there)) in sentence


def test_a_package_that_only_the_jobs_have_is_no_difference() -> None:
    assert compare_versions({"python": "3.11.7"}, {"python": "3.11.7", "pandas": "2.0"}) == ([], [])


def test_another_process_finds_this_jobpool() -> None:
    code = "import jobpool; print(jobpool.__file__)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, **python_path()}, capture_output=True, text=True, cwd="/"
    )
    import jobpool

    assert found.stdout.strip() == jobpool.__file__
