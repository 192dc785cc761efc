"""What an initializer sets stays set, for all calls that come later."""

from __future__ import annotations

from jobpool.worker.changes import noted
from jobpool.worker.living import Living

__all__ = ["run_initializer"]


def run_initializer(initializer: bytes, living: Living) -> None:
    """Run a pickled (function, arguments), and note what it does to the variables that came with it.

    Raises what it raises.
    """
    function, args = living.load(initializer)
    with noted(living.spaces, living.living):
        function(*args)
