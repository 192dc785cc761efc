"""Fixtures of the tests of what lives in a worker."""

from sharedkit import script, worker  # noqa: F401 - fixtures
