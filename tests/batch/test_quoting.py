"""What goes into a script comes out of it as it was: tried with bash itself, and with sbatch's own rules."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobpool.batch.quoting import check_name, exports, shell_command, shell_lines, shell_word, single_line
from jobpool.batch.slurm.script import _option
from jobpool.model.errors import ConfigError

anything = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=30).filter(
    lambda text: all(
        not 0xD800 <= ord(character) < 0xDC80 and not 0xDCFF < ord(character) < 0xE000 for character in text
    )
)
one_line = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1, max_size=60)


def bash(script: str) -> bytes:
    return subprocess.run(["bash"], input=script.encode(), capture_output=True, check=True).stdout


@given(st.lists(anything, max_size=8))
@settings(max_examples=60, deadline=None)
def test_bash_reads_back_every_word(words: list[str]) -> None:
    printed = bash(f"printf '%s\\0' {shell_command(words)} end")
    assert printed.split(b"\0")[:-1] == [*(word.encode(errors="surrogateescape") for word in words), b"end"]


@given(anything)
@settings(max_examples=30, deadline=None)
def test_bash_exports_every_value(value: str) -> None:
    [line] = exports({"JOBPOOL_TEST": value})
    assert bash(f'{line}\nprintf %s "$JOBPOOL_TEST"') == value.encode(errors="surrogateescape")


@given(anything)
def test_no_control_character_is_written_into_a_script(value: str) -> None:
    assert not {"\r", "\n"} & set(shell_word(value))


def sbatch_words(line: str) -> list[str]:
    """Read a directive as ``get_argument`` in SLURM's src/common/slurm_opt.c does."""
    words: list[str] = []
    rest = line
    while rest := rest.lstrip(" \t\v\f"):
        if rest.startswith("#"):
            break
        word, quote, escaped, position = "", "", False, 0
        for position, character in enumerate(rest):  # noqa: B007
            if escaped:
                word, escaped = word + character, False
            elif character == "\\":
                escaped = True
            elif quote:
                word, quote = (word, "") if character == quote else (word + character, quote)
            elif character in "'\"":
                quote = character
            elif character == "#" or character in " \t\v\f":
                break
            else:
                word += character
        else:
            position += 1
        assert not quote, f"unmatched quote in {line!r}"
        words.append(word)
        if rest[position : position + 1] == "#":
            break
        rest = rest[position:]
    return words


@given(one_line)
def test_sbatch_reads_back_every_value(value: str) -> None:
    assert sbatch_words(_option("--comment", value)) == [f"--comment={value}"]


@pytest.mark.parametrize("value", ["", "a\nb", "a\r", "a\0b", "\udcff"])
def test_what_is_no_line_of_text_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="the thing"):
        single_line(value, "the thing")


def test_a_very_long_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer"):
        _option("--comment", "x" * 5000)


@pytest.mark.parametrize("name", ["", "1a", "a b", "a_b", "a" * 61, "-a", "ä", "a\n"])
def test_bad_names_of_submissions(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name"):
        check_name(name)


def test_bad_variables_and_setup_lines() -> None:
    with pytest.raises(ConfigError, match="not a name"):
        exports({"A;B": "x"})
    with pytest.raises(ConfigError, match="NUL"):
        exports({"A": "x\0"})
    with pytest.raises(ConfigError, match="setup"):
        shell_lines(["a\0"])
    assert shell_lines(["a\r\nb\r\n"]) == ["a\nb\n"]


@pytest.mark.parametrize(
    "line",
    ["module load x", " ml x", "true && module load x", "a\nmodule x"],
)
def test_where_setup_uses_modules_they_are_looked_for_first(line: str) -> None:
    first, *rest = shell_lines(["umask 022", line])
    assert "type module" in first
    assert rest == ["umask 022", line]


@pytest.mark.parametrize("line", ["python -m module", "source xml.sh", "echo $module ", "html x"])
def test_other_lines_of_setup_stand_alone(line: str) -> None:
    assert shell_lines([line]) == [line]
