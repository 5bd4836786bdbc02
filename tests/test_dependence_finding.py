"""The page on what the law depends on says what its table says."""

import re
from pathlib import Path

import numpy as np
import pandas
import pytest

import analysis as sl

PAGE = Path(__file__).parents[1] / "docs" / "findings" / "dependence"
WAYS = ("adamw", "mup", "muon")
COUNTS = {"without input table": {}, "all": {"params": "params_total"}}


def rows_of(section: str) -> list[list[str]]:
    (text,) = [one for one in (PAGE / "README.md").read_text().split("\n## ") if one.startswith(section)]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in cells] for cells in lines]


def fitted(way: str, count: str, draws: int = 0):
    runs = sl.read(str(PAGE / "runs.csv"), columns=COUNTS[count]).where(grid=way)
    return sl.fit(runs, law="chinchilla", bootstrap=draws)


@pytest.mark.parametrize("way", WAYS)
def test_exponents_are_those_of_the_table(way):
    said = {name: numbers for name, *numbers in rows_of("Exponents")}
    for count in COUNTS:
        fit = fitted(way, count)
        found = (fit.params["alpha"], fit.params["beta"], fit.exponents.params_exponent)
        assert [float(x) for x in said[f"{way}, {count}"][:3]] == pytest.approx(found, abs=6e-4)


def test_intervals_are_those_of_the_table_and_overlap():
    said = {name: numbers for name, *numbers in rows_of("Exponents")}
    bounds = {name: [float(x) for x in re.findall(r"[\d.]+", row[3])] for name, row in said.items()}
    assert bounds["muon, all"] == pytest.approx(fitted("muon", "all", 1000).exponents.interval, abs=6e-4)
    for count in COUNTS:
        own = np.array([bounds[f"{way}, {count}"] for way in WAYS])
        assert own[:, 0].max() < own[:, 1].min()
        low, high = bounds[f"mup, {count}"]
        assert all(low < float(said[f"{way}, {count}"][2]) < high for way in WAYS)
        assert float(said[f"mup, {count}"][2]) - bounds[f"adamw, {count}"][1] == pytest.approx(0.04, abs=6e-3)


def test_losses_by_those_of_adamw_are_those_of_the_table():
    losses = pandas.read_csv(PAGE / "runs.csv").pivot_table("loss_nats", ["width", "tokens"], "grid")
    for width, tokens, *said in rows_of("What does move"):
        row = losses.loc[int(width), int(tokens.replace(",", ""))]
        assert [float(x) for x in said] == pytest.approx(
            [row.mup / row.adamw, row.muon / row.adamw], abs=6e-4
        )
    part = (1 - losses.muon / losses.adamw).unstack()
    assert part.to_numpy().min() > 0
    assert np.all(np.diff(part.to_numpy(), axis=1) < 0)
    assert [round(100 * x, 1) for x in (part[600_064].min(), part[600_064].max())] == [7.8, 14.2]
    assert [round(100 * x, 1) for x in (part[4_800_512].min(), part[4_800_512].max())] == [2.0, 3.4]
