"""``explain_script`` and ``explain_cluster``: what a job script, or a call of dask-jobqueue, would really give."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from jobpool.batch import registry
from jobpool.batch.explainer import Explainer
from jobpool.config.jobqueue_yaml import dask_bytes, dask_processes
from jobpool.model.errors import ConfigError
from jobpool.model.site import Limits
from jobpool.model.units import Memory
from jobpool.show import explanation_script as shown
from jobpool.site import explain_script as site_script
from jobpool.tools.check import read_limits_now

__all__ = ["ExplainedScript", "cluster_of", "cluster_script", "explain_cluster", "explain_script", "read_call"]


class ExplainedScript(site_script.ScriptExplanation):
    """What a job script would really give. ``print`` it."""

    __slots__ = ()

    def __str__(self) -> str:
        return shown.as_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the text, and not the fields, as the result of a notebook's cell."""
        printer.text(str(self))


def explain_script(text: str, *, limits: Limits | None = None) -> ExplainedScript:
    """Say what the directives of an sbatch script would really give, and name the pitfalls in it.

    Args:
        text: The script.
        limits: What the site allows. Default: read from SLURM.

    Raises:
        ConfigError: A script for another batch system.
        BatchSystemUnavailable: SLURM cannot be asked here.
    """
    return _explained(text, *_reader_of(text), limits)


def explain_cluster(
    arguments: Mapping[str, Any], *, cluster: str | None = None, limits: Limits | None = None
) -> ExplainedScript:
    """Say what ``dask_jobqueue.SLURMCluster(**arguments)`` would really give for each job.

    Args:
        arguments: Its arguments by name: ``cores``, ``processes``, ``memory``, ``walltime``, ``queue``, ...
        cluster: The name of the class, where it is another one (``OARCluster``).
        limits: What the site allows. Default: read from the batch system.

    Raises:
        ConfigError: Arguments that it would not take, or a class that is not known.
        BatchSystemUnavailable: The batch system cannot be asked here.
    """
    found = _explained(cluster_script(arguments, cluster), *_explainer_of(cluster), limits)
    told = [text for text in found.pitfalls if not text.startswith("OMP_NUM_THREADS")]
    return replace(found, pitfalls=(*_dask_pitfalls(arguments), *told), keywords=_shared_out(found.keywords, arguments))


def _reader_of(text: str) -> tuple[str, Explainer]:
    """Return the batch system, by name, whose directives a script has, or the first that reads scripts."""
    readers = [(name, found) for name, found in registry.explainers().items() if found.reads_scripts]
    return next((reader for reader in readers if reader[1].directs(text)), readers[0])


def _explained(text: str, system: str, explainer: Explainer, limits: Limits | None) -> ExplainedScript:
    asked = explainer.read_script(text)
    limits = read_limits_now(system) if limits is None else limits
    made = site_script.explain_script(asked, limits, explainer)
    return ExplainedScript(**{field.name: getattr(made, field.name) for field in fields(made)})


# ------------------------------------------------------------------------------------------------------- dask-jobqueue


def _explainers_of_clusters() -> dict[str, tuple[str, Explainer]]:
    """Return, by the class of dask-jobqueue, the batch system's name and its explainer; the first is the usual one."""
    return {found.dask_cluster: (name, found) for name, found in registry.explainers().items() if found.dask_cluster}


def _explainer_of(cluster: str | None) -> tuple[str, Explainer]:
    """Return the batch system, by name, and what explains this class. Raises ``ConfigError``."""
    known = _explainers_of_clusters()
    if cluster is None:
        return next(iter(known.values()))
    if cluster not in known:
        raise _other_cluster(cluster, known)
    return known[cluster]


def cluster_script(arguments: Mapping[str, Any], cluster: str | None = None) -> str:
    """Write the directives of dask-jobqueue's cluster for these arguments. Raises ``ConfigError``."""
    _, explainer = _explainer_of(cluster)
    cluster = explainer.dask_cluster
    if problems := [f"{cluster} needs {name}=" for name in ("cores", "memory") if not arguments.get(name)]:
        raise ConfigError.from_problems(problems)
    return explainer.cluster_script(arguments, _bytes(arguments["memory"]))


def _bytes(memory: Any) -> int:
    try:
        return dask_bytes(str(memory))
    except ValueError as error:
        raise ConfigError.from_problems([f"memory={memory!r}: {error}"]) from None


def _shared_out(keywords: Iterable[tuple[str, str]], arguments: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Share a job's cores and memory among workers, one for each of Dask's processes."""
    found = dict(keywords)
    processes = int(arguments.get("processes") or dask_processes(int(arguments["cores"])))
    found["cores"] = repr(max(1, int(found["cores"]) // processes))
    found["memory"] = repr(str(Memory(_bytes(arguments["memory"]) // processes)))
    return (("workers_per_job", repr(processes)), *found.items())


def _dask_pitfalls(arguments: Mapping[str, Any]) -> list[str]:
    cores, size = int(arguments["cores"]), _bytes(arguments["memory"])
    processes = int(arguments.get("processes") or dask_processes(cores))
    threads = max(1, cores // processes)
    found = [
        f"memory={arguments['memory']!r} is of the job: each of its {processes} process(es) may use "
        f"{Memory(size // processes)}, and is stopped above it",
        f"a job runs {processes * threads} call(s) at once: {processes} process(es) of {threads} thread(s), and those "
        "of one process share Python's interpreter lock; scale(jobs=N) counts jobs, scale(N) processes",
        "OMP_NUM_THREADS and the like are set to 1 in the processes, whatever the cores are",
    ]
    if not arguments.get("walltime"):
        found.append("walltime is not given: jobs end after 30 minutes, and calls in them are lost")
    return found


def read_call(text: str) -> dict[str, Any]:
    """Read the keywords of ``SLURMCluster(cores=4, ...)`` without running it. Raises ``ConfigError``."""
    return _read_call(text)[1]


def cluster_of(text: str) -> str:
    """Read the name of the class in ``OARCluster(cores=4, ...)``. Raises ``ConfigError``."""
    return _read_call(text)[0]


def _read_call(text: str) -> tuple[str, dict[str, Any]]:
    known = _explainers_of_clusters()
    found: dict[str, Any] | None = None
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Call) and not call.args:
            found = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
            name = ast.unparse(call.func).rpartition(".")[2]
    except (SyntaxError, ValueError):
        found = None
    if found is None:
        raise ConfigError(
            f"{text!r} is not a call with keywords and plain values",
            advice=f"""write for example: {next(iter(known))}(cores=4, memory="8GB", queue="long")""",
        )
    if name not in known:
        raise _other_cluster(name, known)
    return name, found


_OTHERS = {"moabcluster": "Moab", "localcluster": "no batch system"}
"""Dask's clusters of no batch system that is known here, and what they start jobs with."""


def _other_cluster(name: str, known: Mapping[str, tuple[str, Explainer]]) -> ConfigError:
    usual, (system, _) = next(iter(known.items()))
    starter = _OTHERS.get(name.lower())
    whose = f"starts its workers with {starter}" if starter else f"is not dask-jobqueue's {' or '.join(known)}"
    named = ", ".join(f"{each}(...)" for each in known)
    return ConfigError(
        f"{name}(...) {whose}: the directives of {named} are the ones that can be explained",
        advice=f"where its jobs go to {registry.title(system)} in truth, write {usual}(...) with the same arguments; "
        "what JobPoolExecutor asks for is shown by: jobpool explain cores=4 memory='8 GiB'",
    )
