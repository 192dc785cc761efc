"""``logging`` in a call: at the level of the client's root logger, with what the call prints."""

from __future__ import annotations

import logging

import pytest
from sites import PATIENCE, Site


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
