"""``partition="auto"``: where a pool's jobs go when the user leaves it to the pool."""

from __future__ import annotations

import pytest
from sites import PATIENCE, Site

from jobpool import RequestRefused


def add(one: int, two: int) -> int:
    return one + two


def test_auto_runs_where_the_walltime_fits(site: Site) -> None:
    with site.pool(1, walltime="5h", memory="500 MiB", partition="auto") as pool:
        assert pool.submit(add, 1, 2).result(PATIENCE) == 3
        told = [text for text, _ in pool.status().notices]
        assert any("'auto' took 'long'" in text for text in told) == site.is_batch
        assert pool.check().ok


def test_a_view_of_it_runs_elsewhere(batch_site: Site) -> None:
    with batch_site.pool(1, walltime="1h", memory="500 MiB", partition="auto") as pool:
        # Neither the default partition nor the one that was taken has GPUs.
        assert pool.with_request(gpus=1).submit(add, 1, 2).result(PATIENCE) == 3


def test_auto_that_fits_nowhere_is_refused(batch_site: Site) -> None:
    with pytest.raises(RequestRefused, match=r"it fits no partition; in the nearest: .* at most 16 cores"):
        batch_site.make(1, cores=17, partition="auto")


def test_a_refused_request_says_where_it_would_fit(batch_site: Site) -> None:
    with pytest.raises(RequestRefused, match="it fits, as it is, in partition long"):
        batch_site.make(1, walltime="5h")
