"""``logging`` in a call: at the level of the client's root logger, with what the call prints."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from gates import Gate
from sites import PATIENCE, FakeSite, Site


def look(clip: int) -> int:
    logging.getLogger("tracker").debug("debugging clip %d", clip)
    logging.getLogger("tracker").info("looking at clip %d", clip)
    return clip


def test_calls_log_at_the_level_of_the_clients_root_logger(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), site.pool(1) as pool:
        future = pool.submit(look, 7)
        assert future.result(PATIENCE) == 7
        assert future.logs() == "INFO:tracker:looking at clip 7\n"
        assert list(pool.map(look, [8], timeout=PATIENCE)) == [8]
        assert "INFO:tracker:looking at clip 8\n" in pool.logs(future.job)


def say(word: str, hold: Callable[[], object]) -> None:
    print(word)
    hold()


@pytest.mark.every_dialect
def test_what_a_job_printed_is_found_by_its_id(fake_site: FakeSite, gate: Gate) -> None:
    """Whatever ids look like: those of some batch systems do not tell a job's place in its submission."""
    with fake_site.pool(2, workers_per_job=1, min_workers=2) as pool:
        futures = {word: pool.submit(say, word, gate.hold()) for word in ("apple", "pear")}
        gate.wait_for(2)
        gate.open()
        for future in futures.values():
            future.result(PATIENCE)
        jobs = {word: future.job for word, future in futures.items()}
        assert len({job.id for job in jobs.values() if job is not None}) == 2
        for word, job in jobs.items():
            assert job is not None
            said = pool.logs(job)
            assert [other for other in jobs if other in said] == [word]
            assert "begins" in said
