"""Notebooks, run from a clean kernel, and as pages of the site with what they printed and drew.

No output is kept in the repository, where it would grow stale. A run notebook is kept beside the site, named
by a digest of all that it could depend on, so that building the site again runs only what changed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
SECONDS_PER_CELL = 600
_STYLE = re.compile(r"<style[^>]*>.*?</style>", re.DOTALL)
_ATTRIBUTES = re.compile(r' (?:border|class|style)="[^"]*"')
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def read(path: Path) -> Any:
    """The notebook of a text form, without outputs."""
    import jupytext

    return jupytext.read(path)


def execute(path: Path, folder: Path, **environment: str) -> Any:
    """The notebook with the outputs of its cells, run in `folder`. A failing cell raises."""
    import nbclient

    notebook = read(path)
    home = {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    settings = {**os.environ, **home, "PYTHONPATH": str(ROOT), **environment}
    where = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(
        notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=where
    )
    client.execute(env=settings)
    return notebook


def executed(path: Path, kept: Path) -> Any:
    """As `execute`; what ran before on the same code and tables is read from the folder `kept`."""
    import nbformat

    file = kept / f"{path.stem}-{_digest(path)}.ipynb"
    if not file.is_file():
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        kept.mkdir(parents=True, exist_ok=True)
        for older in kept.glob(f"{path.stem}-*.ipynb"):
            older.unlink()
        nbformat.write(notebook, file)
    return nbformat.read(file, as_version=4)


def page(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """Markdown of a notebook, and the pictures that it shows by their paths in the site."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "raw":  # a head for jupytext
            continue
        if cell.cell_type == "markdown":
            parts.append(cell.source.strip())
            continue
        parts.append(f"```python\n{cell.source.strip()}\n```")
        printed = ""
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if output.output_type == "stream" and output.name == "stdout":
                printed += output.text
            elif "image/png" in data:
                picture = f"{name}_{len(pictures) + 1}.png"
                pictures[f"notebooks/{picture}"] = base64.b64decode(data["image/png"])
                parts += [*_printed(printed), f"![{_title(data)}]({picture})"]
                printed = ""
            elif "text/html" in data:
                parts += [*_printed(printed), _table(data["text/html"])]
                printed = ""
            elif "text/plain" in data:
                printed += data["text/plain"] + "\n"
        parts += _printed(printed)
    head, _, rest = parts[0].partition("\n")
    where = f"*To run it: `docs/notebooks/{name}.py`, which Jupyter opens with jupytext.*"
    return "\n\n".join([head, where, rest.strip(), *parts[1:]]) + "\n", pictures


def _printed(text: str) -> list[str]:
    return [f'```text title="prints"\n{_COLOURS.sub("", text).strip()}\n```'] if text.strip() else []


def _title(data: dict[str, str]) -> str:
    """What a picture shows: a plot of the laboratory says it, others only that they are a figure."""
    said = re.match(r"Plot\([\w-]+: (.*); \d+ rows\)$", data.get("text/plain", ""))
    return (said[1] if said else "the figure that the code above draws").replace("[", "(").replace("]", ")")


def _table(html: str) -> str:
    """A data frame's own table in the look of the site; a blank line would end it in Markdown."""
    bare = _ATTRIBUTES.sub("", _STYLE.sub("", html))
    return "\n".join(line for line in bare.splitlines() if line.strip())


def _digest(path: Path) -> str:
    """Of the notebook, the code it could call and the tables it could read."""
    found = hashlib.sha256(os.environ.get("SCALING_LAB_DATA", "").encode())
    code = [one for package in ("lab", "sweeps", "analysis") for one in (ROOT / package).rglob("*.py")]
    for one in (path, *sorted(code), *sorted((ROOT / "docs" / "quickstart").glob("*.csv"))):
        found.update(one.read_bytes())
    return found.hexdigest()[:12]
