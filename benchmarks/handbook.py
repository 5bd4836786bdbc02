"""The documentation as a site: its pages out of docs/, and a reference out of the code itself.

    python -m benchmarks.handbook FOLDER        (make docs: then mkdocs builds it)

Notebooks are run for it, and shown with what they print and draw. The reference is written when the site is
built, and stands nowhere else: a page that is not kept cannot be stale, and nobody writes it anew after a
change of an option. The suite makes all pages, looks whether each verb, key, column, law and code is on them,
and follows every link, without mkdocs and running nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from benchmarks import notebooks, reference

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *```.*?^ *```[^\n]*$)", re.DOTALL | re.MULTILINE)
# Pages of the repository that are no part of docs/, and what they are called on the site.
_BESIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m benchmarks.handbook FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    shutil.rmtree(folder, ignore_errors=True)
    texts = pages()
    contents = {file.relative_to(DOCS).as_posix(): file.read_bytes() for file in attached()}
    for path in _notebooks():
        print(f"running {path.relative_to(ROOT)}", file=sys.stderr)
        text, pictures = notebooks.page(notebooks.executed(path, folder.with_name("notebooks")), path.stem)
        texts[f"notebooks/{path.stem}.md"] = text
        contents |= pictures
    for name, content in {**contents, **{name: text.encode() for name, text in texts.items()}}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return 0


def pages() -> dict[str, str]:
    """Markdown of every page, by its path in the site; notebooks as they are before they run."""
    beside = {new: ROOT / old for old, new in _BESIDE.items()}
    written = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
    found = {name: _linked(path) for name, path in {**beside, **written}.items()}
    for path in _notebooks():
        found[f"notebooks/{path.stem}.md"], _ = notebooks.page(notebooks.read(path), path.stem)
    return found | {f"reference/{name}": text for name, text in reference.pages().items()}


def attached() -> list[Path]:
    """Pictures and tables below docs/ that pages link to."""
    return sorted(path for ending in ("png", "svg", "csv", "json") for path in DOCS.rglob(f"*.{ending}"))


def _notebooks() -> list[Path]:
    return sorted(notebooks.FOLDER.glob("*.py"))


def _linked(path: Path) -> str:
    """A page with its links as they lead within the site; what lies outside of it keeps its name alone."""

    def replaced(match: re.Match) -> str:
        picture, text, target = match.groups()
        place, mark, anchor = target.partition("#")
        if "://" in target or target.startswith(("#", "mailto:")):
            return match[0]
        name = _name_of((path.parent / place).resolve())
        if name is None:
            return text
        there = os.path.relpath(name, Path(_name_of(path) or "").parent)
        return f"{picture}[{text}]({there}{mark}{anchor})"

    parts = _FENCE.split(path.read_text(encoding="utf-8"))
    return "".join(part if i % 2 else _LINK.sub(replaced, part) for i, part in enumerate(parts))


def _name_of(path: Path) -> str | None:
    """What a file of the repository is called on the site; None for what is not there."""
    if path.is_relative_to(DOCS):
        name = path.relative_to(DOCS)
        return (name.with_suffix(".md") if path.suffix == ".py" else name).as_posix()
    if path.is_relative_to(ROOT):
        return _BESIDE.get(path.relative_to(ROOT).as_posix())
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
