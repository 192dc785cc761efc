"""Whether jobs that are asked for together are submitted as one array."""

from __future__ import annotations

import pytest
from gates import Gate
from sites import Site


@pytest.mark.every_dialect
@pytest.mark.parametrize(("arrays", "submits"), [(True, 1), (False, 4), (3, 2)])
def test_jobs_are_submitted_in_arrays_of_the_users_size(
    batch_site: Site, gate: Gate, arrays: bool | int, submits: int
) -> None:
    with batch_site.pool(4, arrays=arrays, workers_per_job=1) as pool:
        futures = [pool.submit(gate.hold(), number) for number in range(4)]
        gate.wait_for(4)
        assert len(batch_site.jobs_in_queue(pool.name)) == 4
        assert batch_site.submits(pool.name) == submits
        gate.open()
        assert [future.result(60) for future in futures] == [0, 1, 2, 3]
