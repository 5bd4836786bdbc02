"""The page on what training changes says what its two tables say."""

from pathlib import Path

import numpy as np
import pandas
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "findings" / "training"


def rows_of(section: str) -> dict[str, list[float]]:
    """The numbers of a section's table by the first word of a row."""
    (text,) = [one for one in (PAGE / "README.md").read_text().split("\n## ") if one.startswith(section)]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    return {name.strip(): [float(cell) for cell in cells] for name, *cells in lines}


@pytest.mark.parametrize("grid", ["mup", "muon"])
def test_best_rates_are_those_of_parabolas_through_the_lowest_losses(grid):
    runs = pandas.read_csv(PAGE / "rates.csv").query("grid == @grid")
    said = rows_of("Which rate")[grid]
    for place, width in enumerate((28, 112)):
        own = runs[runs.width == width].sort_values("learning_rate")
        loss, rate = own.loss_nats.to_numpy(), np.log(own.learning_rate.to_numpy())
        low = int(loss.argmin())
        assert 0 < low < len(loss) - 1
        near = slice(low - 1, low + 2)
        square, line, _ = np.polyfit(rate[near], loss[near], 2)
        assert said[place] == pytest.approx(np.exp(-line / (2 * square)), abs=5e-5)
        assert said[2 + place] == pytest.approx(loss.min(), abs=5e-4)


def test_scatter_of_seeds_is_that_of_the_table():
    runs = pandas.read_csv(PAGE / "scatter.csv")
    said = rows_of("Where seeds")
    assert set(said) == set(runs.grid)
    for grid, (*numbers,) in said.items():
        own = runs[runs.grid == grid].groupby("tokens").loss_nats
        assert set(own.size()) == {4}
        found = np.stack([own.mean(), own.std()], axis=1).ravel()
        assert numbers == pytest.approx(found.tolist(), abs=5.1e-4)
