"""What :meth:`JobPoolExecutor.measure` returns: measurements that can be printed and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobpool.model.units import Memory
from jobpool.show.profile_text import as_text
from jobpool.sizing.measurements import Measurements

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Profile"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Profile(Measurements):
    """What a function uses, measured with a few samples. ``print(profile)`` shows it as text.

    Figures are of the whole process tree of a call. A :class:`Spread` has ``least``, ``median`` and ``most``.
    """

    def plot(self, file: str | Path | None = None) -> Figure:
        """Draw CPUs and memory over the time of the calls, and memory from call to call. Needs matplotlib.

        Args:
            file: Where to save the picture, too (``"profile.png"``).

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            from jobpool.show.profile_plot import draw
        except ImportError as error:
            raise ImportError("matplotlib is not installed: pip install matplotlib", name="matplotlib") from error
        figure = draw(self)
        if file is not None:
            figure.savefig(file)
        return figure

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return f"<Profile of {self.function}: {len(self.calls)} calls, up to {Memory(int(self.memory.most))}>"
