"""Fixtures of the tests on real batch systems."""

from __future__ import annotations

from gates import gate  # noqa: F401 - a fixture
