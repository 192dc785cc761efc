"""What the docs say is so: their Python runs, their directives get written, their links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tried

import jobpool
from jobpool.batch import registry
from jobpool.batch.slurm.script import directives
from jobpool.config.files import Places
from jobpool.config.resolve import resolve
from jobpool.config.settings import SETTINGS
from jobpool.model.site import Limits

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """Return the page's blocks in this language as (rest of the info string, text)."""
    return re.findall(rf"^```{language}\b *([^\n]*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(300)  # some seconds; a minute was seen on a busy machine
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    # One after the other in one script, as a reader would; "skip" marks what needs a real cluster.
    parts = [text for info, text in blocks(page, "python") if info != "skip"]
    script = tmp_path / "page.py"
    script.write_text("\n\n".join(parts))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "JOBPOOL_SCHEDULER": "local"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_that_does_not_run_here_is_python_at_least(page: Path) -> None:
    for info, text in blocks(page, "python"):
        assert info in ("", "skip")
        ast.parse(text)


def rows(heading: str, page: Path = ROOT / "README.md") -> list[list[str]]:
    """Return the rows of the page's table with this first heading."""
    [table] = re.findall(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE)
    cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in table.splitlines()]
    return [[cell.strip().replace(r"\|", "|") for cell in line] for line in cells]


def keywords(text: str) -> dict[str, object]:
    call = ast.parse(f"f({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}


@pytest.mark.parametrize("row", rows("you write"), ids=lambda row: row[0])
def test_the_readmes_directives_are_those_that_are_written(row: list[str], tmp_path: Path) -> None:
    asked = keywords(row[0].strip("`"))
    nothing: dict[str, Any] = {"environment": {}, "cwd": tmp_path, "places": Places()}
    settings = resolve({"scheduler": "slurm", **asked}, **nothing)
    if "max_workers" in asked:
        assert str(settings.max_workers) in row[1]
        return
    written = {line.text for line in directives(settings.request)}
    always = {line.text for line in directives(resolve({"scheduler": "slurm"}, **nothing).request)}
    # All that this request adds is stated, and maybe some of what stands in every script.
    assert written - always <= set(row[1].strip("`").split(" ")) <= written


SYSTEMS = {page.stem.removeprefix("on-"): page for page in sorted((ROOT / "docs").glob("on-*.md"))}
"""The pages of the batch systems, by the name that ``scheduler=`` takes."""


@pytest.mark.parametrize("page", SYSTEMS.values(), ids=SYSTEMS)
def test_the_pages_of_the_batch_systems_have_the_same_sections(page: Path) -> None:
    assert re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE) == [
        "What you write, what it gets, what a call sees",
        "Settings",
        "`system_options`",
        "How endings are told",
        "What differs",
        "What is not known",
        "What was run on a real one",
    ]


TABLES = [(name, row) for name, page in SYSTEMS.items() for row in rows("you write", page)]


@pytest.mark.parametrize(("name", "row"), TABLES, ids=lambda value: value if isinstance(value, str) else value[0])
def test_the_directives_on_a_systems_page_are_those_that_are_written(name: str, row: list[str], tmp_path: Path) -> None:
    # What the site decides is as it is where the system says nothing of itself.
    asked = {} if row[0].startswith("no ") else keywords(row[0].strip("`"))
    nothing: dict[str, Any] = {"environment": {}, "cwd": tmp_path, "places": Places()}
    settings = resolve({"scheduler": name, **asked}, **nothing)
    written = "\n".join(line.text for line in registry.get(name, tmp_path).directives(settings.request, Limits()))
    # Directives stand before the prose of their cell.
    head = re.match(r"(?:`[^`]+`(?:, | and )?)*", row[1])
    assert head is not None
    stated = re.findall(r"`([^`]+)`", head[0])
    assert stated or set(asked) == {"max_workers"} or "the site's name" in row[1]
    assert [text for text in stated if _unquoted(text) not in _unquoted(written)] == []


def _unquoted(text: str) -> str:
    # Whether a shell's words are between single or double quotes is not what a page tells.
    return text.replace("'\"'\"'", "'").replace('"', "'")


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_systems_page_has_each_of_its_options(name: str, tmp_path: Path) -> None:
    told = {word for row in rows("name", SYSTEMS[name]) for word in re.findall(r"`(\w+)`", row[0])}
    request = resolve({"scheduler": name}, environment={}, cwd=tmp_path, places=Places()).request
    with pytest.raises(jobpool.ConfigError) as caught:
        registry.get(name, tmp_path).directives(replace(request, system_options=(("zzz", "1"),)), Limits())
    [known] = re.findall(r"it has ([\w, ]+)", str(caught.value))
    assert told == set(known.split(", "))


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_can_be_found_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert [
        page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md" and page.name not in index
    ] == []


def test_the_reference_has_every_public_name_and_every_setting() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    missing = [name for name in (*jobpool.__all__, *SETTINGS) if not re.search(rf"\b{name}\b", text)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_in_the_docs_exist(page: Path) -> None:
    from jobpool.cli.main import jobpool as command_line

    makefile = (ROOT / "Makefile").read_text()
    for _, text in blocks(page, "console"):
        for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
            match line.split():
                case ["jobpool", name, *_]:
                    assert name in command_line.commands, line
                case ["make", target, *_]:
                    assert re.search(rf"^{target}:", makefile, re.MULTILINE), line


@pytest.mark.slow
def test_what_was_tried_is_there_and_is_not_less_than_the_docs_say() -> None:
    text = (ROOT / "docs" / "what-was-tried.md").read_text()
    rows = re.findall(r"^\| (.+) \| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    told = {kind: (int(inputs.replace(",", "")), int(runs.replace(",", ""))) for kind, inputs, runs in rows}
    del told["together"]
    there = tried.counts(tried.collected(file for files in tried.TRIED.values() for file in files))
    assert told.keys() == there.keys()
    less = {
        kind: there[kind] for kind in told if any(now < then for now, then in zip(there[kind], told[kind], strict=True))
    }
    assert less == {}


SOURCE = ROOT / "src" / "jobpool"
GLOSSARY = dict(
    re.findall(r"^- \*\*(.+?)\*\*: (.+(?:\n  .+)*)", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
)

RETIRED_MODULES = """
about aside asking bars bell births causes control crew diary doctor_here doctor_room door fake_door figures fleet
guard hiring initial inquiry kills kinds lines mapping nested nursery offers pace page parked place reap remaining rests
resuming returning roster rows sendable staffing submitting tally tasks tidy unchanged watch
"""
RETIRED_CLASSES = "Batch Birth Crew Diary Door Fleet Nursery Place Roster Staff Tally Terms"
"""Names for which another word was chosen."""


def test_the_glossary_explains_each_word_in_alphabetical_order() -> None:
    assert len(GLOSSARY) > 40
    assert sorted(GLOSSARY) == list(GLOSSARY)
    assert [word for word, meaning in GLOSSARY.items() if not meaning.endswith((".", ".)"))] == []


def test_each_word_of_the_glossary_is_used_in_the_source() -> None:
    text = " ".join(re.sub(r"[\W_]+", " ", file.read_text().lower()) for file in SOURCE.rglob("*.py"))
    assert [word for word in GLOSSARY if " " + re.sub(r"\W", " ", word) not in text] == []


def test_no_module_and_no_class_has_a_name_that_was_given_up() -> None:
    files = list(SOURCE.rglob("*.py"))
    assert {file.stem for file in files} & set(RETIRED_MODULES.split()) == set()
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    assert {node.name for node in nodes if isinstance(node, ast.ClassDef)} & set(RETIRED_CLASSES.split()) == set()
