"""What an LSF says of itself beyond its limits: its history, what jobs are held to, the user's own jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from jobpool.batch.explainer import Enforcement, SiteFacts
from jobpool.batch.lsf import states
from jobpool.batch.lsf.environment import command
from jobpool.batch.lsf.limits import READ_CONFIGURATION, config_of
from jobpool.model.command import Command, Completed

__all__ = ["commands", "parse"]


def commands() -> tuple[Command, ...]:
    """Make the commands."""
    return (
        command(*READ_CONFIGURATION),
        command("bparams", "-a"),
        command("bjobs", "-json", "-o", "jobid stat"),
        command("bhist", "-V"),
    )


def parse(done: Sequence[Completed]) -> SiteFacts:
    """Read their answers."""
    config, parameters, queue, history = done
    told = config_of(config.stdout) if config.ok else None
    period = config_of(parameters.stdout).get("CLEAN_PERIOD", "") if parameters.ok else ""
    jobs = states.records(queue)
    return SiteFacts(
        accounting="bhist cannot be run" if history.returncode is None else "",
        forgets_after=f"{period} s (CLEAN_PERIOD)" if period.isdecimal() else "",
        enforcement=None if told is None else _enforcement(told),
        own_jobs=Counter(job.get("STAT", "") for job in jobs if "STAT" in job) if isinstance(jobs, list) else None,
    )


def _enforcement(config: Mapping[str, str]) -> Enforcement:
    """Say what jobs are not held to, as far as one setting tells; affinity of a queue's may keep them, too."""
    held = config.get("LSB_RESOURCE_ENFORCE", "").lower().split()
    by_limit = any(
        config.get(name, "").lower().startswith("y") for name in ("LSB_JOB_MEMLIMIT", "LSB_MEMLIMIT_ENFORCE")
    )
    loose = tuple(
        what for what, kept in (("cores", "cpu" in held), ("memory", "memory" in held or by_limit)) if not kept
    )
    return Enforcement(loose, f"LSB_RESOURCE_ENFORCE={' '.join(held) or 'not set'}")
