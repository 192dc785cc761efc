"""What a pool's server answers, as public data."""

from __future__ import annotations

from typing import TypeVar

from jobpool.model.errors import JobPoolError
from jobpool.model.public_data import PublicData
from jobpool.transport.messages.client import Facts

__all__ = ["read_answer"]

D = TypeVar("D", bound=PublicData)


def read_answer(kind: type[D], answer: Facts) -> D:
    """Return the data of an answer. Raises ``JobPoolError`` when the server is of a version that says it otherwise."""
    try:
        return kind.from_data(answer.facts)
    except ValueError as reason:
        raise JobPoolError(
            f"the pool's server answers in the form of another version of jobpool ({reason})",
            advice="run this command in the environment of the pool's script",
        ) from None
