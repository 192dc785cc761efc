"""``explain``: what a request becomes, from the directives to what a call sees. Without a pool and without a job."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any

from jobpool.batch import registry
from jobpool.config import resolve
from jobpool.host.home import home
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Memory
from jobpool.show import explanation as shown
from jobpool.site import explain as site_explain
from jobpool.site.check import choose_partition
from jobpool.tools.check import read_limits_now, tried

__all__ = ["Explained", "explain", "explain_settings"]


class Explained(site_explain.Explanation):
    """What a request becomes. ``print`` it, or let a notebook show it with a picture of the node."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Explained: {len(self.directives)} directives, {len(self.nodes)} kind(s) of node>"

    def __str__(self) -> str:
        return shown.as_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the text, and not the fields, as the result of a cell without pictures."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return shown.as_html(self)


def explain(**keywords: Any) -> Explained:
    """Say what a pool's request becomes: directives with reasons, what a node gives, what a call sees. ::

        print(jobpool.explain(cores=4, memory="8 GiB", walltime="5h"))

    Args:
        **keywords: As :class:`JobPoolExecutor` takes them; what is not given comes from the configuration.

    Raises:
        ConfigError: Values that cannot be used; all problems at once.
    """
    return explain_settings(resolve.resolve(keywords))


def explain_settings(settings: resolve.Settings) -> Explained:
    """Do the same for settings that are found already."""
    able = registry.capabilities(settings.system)
    limits = this_machine() if able.shares_machine else read_limits_now(settings.system, settings.submit_host)
    request = choose_partition(tried(settings, limits), limits)
    if able.shares_machine:
        request = replace(request, partition=None)
    directives = registry.get(settings.system, home()).directives(request, limits)
    made = site_explain.explain(
        request,
        limits,
        system=settings.system,
        directives=[(directive.text, directive.why) for directive in directives],
        max_workers=settings.max_workers,
    )
    values = {field.name: getattr(made, field.name) for field in fields(made)}
    if settings.auto:
        names = ", ".join(settings.auto)
        values["notes"] = (
            *made.notes,
            f"auto ({names}): this is what the first calls run with; they say what comes then",
        )
    if not able.refuses:
        values |= {"problems": (), "notes": ("the jobs are processes of this machine: nothing is refused",)}
    return Explained(**values)


def this_machine() -> Limits:
    """Describe this machine as a site of one node, for the picture."""
    import psutil

    cores = resolve.local_cores()
    threads = max(1, len(os.sched_getaffinity(0)) // cores)
    node = NodeShape(count=1, cores=cores, threads_per_core=threads, memory=Memory(psutil.virtual_memory().total))
    return Limits(partitions=(Partition(name="this machine", default=True, nodes=(node,)),), confined=False)
