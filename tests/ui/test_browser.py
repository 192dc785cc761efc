"""Reports of real runs in a real browser: what somebody sees who opens one."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from sites import FakeSite

from jobpool import JobPoolExecutor
from jobpool.testing import FakeCluster, wait_until

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE = 60.0

WINDOWS = {"wide": (1280, "light"), "narrow": (390, "light"), "dark": (1280, "dark")}
"""Pixels of the window's width, and what the user likes."""

# Boxes and texts of a picture as they are on the screen, in pixels from its left upper corner.
DRAWN = """svg => {
    const frame = svg.getBoundingClientRect();
    const place = (one) => {
        const {x, y, width, height} = one.getBoundingClientRect();
        return {said: one.querySelector("title")?.textContent ?? one.textContent, shown: one.textContent,
                inside: one.classList.contains("inside"), x: x - frame.x, y: y - frame.y, width, height};
    };
    return {width: frame.width, height: frame.height, boxes: [...svg.querySelectorAll("rect")].map(place),
            texts: [...svg.querySelectorAll("text")].map(place)};
}"""

# How much lighter than the paper the ink is, or darker (WCAG's contrast ratio), of all texts that stand on it.
CONTRAST = """() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(part => part / 255)
            .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    const ratio = (ink) => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    const words = [...document.querySelectorAll("h1, h2, p, li, td, th, svg text:not(.inside)")];
    return words.map(node => {
        const style = getComputedStyle(node);
        return [ratio(light(node.closest("svg") ? style.fill : style.color)), node.textContent];
    });
}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser of this machine, without a window. (Of the module: its loop would be in the way of others' loops.)"""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        reason = f"no browser here, looked for {', '.join(PROGRAMS)}; on Debian: apt-get install {PROGRAMS[0]}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(f"NOT TESTED: pages in a browser; {reason}")
    own: dict[str, str | float | bool] = {**os.environ, "HOME": str(tmp_path_factory.mktemp("browser"))}
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=program, env=own)
        yield browser
        browser.close()


def track(seconds: float, end: str = "") -> float:
    time.sleep(seconds)
    if end == "raise":
        print("<i>frame 1</i>")
        raise ValueError("the clip is dark")
    if end == "die":
        os._exit(3)
    return seconds


def square(number: int) -> int:
    return number * number


def local_run(directory: Path) -> tuple[Path, dict[str, int]]:
    """Run calls of all kinds on this machine. Returns the report, and how many bars it has to have of each outcome."""
    with JobPoolExecutor(2, scheduler="local", name="mine", memory="8 GiB") as pool:
        futures = [pool.submit(track, 0.1, "raise" if clip % 5 == 4 else "") for clip in range(20)]
        futures.append(pool.submit(track, 0.1, "die"))
        assert sum(future.exception() is not None for future in futures) == 5
        assert sum(pool.map(square, range(20_000))) > 0
    return pool.report(directory / "run.html"), {"done": 16, "raised": 4, "ran again": 2, "killed": 1}


def run_with_losses(directory: Path) -> tuple[Path, dict[str, int]]:
    """Run calls on a fake SLURM that ends two of three jobs: one comes back, one does not."""
    with FakeCluster(directory / "cluster") as cluster:
        site = FakeSite(cluster)
        with site.entered(), site.make(3, name="mine", memory="8 GiB", walltime="1h") as pool:
            gate = directory / "gate"
            futures = [pool.submit(hold, str(gate)) for _ in range(3)]
            assert wait_until(lambda: all(future.running() for future in futures), PATIENCE)
            first, second, _ = site.jobs_in_queue("mine")
            site.end_job(first, "node failed")
            site.end_job(second, "preempted")
            assert wait_until(lambda: len(list(directory.glob("gate-*"))) == 5, PATIENCE)
            assert wait_until(lambda: all(future.running() for future in futures), PATIENCE)
            gate.touch()
            assert [future.result(timeout=PATIENCE) for future in futures] == ["held"] * 3
            assert [future.result(timeout=PATIENCE) for future in [pool.submit(track, 0.05) for _ in range(12)]]
    return pool.report(directory / "run.html"), {"done": 15, "ran again": 2}


def hold(gate: str) -> str:
    print("<i>frame 1</i>")
    Path(f"{gate}-{time.time_ns()}").touch()
    time.sleep(0.1)  # long enough for a bar of its own
    while not Path(gate).exists():
        time.sleep(0.02)
    return "held"


RUNS = {"local": local_run, "fake": run_with_losses}


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest) -> Iterator[tuple[Path, dict[str, int]]]:
    """A run's report, and how many bars it has to have of each outcome. The runs are shared: they take some seconds."""
    directory = Path(tempfile.mkdtemp(prefix="jobpool-run-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(directory))
        yield RUNS[request.param](directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=WINDOWS)
def page(request: pytest.FixtureRequest, browser: Browser, run: tuple[Path, dict[str, int]]) -> Iterator[Page]:
    """The report in a window. Fails when it needed anything else, or something in it was wrong."""
    width, scheme = WINDOWS[request.param]
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(run[0].as_uri())
    yield page
    context.close()
    assert asked == [run[0].as_uri()]
    assert said == []


def pictures(page: Page) -> list[dict[str, Any]]:
    return [svg.evaluate(DRAWN) for svg in page.locator("svg").all()]


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        one[at] + one[size] > other[at] + 0.5 and other[at] + other[size] > one[at] + 0.5
        for at, size in (("x", "width"), ("y", "height"))
    )


def test_a_report_is_seen_whole(page: Page, run: tuple[Path, dict[str, int]]) -> None:
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    _, timeline = pictures(page)
    for outcome, count in run[1].items():
        bars = [box for box in timeline["boxes"] if f": {outcome}, from" in box["said"]]
        assert len(bars) == count, outcome
    for picture in pictures(page):
        for one in picture["boxes"]:
            assert one["width"] >= 0.4, one
            assert one["height"] >= 1, one
        for one in (*picture["boxes"], *picture["texts"]):
            assert one["x"] >= -1, one
            assert one["y"] >= -1, one
            assert one["x"] + one["width"] <= picture["width"] + 1, one
            assert one["y"] + one["height"] <= picture["height"] + 1, one
        texts = [text for text in picture["texts"] if not text["inside"]]
        for place, text in enumerate(texts):
            assert text["height"] >= 9, text  # what is smaller nobody reads
            assert not [other for other in texts[:place] if overlap(text, other)], text

    for words in ("memory: asked 8 GiB", "Each bar below a job is a call"):
        assert page.get_by_text(words).is_visible()
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 50
    assert [told for ratio, told in contrasts if ratio < 4.5] == []


def test_what_is_too_wide_is_reached_by_scrolling_its_own_part(page: Page) -> None:
    for part in page.locator(".wide").all():
        scrolls, hidden = part.evaluate(
            "part => [getComputedStyle(part).overflowX, part.scrollWidth > part.clientWidth]"
        )
        assert scrolls == "auto" or not hidden


def test_the_output_of_a_call_is_shown_when_it_is_asked_for(page: Page) -> None:
    output = page.get_by_text("<i>frame 1</i>").first
    assert not output.is_visible()
    page.get_by_text("output", exact=True).first.click()
    assert output.is_visible()
