"""CSV that we write is opened in spreadsheets: no cell or name of somebody else's table is computed there."""

import csv
import io

import pytest

from analysis.text import no_formula
from lab.__main__ import main

FORMULAS = [
    '=HYPERLINK("http://a.invalid","x")',
    "@SUM(1)",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "\t=1",
    "＝1",
]
PLAIN = ["a=b", "1e-3", "-5", "+1", "-inf", "", "'=1", "a\n=1"]


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text)) for cell in row]


def test_texts_are_quoted_and_numbers_stay():
    assert [no_formula(text) for text in FORMULAS] == [f"'{text}" for text in FORMULAS]
    assert [no_formula(text) for text in PLAIN] == PLAIN
    assert no_formula(-3.5) == -3.5
    assert no_formula(None) is None


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "runs.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["params", "tokens", "loss", "note", "=1+1"])
        for n, text in enumerate(FORMULAS):
            writer.writerow([10.0**n, 1e8, -3.5, text, "x"])
    return path


@pytest.mark.parametrize("raw", [False, True])
def test_table_and_import(table, tmp_path, raw, capsys):
    """Before: `lab table` and `lab import` passed formulas of a table on into a CSV of ours."""
    words = ["--raw"] if raw else []
    assert main(["table", str(table), *words]) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "out.csv"
    assert main(["import", str(table), "--out", str(out), *words]) == 0
    written = out.read_text()
    if not raw:
        printed = printed.replace("\\u0009", "\t")
    for text in (printed, written):
        found = cells(text)
        assert ("=1+1" in found) == raw
        assert {"-3.5"} <= set(found), "a negative number is no formula"
        starting = {cell for cell in found if cell.startswith(tuple("=+-@\t＝"))} - {"-3.5"}
        assert bool(starting) == raw, starting


def test_figures_numbers():
    """Before: the CSV beside a figure held names of tasks as they are."""
    import pandas
    from matplotlib.figure import Figure

    from analysis.plots.plot import Plot

    data = pandas.DataFrame({"=task": [FORMULAS[0], "b"], "loss": [-1.5, 2.0]})
    found = cells(Plot("n", "t", "c", "a", Figure(), data).csv())
    assert found == ["'=task", "loss", f"'{FORMULAS[0]}", "-1.5", "b", "2"]
