"""The documentation as a site, without building it: every page is on the menu, every link leads on, the
reference names all that the code has."""

import re
from dataclasses import fields
from functools import cache
from pathlib import Path, PurePosixPath

import pytest
import yaml

import analysis
import sweeps
from analysis.laws.named import LAWS
from benchmarks import handbook, notebooks, reference
from lab import completion
from lab.__main__ import VERBS
from lab.runs import contents

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@cache
def pages():
    return handbook.pages()


def prose(text: str) -> str:
    """Without code, whose brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as Python-Markdown makes them."""
    bare = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    heads = [re.sub(r"[`*]", "", head) for head in re.findall(r"^#+ (.*)$", bare, re.MULTILINE)]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


def test_every_page_is_on_the_menu_once():
    # the menu is read as plain data: nothing in it is a tag of mkdocs
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = [
        page for part in menu for entries in part.values() for entry in entries for page in entry.values()
    ]
    assert sorted(listed) == sorted(pages())


def test_every_link_leads_somewhere():
    there = {file.relative_to(handbook.DOCS).as_posix() for file in handbook.attached()} | set(pages())
    wrong = []
    for name, text in pages().items():
        for target in LINK.findall(prose(text)):
            if "://" in target or target.startswith("mailto:"):
                continue
            place, _, anchor = target.partition("#")
            parts: list[str] = []
            for part in (PurePosixPath(name).parent / place).parts if place else PurePosixPath(name).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            found = "/".join(parts)
            if found not in there or (anchor and anchor not in anchors(pages()[found])):
                wrong.append(f"{name}: {target}")
    assert not wrong


def test_a_link_out_of_the_site_would_be_seen(tmp_path, monkeypatch):
    page = ROOT / "docs" / "limits.md"
    monkeypatch.setattr(
        Path, "read_text", lambda self, **_: "[a](costs.md#bias) [b](../LICENSE) `[c](d)` [e](gone.md)"
    )
    assert handbook._linked(page) == "[a](costs.md#bias) b `[c](d)` [e](gone.md)"


def test_headings_are_found():
    assert anchors("# A study\n```\n# no\n```\n## `lab fit`, and *why*\n") == {"a-study", "lab-fit-and-why"}


@pytest.mark.parametrize("verb", [verb for entries in VERBS.values() for verb in entries])
def test_a_verb_is_there_with_all_its_options(verb):
    (place,) = [entries[verb][0] for entries in VERBS.values() if verb in entries]
    section = pages()["reference/verbs.md"].partition(f"\n### lab {verb}\n")[2].partition("\n### ")[0]
    assert section, "the page has no such verb"
    listed = set(re.findall(r"--[a-z][\w.-]*", section))
    assert set(completion.options(place)) <= listed
    assert "│" not in section


@pytest.mark.parametrize("table", reference.TABLES, ids=lambda name: name or "top")
def test_every_key_of_a_study_is_explained(table):
    cls = reference.TABLES[table]
    said = reference.comments(cls)
    page = pages()["reference/study_keys.md"]
    known = {"data", "model", "optimizer", "precision", "layers", "heads"}  # said beside the first of them
    silent = [one.name for one in fields(cls) if not said.get(one.name) and one.name not in known]
    assert set(silent) <= {"alpha", "beta"}, "a comment beside the field says what the key is"
    assert all(f"| `{one.name}` |" in page for one in fields(cls))


def test_every_column_law_code_and_name_is_there():
    found = pages()
    columns = contents.RESULTS | contents.CIRCUMSTANCES
    assert contents.MEANINGS.keys() == columns
    assert all(f"| `{name}` |" in found["reference/columns.md"] for name in columns)
    assert all(f"## {name}\n" in found["reference/laws.md"] for name in LAWS)
    names = [f"### {package.__name__}.{name}\n" for package in (analysis, sweeps) for name in dir(package)]
    assert all(name in found["reference/python.md"] for name in names)
    codes = reference.remarks()
    assert len(codes) > 150
    # the text that stands before the call, where a name is used twice
    assert codes["at_chance"] != codes["at_floor"]
    assert {"few_points", "bound_hit", "two_params", "groups"} <= codes.keys()
    assert all(f"| `{code}` |" in found["reference/codes.md"] for code in codes)


@pytest.mark.parametrize("path", sorted(notebooks.FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_title(path):
    assert pages()[f"notebooks/{path.stem}.md"].startswith("# ")
    assert "jupytext:" not in pages()[f"notebooks/{path.stem}.md"]


def test_a_notebook_is_a_page_with_what_it_printed_and_drew():
    nbformat = pytest.importorskip("nbformat").v4
    cells = [nbformat.new_markdown_cell("# Title\n\nWords."), nbformat.new_code_cell("a = 1")]
    plot = {"text/plain": "Plot(holdout: Errors [%] of the held-out runs; 3 rows)", "image/png": "UE5H"}
    frame = {
        "text/plain": "x",
        "text/html": "<div>\n<style scoped>\n.a {}\n</style>\n\n<table>\n</table></div>",
    }
    cells[1].outputs = [
        nbformat.new_output("stream", name="stdout", text="one\n"),
        nbformat.new_output("stream", name="stdout", text="\x1b[1mtwo\x1b[0m\n"),
        nbformat.new_output("stream", name="stderr", text="a path of this machine\n"),
        nbformat.new_output("display_data", data=plot),
        nbformat.new_output("execute_result", data=frame),
    ]
    page, pictures = notebooks.page(nbformat.new_notebook(cells=cells), "n")
    assert page.startswith("# Title\n\n*To run it: `docs/notebooks/n.py`")
    _, _, after = page.partition("\nWords.\n\n```python\na = 1\n```\n\n")
    assert after == (
        '```text title="prints"\none\ntwo\n```\n\n![Errors (%) of the held-out runs](n_1.png)\n\n'
        "<div>\n<table>\n</table></div>\n"
    )
    assert pictures == {"notebooks/n_1.png": b"PNG"}


def test_a_notebook_runs_again_when_what_it_depends_on_changes(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat").v4
    runs = []
    monkeypatch.setattr(notebooks, "execute", lambda path, _: runs.append(path) or nbformat.new_notebook())
    path = tmp_path / "n.py"
    for text in ("# %%\n1\n", "# %%\n1\n", "# %%\n2\n"):
        path.write_text(text)
        notebooks.executed(path, tmp_path / "kept")
    assert len(runs) == 2
    assert len(list((tmp_path / "kept").iterdir())) == 1, "outputs of older code are not kept"
    monkeypatch.setenv("SCALING_LAB_DATA", "elsewhere")
    notebooks.executed(path, tmp_path / "kept")
    assert len(runs) == 3
