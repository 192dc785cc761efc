"""Ten thousand pools on a simulated cluster where everything goes wrong: no promise is broken.

The environment chooses others: ``CHAOS_SEED`` is the number of the first round (default 0: what was green stays so;
``random`` is any), ``CHAOS_ROUNDS`` how many are played. A failure says how to play that one round again, and what
happened in it: see :mod:`rounds`.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from concurrent.futures import ProcessPoolExecutor

import pytest
from rounds import Round, play

ROUNDS = 10_000

TOLD = 3
"""Broken rounds that are printed in full."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_round_breaks_a_promise() -> None:
    seed, count = os.environ.get("CHAOS_SEED", "0"), int(os.environ.get("CHAOS_ROUNDS", ROUNDS))
    first = random.randrange(10**9) if seed == "random" else int(seed)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        broken = [told for told in pool.map(play, range(first, first + count), chunksize=100) if told is not None]
    told = "\n\n".join(broken[:TOLD])
    assert not broken, f"{len(broken)} of {count} rounds, from {first} on, broke a promise\n\n{told}"


def test_a_round_follows_from_its_number_alone() -> None:
    first, second = Round(17), Round(17)
    first.play()
    second.play()
    assert first.did == second.did
    assert list(map(repr, first.world.actions)) == list(map(repr, second.world.actions))
