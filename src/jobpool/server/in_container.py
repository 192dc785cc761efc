"""The command that is Python in the pool's jobs: an interpreter, or a container that runs it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobpool.batch import container
from jobpool.config.resolve import Settings
from jobpool.host.home import home
from jobpool.host.user import user_name
from jobpool.host.versions import python_path
from jobpool.model.request import Request

__all__ = ["python_command", "variables"]


def python_command(settings: Settings, request: Request, *, folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the command that runs Python in a job. ``folders`` are those of the pool; the last is where it works.

    Raises ``ConfigError`` where no program for the container is known, or a folder cannot be in it.
    """
    if settings.container is None:
        return settings.python
    image = _image(settings.container)
    own = settings.origins["python"].kind == "default"
    return container.command(
        image,
        settings.python,
        folders=[*map(str, folders), str(home()), *_modules(), *(_interpreter() if own else ())],
        working_directory=str(folders[-1]),
        gpus=bool(request.gpus),
        options=settings.container_options,
        as_root=os.geteuid() == 0,
        in_image=lambda folder: os.path.isdir(f"{image.name}{folder}"),  # noqa: PTH112 - as text
    )


def variables(settings: Settings) -> dict[str, str]:
    """Return what the program for the container does not start without."""
    named = settings.container is not None and _image(settings.container).runtime == "charliecloud"
    return {"USER": user_name()} if named and "USER" not in os.environ else {}


def _image(text: str) -> container.Image:
    return container.image_of(text, which=shutil.which, is_directory=os.path.isdir)


def _modules() -> Iterator[str]:
    """Name the folders of the user's modules, and of this package where it is not installed."""
    installed = (Path(sys.prefix), Path(sys.base_prefix))
    ours = python_path().get("PYTHONPATH", "").split(os.pathsep)
    for entry in (*sys.path, *ours):
        path = Path(entry or ".").absolute()
        if path.is_dir() and not any(path.is_relative_to(place) for place in installed):
            yield str(path)


def _interpreter() -> Iterator[str]:
    """Name the folders of this interpreter: of its environment, and of what the environment was made from."""
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix)
    yield str(Path(sys.executable).resolve().parent.parent)
