"""``jobpool demo``: run the example that comes with the package, as its own script.

The script is ``examples/video_analysis.py``, and is written once: a checkout has it there, a wheel carries a copy.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jobpool.model.errors import JobPoolError

__all__ = ["missing", "run", "script"]

_NEEDS = {"cv2": "opencv-python-headless", "matplotlib": "matplotlib", "numpy": "numpy", "skvideo": "scikit-video"}


def script() -> Path:
    """Return the path of the example. Raises ``JobPoolError`` if it was not installed."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "examples", here.parents[1] / "examples"):
        if (found := folder / "video_analysis.py").is_file():
            return found
    raise JobPoolError("the demo, examples/video_analysis.py, is missing in this installation of jobpool")


def missing() -> list[str]:
    """Return the distributions that the example needs and that are not installed."""
    return [name for module, name in _NEEDS.items() if importlib.util.find_spec(module) is None]


def run(arguments: Sequence[str] = ()) -> NoReturn:
    """Become the example: it runs in place of this process, with these arguments, as if started by hand.

    Raises ``JobPoolError`` if what it needs is not installed.
    """
    if absent := missing():
        raise JobPoolError(
            f"the demo needs packages that are not installed: {', '.join(absent)}",
            advice="pip install 'jobpool[examples]'",
        )
    command = [sys.executable, str(script()), *arguments]
    print("$ python", *command[1:], flush=True)
    os.execv(sys.executable, command)
