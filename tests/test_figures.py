"""No figure of README or docs is stale, and pages say of a study what its tables say."""

import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks import figures, findings_figures, next_figures

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown() -> set[str]:
    """Pictures that pages show, as paths from the root."""
    found = set()
    for page in PAGES:
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            found.add((page.parent / link).resolve().relative_to(ROOT).as_posix())
    return found


def test_every_picture_shown_is_drawn_by_the_manifest():
    drawn = [one["file"] for one in figures.manifest()["figures"]]
    assert sorted(drawn) == sorted(shown())
    kept = [one for end in ("png", "svg", "jpg", "gif", "pdf") for one in (ROOT / "docs").rglob(f"*.{end}")]
    assert sorted(one.relative_to(ROOT).as_posix() for one in kept) == sorted(drawn), "none lies there unseen"
    linked = [page.name for page in PAGES if re.search(r"<img\b", page.read_text())]
    assert not linked, "a picture that the test would not see"


def test_pictures_are_those_that_were_drawn_from_the_tables_that_are_here():
    record = json.loads(figures.RECORD.read_text())
    told = figures.manifest()
    assert set(record) == {one["file"] for one in told["figures"]}
    for file, made in record.items():
        assert figures.digest(ROOT / file) == made["sha256"], f"{file} was changed by hand: make figures"
        for table, digest in made["tables"].items():
            assert figures.digest(ROOT / table) == digest, f"{table} is newer than {file}: make figures"


def test_their_commands_name_figures_that_there_are():
    from analysis.report.figures import KINDS

    programs = {one.__name__: one.FIGURES for one in (next_figures, findings_figures)}
    for file, made in json.loads(figures.RECORD.read_text()).items():
        program, *words = shlex.split(made["command"])
        if program in programs:
            figure, drawn = words
            assert figure in programs[program]
            assert drawn == file
            continue
        verb, _, figure = words
        assert (program, verb) == ("lab", "plot")
        assert figure in KINDS


@pytest.mark.parametrize("name", [n for n, one in figures.manifest()["studies"].items() if "says" in one])
def test_pages_say_what_the_tables_say(name):
    study = figures.manifest()["studies"][name]
    assert figures.block((ROOT / study["page"]).read_text(), name) == figures.said(name, study)
