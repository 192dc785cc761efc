"""The missing ``if __name__ == "__main__":``, looked for in the text of a script."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from jobpool.diagnose.finding import Finding, Level, ok

__all__ = ["examine_script"]

SUBJECT = "__main__ guard"

_MAKERS = frozenset({"JobPoolExecutor", "Pool"})
_STARTERS = frozenset({"multiprocessing", "ProcessPoolExecutor", "torch", "multiprocess"})
"""Modules and classes that start processes of this machine."""

_Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def examine_script(text: str, name: str, *, start_method: str) -> list[Finding]:
    """Say whether the script makes a pool whenever it is imported, and whether it starts what would import it.

    ``start_method``: how ``multiprocessing`` starts processes where nobody chose it (``fork``, ``forkserver``).
    """
    try:
        tree = ast.parse(text, name)
    except (SyntaxError, ValueError) as error:
        return [Finding(SUBJECT, Level.PROBLEM, f"{name} is not a Python script: {error}")]
    lines = sorted({call.lineno for call in _pools_at_top_level(tree)})
    if not lines:
        return [ok(SUBJECT, f"{name} makes no pool when it is imported")]
    makes = f"line {lines[0]} of {name} makes a pool whenever the script is imported"
    cure = 'put what runs below: if __name__ == "__main__":'
    starter = _starts_processes(tree)
    if starter is None:
        text = f"{makes}: well for 'python {name}'; a call, a test or another script that imports it makes one, too"
        return [Finding(SUBJECT, Level.NOTE, text, cure)]
    line, method = starter
    method = method or start_method
    if method == "fork":
        text = f"{makes}, and line {line} starts processes: well by 'fork', and not by 'spawn' or 'forkserver', which "
        return [Finding(SUBJECT, Level.NOTE, text + "import it (the default from Python 3.14 on)", cure)]
    text = (
        f"{makes}, and line {line} starts processes by {method!r}, which import it: each fails, as its pool is refused"
    )
    return [Finding(SUBJECT, Level.PROBLEM, text, cure)]


def _pools_at_top_level(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield calls at the top level that make a pool, themselves or in a function of the script that they call."""
    makers = _names_of_makers(tree)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    found = True
    while found:  # a function that calls such a function is one, too
        found = False
        for name, function in functions.items():
            if name not in makers and any(_called(call) in makers for call in _calls(ast.walk(function))):
                makers.add(name)
                found = True
    return (call for call in _calls(_run_on_import(tree.body)) if _called(call) in makers)


def _names_of_makers(tree: ast.Module) -> set[str]:
    """Return the words by which this script makes pools: ``JobPoolExecutor``, ``jp.Pool``."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jobpool":
            names |= {alias.asname or alias.name for alias in node.names if alias.name in _MAKERS}
        elif isinstance(node, ast.Import):
            modules = [alias.asname or alias.name for alias in node.names if alias.name == "jobpool"]
            names |= {f"{module}.{maker}" for module in modules for maker in _MAKERS}
    return names


def _run_on_import(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield what an import runs: not the bodies of functions, nor what is guarded."""
    for node in body:
        if isinstance(node, _Scope):
            continue
        if isinstance(node, ast.If) and _is_guard(node.test):
            yield from _run_on_import(node.orelse)
            continue
        yield node
        yield from _run_on_import(list(ast.iter_child_nodes(node)))


def _is_guard(test: ast.expr) -> bool:
    return ast.unparse(test).replace('"', "'") in ("__name__ == '__main__'", "'__main__' == __name__")


def _calls(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    return (node for node in nodes if isinstance(node, ast.Call))


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _starts_processes(tree: ast.Module) -> tuple[int, str] | None:
    """Return the line that brings in what starts processes, and the way that the script chooses (empty: none)."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                names.add((node.module or "").split(".")[0])
            if names & _STARTERS:
                lines.append(node.lineno)
    if not lines:
        return None
    for call in _calls(ast.walk(tree)):
        if _called(call).rpartition(".")[2] in ("get_context", "set_start_method") and call.args:
            method = call.args[0]
            if isinstance(method, ast.Constant) and isinstance(method.value, str):
                return call.lineno, method.value
    return min(lines), ""
