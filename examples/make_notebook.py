"""Write ``video_analysis.ipynb`` from ``video_analysis.py``: the analysis is written once.

    python examples/make_notebook.py

The notebook's cells are the script's parts (between ``# %%`` lines), with a few lines of text between them. It is
executed and saved with its outputs, without the times and names of the machine that did it.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from traitlets.config import Config

HERE = Path(__file__).parent

TITLE = """\
# Motion and trajectories in video clips

Every clip is cut into segments and each segment is one call of `analyse`. On a laptop the calls run on local processes,
on a cluster in batch jobs; nothing in this notebook changes. The functions below are defined in its cells: the
workers get them from here.

This is `video_analysis.py`, written into a notebook by `make_notebook.py`."""

RUN = """\
from IPython.display import display

paths = find_clips()  # or find_clips(Path("my/videos"))
with JobPoolExecutor(max_workers=4, cores=1, memory="1 GiB", walltime="30 min") as pool:
    results, workers = analyse_all(pool, paths)"""

SHOW = ["display(table(results))", "%matplotlib inline\ndisplay(picture(results))"]


def parts() -> list[tuple[str, str]]:
    """Return the script's parts as (heading, code), without what belongs to a command line only."""
    text = (HERE / "video_analysis.py").read_text()
    head, *rest = re.split(r"^# %% (.*)\n", text, flags=re.MULTILINE)
    pairs = [("Imports", head), *zip(rest[::2], rest[1::2], strict=True)]
    return [(heading, _for_notebook(code)) for heading, code in pairs]


def _for_notebook(code: str) -> str:
    code = code.partition("\ndef arguments(")[0]
    code = re.sub(r'\A""".*?"""\n', "", code, flags=re.DOTALL)
    code = code.replace("import JobPoolError, JobPoolExecutor", "import JobPoolExecutor")
    return re.sub(r"^(import (argparse|sys)|from (rich.console|typing) .*)\n", "", code, flags=re.MULTILINE).strip()


def build() -> nbformat.NotebookNode:
    """Return the notebook without outputs."""
    cells = [new_markdown_cell(TITLE)]
    for heading, code in parts():
        cells += [new_markdown_cell(f"## {heading}"), new_code_cell(code)]
    cells += [new_code_cell(code) for code in (RUN, *SHOW)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook: nbformat.NotebookNode = new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in a kernel of this interpreter, in ``folder``. Raises ``CellExecutionError`` if one fails."""
    with tempfile.TemporaryDirectory() as private:
        # Over socket files in a private folder: a kernel's TCP ports are open to everybody on the machine.
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{private}/kernel"}})
        where = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where, config=config).execute()


def forget_machine(notebook: nbformat.NotebookNode) -> None:
    """Drop what tells of the machine and the moment: progress bars, times of execution, the kernel's version."""
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.output_type == "display_data"]


def main() -> None:
    """Write, execute and save the notebook."""
    notebook = build()
    execute(notebook, HERE)
    forget_machine(notebook)
    nbformat.write(notebook, HERE / "video_analysis.ipynb")


if __name__ == "__main__":
    main()
