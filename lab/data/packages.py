"""Technical English and code that every machine of the lab has: Python, NumPy, SciPy and pandas themselves.

The text differs with the versions of Python, NumPy, SciPy and pandas, so the digest of a data set says what
it is. Licences: PSF (Python), BSD 3-clause (NumPy, SciPy, pandas).
"""

from __future__ import annotations

import ast
import gc
import importlib.metadata
import importlib.util
import inspect
import os
import platform
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.data.corpus import Corpus, collect

BUILDER = 2  # raise it whenever this file or corpus.py would build another corpus from the same packages
LIBRARIES = ("numpy", "scipy", "pandas")
NOT_READ = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
LEAST_BYTES = 32  # a shorter docstring says nothing ("Return self.")
# Methods of sibling classes share their text. With half of the repeated lines allowed, 2.6 % of the 128-byte
# strings of the validation set also stand in the training set of python-docs; with all of them, 10 %.
MOST_REPEATED = 0.5

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

Progress = Callable[[int, int], None]


def versions() -> dict[str, str]:
    """What decides the text: versions of Python, of the libraries and of this builder."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"builder": str(BUILDER), "python": platform.python_version(), **libraries}


def build(source: str, progress: Progress | None = None) -> Corpus:
    """Corpus of `python-docs` (docstrings, and the topics of Python's help) or `python-code` (the files)."""
    # Syntax trees hold no cycles, and looking for some among everything that jax has loaded takes longer than
    # parsing them.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return collect(_documents(source, progress), LEAST_BYTES, MOST_REPEATED)
    finally:
        if collecting:
            gc.enable()


def _documents(source: str, progress: Progress | None) -> Iterator[tuple[str, bytes]]:
    files = list(_files())
    for done, (name, path) in enumerate(files, 1):
        code = path.read_bytes()
        if source == "python-code":
            if _is_utf8(code):
                yield name, code.strip()
        else:
            for text in docstrings(code):
                yield name, text.encode("utf-8", errors="replace")
        if progress and (done % 50 == 0 or done == len(files)):
            progress(done, len(files))
    if source == "python-docs":
        from pydoc_data.topics import topics

        for topic, text in topics.items():
            yield f"pydoc_data/topics/{topic}", text.strip().encode()


def _files() -> Iterator[tuple[str, Path]]:
    """(name, path) of all Python files read, in the order of their names."""
    roots = {"python": Path(sysconfig.get_path("stdlib"))}
    for name in LIBRARIES:
        roots[name] = Path(importlib.util.find_spec(name).submodule_search_locations[0])
    for library, root in roots.items():
        for path in sorted(_python_files(root)):
            yield f"{library}/{path.as_posix()}", root / path


def _python_files(root: Path) -> Iterator[Path]:
    """Below a folder, relative to it; what is not read is not walked through."""
    for where, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in NOT_READ]
        for name in names:
            # distributions leave links in Python's own folder that lead to no file
            if name.endswith(".py") and name not in NOT_READ and os.path.isfile(os.path.join(where, name)):
                yield Path(where, name).relative_to(root)


def _blocks(kind: type) -> tuple[str, ...]:
    every = ("body", "orelse", "handlers", "finalbody", "cases")
    return tuple(name for name in every if name in kind._fields)


# The parts of a file in which definitions can stand, and the fields that hold their statements.
_BLOCKS = {
    kind: _blocks(kind)
    for kind in vars(ast).values()
    if isinstance(kind, type)
    and issubclass(kind, (ast.stmt, ast.excepthandler, ast.match_case, ast.Module))
    and _blocks(kind)
}


def docstrings(code: bytes) -> Iterator[str]:
    """Cleaned docstrings of a file: its own, and of every class and function at any depth.

    A file that this Python cannot parse (templates, other versions' syntax) has none.
    """
    try:
        todo: list[ast.AST] = [ast.parse(code)]
    except (SyntaxError, ValueError):
        return
    while todo:
        node = todo.pop()
        if isinstance(node, _DOCUMENTED):
            text = _docstring(node)
            if text is not None:
                yield inspect.cleandoc(text)
        for block in _BLOCKS[type(node)]:
            todo.extend([child for child in getattr(node, block) if type(child) in _BLOCKS])


def _docstring(node) -> str | None:
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return first.value.value
    return None


def _is_utf8(code: bytes) -> bool:
    try:
        code.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
