"""Fixtures of the tests that run on one real batch system each."""

from __future__ import annotations

from gates import gate  # noqa: F401 - a fixture
