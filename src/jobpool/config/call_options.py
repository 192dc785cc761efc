"""Kinds of calls: what a call of a pool, or of a view of it, needs, and the terms that hold for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from jobpool.batch import registry
from jobpool.config.resolve import Origin, Settings
from jobpool.config.settings import AUTO, SETTINGS, did_you_mean
from jobpool.model.bounded import MOST_SLOTS
from jobpool.model.call_options import PLAIN, CallOptions
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request, Retry
from jobpool.model.units import Duration

__all__ = ["CallKind"]

_OF_REQUEST = tuple(field.name for field in fields(Request))
_OF_TERMS = tuple(field.name for field in fields(CallOptions))
_SIZES = ("cores", "memory", "gpus")
_SIZES_FOUND = ("cores", "memory", "walltime")


@dataclass(frozen=True, slots=True)
class CallKind:
    """What the calls of one executor have in common."""

    request: Request
    max_workers: int
    terms: CallOptions = PLAIN
    own: bool = True
    """It is the pool's own."""

    @property
    def key(self) -> str:
        """What the server knows it by. The same for kinds that are alike; empty for the pool's own."""
        if self.own:
            return ""
        return hashlib.sha256(repr((self.request, self.max_workers, self.terms)).encode()).hexdigest()[:16]

    def settings(self, pools: Settings) -> Settings:
        """Return a pool's settings with what differs for these calls."""
        differ = [name for name in SETTINGS if getattr(self.request, name, None) != getattr(pools.request, name, None)]
        if self.max_workers != pools.max_workers:
            differ.append("max_workers")
        origins = {**pools.origins, **dict.fromkeys(differ, Origin("keyword"))}
        auto = pools.auto if self.request == pools.request else ()
        return replace(pools, request=self.request, auto=auto, max_workers=self.max_workers, origins=origins)

    def words(self) -> list[str]:
        """Say the terms of these calls in sentences."""
        terms, said = self.terms, []
        if terms.timeout is not None:
            said.append(f"a call is killed after {terms.timeout} (timeout)")
        if terms.expected_time is not None:
            said.append(f"a call begins only where its job has {terms.expected_time} left (expected_time)")
        return said

    def changed(self, changes: Mapping[str, Any], *, system: str) -> CallKind:
        """Return this kind with changes, as ``with_request`` takes them. Raises ``ConfigError`` with all problems."""
        problems: list[str] = []
        read: dict[str, Any] = {}
        for name, value in changes.items():
            try:
                read[name] = _read(name, value)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError.from_problems(problems)
        request = replace(self.request, **_only(read, _OF_REQUEST))
        max_workers = read.get("max_workers") or self.max_workers
        if "workers_per_job" not in read:
            request, max_workers = self._fitted(request, max_workers, given=read, system=system)
        request = replace(request, workers_per_job=min(request.workers_per_job, max_workers))
        return CallKind(request, max_workers, replace(self.terms, **_only(read, _OF_TERMS)), own=False)

    def _fitted(
        self, request: Request, max_workers: int, *, given: Mapping[str, Any], system: str
    ) -> tuple[Request, int]:
        """Choose how many workers share a job, and on this machine how many there are."""
        if not registry.capabilities(system).shares_machine:
            # Jobs of many workers, each of twice the size, may fit no node; one always does if any does.
            alone = any(name in given for name in _SIZES)
            return (replace(request, workers_per_job=1) if alone else request), max_workers
        if "max_workers" not in given:
            max_workers = max(1, self.max_workers * self.request.cores // request.cores)
        return replace(request, workers_per_job=min(max_workers, MOST_SLOTS)), max_workers


def _only(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def _read(name: str, value: Any) -> Any:
    """Return the value in its type. Raises ``ValueError`` with a sentence that names it."""
    if name not in (*_OF_REQUEST, *_OF_TERMS, "max_workers"):
        known = (*_OF_REQUEST, *_OF_TERMS, "max_workers")
        raise ValueError(f"with_request knows no {name}={did_you_mean(name, known) or did_you_mean(name)}")
    try:
        if name == "retry":
            return _retry(value)
        if name in _OF_TERMS:
            return None if value is None else _positive(value)
        if value == AUTO and name in _SIZES_FOUND:
            raise ValueError("only the pool's own size can be found from its first calls")
        setting = SETTINGS[name]
        return None if value is None and setting.optional else setting.read(value, Path.cwd())
    except ValueError as error:
        raise ValueError(f"{name}={value!r} cannot be used: {error}") from None


def _retry(value: Any) -> Retry | None:
    if not isinstance(value, Retry | None):
        raise ValueError("it must be a jobpool.Retry, or None")
    return value


def _positive(value: Any) -> Duration:
    time = Duration.parse(value)
    if time <= 0:
        raise ValueError("it must be above 0")
    return time
