"""``jobpool.pool``: the documented place of :class:`Pool`, which is defined in :mod:`jobpool.faces.pool`."""

from jobpool.faces.pool import Pool, ResultNotPicklable

__all__ = ["Pool", "ResultNotPicklable"]
