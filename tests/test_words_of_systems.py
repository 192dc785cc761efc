"""No word of one batch system stands in the source outside of its own folder: a new system is a folder and a line.

Docstrings and help texts tell readers about systems by name, and are left out, as comments are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobpool

PACKAGE = Path(jobpool.__file__).parent
SYSTEMS = sorted(folder.name for folder in (PACKAGE / "batch").iterdir() if (folder / "system.py").is_file())

# The registry names all systems; testing plays and brings up one of them; examples are scripts of users.
FREE = ("batch/registry.py", "testing/", "examples/")

WORDS = {
    "slurm": "sacct sacctmgr salloc sattach sbatch sbcast scancel scontrol sdiag sinfo slurm sprio squeue sreport srun "
    "sshare sstat strigger",
    "pbs": "pbs pbsdsh pbsnodes qalter qdel qhold qmgr qmove qrls qrun qselect qsig qstat qsub tracejob",
    "sge": "qacct qconf qhost qlogin qmod qquota qrsh sge",
    "lsf": "bacct bhist bhosts bjobs bkill blaunch bmod bparams bpeek bqueues bresume bstop bsub lsf lshosts lsload",
    "htcondor": "condor htcondor",
    "oar": "oar oardel oarnodes oarresume oarsh oarstat oarsub",
}
"""What systems and their commands are called. The beginning of a longer name counts: ``slurmd``, ``pbs_server``."""

_WORD = re.compile(
    rf"(?<![a-z0-9])(?:(?:slurm|condor|htcondor)\w*|(?:{'|'.join(' '.join(WORDS.values()).split())})(?![a-z0-9]))",
    re.IGNORECASE,
)


def words_in(text: str) -> list[str]:
    return [match[0] for match in _WORD.finditer(text)]


def told(source: str) -> Iterator[str]:
    """Yield the names and the texts of a file that act or are shown: all but docstrings and help texts."""
    tree = ast.parse(source)
    silent: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            silent.add(node.value)
        elif isinstance(node, ast.keyword) and node.arg == "help":
            silent |= set(ast.walk(node.value))
    for node in ast.walk(tree):
        if node in silent:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            yield str(node.value)
        for field in ("id", "attr", "name", "arg", "module", "asname"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


def files() -> Iterator[str]:
    own = tuple(f"batch/{system}/" for system in SYSTEMS)
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE).as_posix()
        if not name.startswith((*own, *FREE)):
            yield name


@pytest.mark.parametrize("file", list(files()))
def test_no_word_of_a_batch_system_stands_outside_of_its_folder(file: str) -> None:
    assert [text for text in told((PACKAGE / file).read_text()) if words_in(text)] == []


def test_words_are_found_where_they_act_and_in_no_other_word() -> None:
    source = '''
"""SLURM is spoken of here."""
import jobpool.batch.slurm.system
def as_sbatch(x): return x.squeue, "SLURM_JOB_ID", f"ask {x} with qstat", help_of(help="an sbatch script")
class CallsCancelled: "of a mousrun"
'''
    assert {text for text in told(source) if words_in(text)} == {
        "jobpool.batch.slurm.system",
        "as_sbatch",
        "SLURM_JOB_ID",
        " with qstat",
        "squeue",
    }
