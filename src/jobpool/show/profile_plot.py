"""A profile as a picture. The one file that needs matplotlib."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jobpool.model.units import Memory
from jobpool.sizing.measurements import Measurements
from jobpool.sizing.sizing import windows

__all__ = ["draw"]

MEBI = 2**20

_SINCE = "seconds since the call began (a colour for each sample)"


def draw(profile: Measurements) -> Figure:
    """Draw CPUs and memory over the time of the calls, and the worker's memory after each call."""
    figure = Figure(figsize=(9, 7.5), layout="constrained")
    cpus, memory, after = figure.subplots(3, 1)
    _draw_cpus(cpus, profile)
    _draw_memory(memory, profile)
    _draw_growth(after, profile)
    figure.suptitle(f"{profile.function}: {len(profile.calls)} calls on {profile.node or 'this machine'}")
    return figure


def _draw_cpus(axes: Axes, profile: Measurements) -> None:
    for call in profile.calls:
        parts = windows(call.looks) or [(call.wall, call.cpus)]
        edges = [0.0]
        for seconds, _ in parts:
            edges.append(edges[-1] + seconds)
        axes.stairs([used for _, used in parts], edges, color=f"C{call.sample % 10}", alpha=0.8, baseline=None)
    proposal = profile.request()
    threads = proposal.cores * proposal.threads_per_core
    axes.axhline(threads, color="black", linestyle="--", linewidth=1, label=f"proposed: {threads} CPU(s)")
    axes.set(xlabel=_SINCE, ylabel="CPUs used", xlim=(0, None))
    axes.set_ylim(0, 1.1 * max(threads, profile.peak_cpus.most))
    _legend(axes)


def _draw_memory(axes: Axes, profile: Measurements) -> None:
    for call in profile.calls:
        times = [0.0, *(look.at for look in call.looks)]
        sizes = [call.before / MEBI, *(look.memory / MEBI for look in call.looks)]
        axes.plot(times, sizes, color=f"C{call.sample % 10}", alpha=0.8)
    _mark(axes, profile)
    axes.set(xlabel=_SINCE, ylabel="memory, MiB", xlim=(0, None))


def _draw_growth(axes: Axes, profile: Measurements) -> None:
    numbers = range(1, len(profile.calls) + 1)
    axes.plot(numbers, [call.peak / MEBI for call in profile.calls], "o", label="peak", color="C0", markersize=9)
    axes.plot(numbers, [call.after / MEBI for call in profile.calls], "s-", label="after the call", color="C1")
    _mark(axes, profile)
    grows = profile.growth
    told = f"grows by {grows.each} with each call" if grows.leaks else "no growth" if grows.known else "too few calls"
    axes.set(xlabel=f"call ({told})", ylabel="memory, MiB")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _mark(axes: Axes, profile: Measurements) -> None:
    proposed: Memory = profile.request().memory
    axes.set_ylim(0, 1.1 * max(proposed, profile.memory.most) / MEBI)
    axes.axhline(proposed / MEBI, color="black", linestyle="--", linewidth=1, label=f"proposed: {proposed}")
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Say above the axes what the lines are: inside, it would cover some of them."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.1)
