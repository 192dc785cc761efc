"""Fixtures of the tests of what lives in a worker."""

from livingkit import script, worker  # noqa: F401 - fixtures
