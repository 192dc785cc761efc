"""The command that runs Python of a job in a container, for the programs that sites have for it.

A job's agent is to find in the container what it finds outside: the pool's directory with the keys, its logs, the
user's modules, its variables, the network and the processes of the node. It is bound to its cores, and gets the batch
system's signals, as if there were no container. So nothing is parted from the host but its files, and of these what the
pool needs is bound into the container under the same name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from jobpool.batch.quoting import single_line
from jobpool.model.errors import ConfigError

__all__ = ["PROGRAMS", "Image", "binds", "command", "image_of"]

PROGRAMS = {
    "apptainer": "apptainer",
    "singularity": "singularity",
    "podman": "podman",
    "charliecloud": "ch-run",
}
"""The words before ``://`` in ``container=``, each with its program."""

_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr/bin",
           "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/sbin", "/usr/share")  # fmt: skip
"""The operating system's, which is the image's own in a container."""

_TOPS = ("/", "/usr", "/usr/local", "/var", "/opt", "/home", "/tmp")
"""Not bound themselves, as they may hide the image's own. What lies below them may be."""

_NEVER = ("/usr", "/usr/local", "/var")
"""Of these, those that are never a mount point in the place of what lies below."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image, and what runs it."""

    runtime: str
    """A word of ``PROGRAMS``."""
    name: str
    """As the program takes it: a path, or a name in a registry."""


def image_of(text: str, *, which: Callable[[str], str | None], is_directory: Callable[[str], bool]) -> Image:
    """Return the image, with the program that its prefix names, or else the first that is here and can run it.

    Raises ``ConfigError`` when none is here.
    """
    named = re.fullmatch(rf"({'|'.join(PROGRAMS)})://(.+)", text)
    if named:
        return Image(named[1], named[2])
    able = _able(text, is_directory)
    for runtime in able:
        if which(PROGRAMS[runtime]):
            return Image(runtime, text)
    programs = " or ".join(PROGRAMS[runtime] for runtime in able)
    raise ConfigError(
        f"container={text!r} cannot be used: it needs {programs}, and that cannot be found on this host",
        advice=f"where only the nodes have the program, name it: container='{able[0]}://{text}'",
    )


def _able(text: str, is_directory: Callable[[str], bool]) -> tuple[str, ...]:
    if re.match(r"[a-z]+://", text):
        return ("apptainer", "singularity")
    if not text.startswith("/"):
        return ("podman",)  # a name in a registry, or of an image that was built here
    return ("apptainer", "singularity", "charliecloud") if is_directory(text) else ("apptainer", "singularity")


def binds(folders: Iterable[str]) -> tuple[str, ...]:
    """Return those of these folders that are bound: none that hides the image's system, none inside of another."""
    paths = map(PurePath, folders)
    return _outermost(
        str(path)
        for path in paths
        if str(path) not in _TOPS and not any(path.is_relative_to(system) for system in _SYSTEM)
    )


def _outermost(folders: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for folder in sorted(set(folders)):  # one comes before what is inside of it
        if not any(PurePath(folder).is_relative_to(other) for other in found):
            found.append(folder)
    return tuple(found)


def command(
    image: Image,
    python: Sequence[str],
    *,
    folders: Iterable[str],
    working_directory: str,
    gpus: bool,
    options: Sequence[str] = (),
    as_root: bool,
    in_image: Callable[[str], bool] = lambda folder: True,
) -> tuple[str, ...]:
    """Return the command that runs Python in a container.

    ``folders`` are what the pool needs; ``options`` are the user's, for the program. ``as_root``: the jobs' user is
    root. ``in_image`` says whether an image that is a directory has such a folder.

    Raises ``ConfigError`` for a folder that cannot be bound.
    """
    bound = [_bindable(folder) for folder in binds(folders)]
    program = PROGRAMS[image.runtime]
    match image.runtime:
        case "podman":
            # Memory and cores are those of the batch job: no control group of its own, which Podman allows with process
            # ids of its own alone. The image's own entrypoint is not ours.
            shared = [f"--{space}=host" for space in ("network", "ipc")]
            shared += ["--cgroups=disabled", "--security-opt=label=disable"]
            user = [] if as_root else ["--userns=keep-id"]
            volumes = [f"--volume={folder}:{folder}" for folder in (*bound, "/tmp")]
            devices = ["--device=nvidia.com/gpu=all"] if gpus else []
            words = ["run", "--rm", "--env-host", *shared, *user, "--entrypoint=", f"--workdir={working_directory}"]
            return (program, *words, *volumes, *devices, *options, image.name, *python)
        case "charliecloud":
            # Its own /tmp would be what TMPDIR names, in which other places below /tmp are missing.
            points = _outermost(["/tmp", *(_mount_point(folder, image.name, in_image) for folder in bound)])
            words = [f"--cd={working_directory}", *(f"--bind={folder}" for folder in points), *options]
            return (program, *words, image.name, "--", *python)
        case _:
            words = ["exec", f"--pwd={working_directory}", *(f"--bind={folder}" for folder in bound)]
            return (program, *words, *(["--nv"] if gpus else []), *options, image.name, *python)


def _bindable(folder: str) -> str:
    if bad := next((character for character in folder if character in ":,"), None):
        raise ConfigError(f"{folder!r} cannot be bound into a container: its name contains {bad!r}")
    return single_line(folder, "a folder that is bound into the container")


def _mount_point(folder: str, image: str, in_image: Callable[[str], bool]) -> str:
    """Return the folder, or the nearest above it that the image has: nothing can be made in an image."""
    path = PurePath(folder)
    for place in (path, *path.parents[:-1]):
        if place.is_relative_to("/tmp") or (in_image(str(place)) and str(place) not in _NEVER):
            return str(place)
    raise ConfigError(
        f"{folder} cannot be bound into the image {image}, which has no such folder",
        advice=f"make an empty folder in the image: mkdir {image}/{path.parts[1]}",
    )
