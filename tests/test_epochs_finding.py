"""The page on repeated tokens says what its table says."""

import math
import re
from pathlib import Path

import pandas
import pytest

import analysis as sl
from benchmarks import findings_figures

PAGE = Path(__file__).parents[1] / "docs" / "findings" / "epochs"
TIMES = (2, 4, 8, 16, 32)


@pytest.fixture(scope="module")
def losses():
    """By width and tokens, a column for each number of tokens that differ."""
    runs = pandas.read_csv(PAGE / "runs.csv")
    return runs.pivot_table("loss_nats", ["width", "tokens"], "unique_tokens")


def rows() -> list[list[str]]:
    lines = [
        line.strip("|").split("|")
        for line in (PAGE / "README.md").read_text().splitlines()
        if line[:1] == "|"
    ]
    return [[cell.strip() for cell in cells] for cells in lines]


def test_what_repeating_costs_is_that_of_the_table(losses):
    fresh = losses[max(losses.columns)]
    seen = {}
    for width, unique, *said in rows():
        if not width.isdecimal():
            continue
        width, unique = int(width), int(unique.replace(",", ""))
        for times, cell in zip(TIMES, said, strict=True):
            tokens = [t for t in losses.loc[width].index if t / unique / times == pytest.approx(1, abs=0.02)]
            assert bool(cell) == bool(tokens), (width, unique, times)
            if cell:
                found = losses.loc[(width, tokens[0]), unique] / fresh.loc[(width, tokens[0])]
                assert float(cell) == pytest.approx(found, abs=6e-4)
                seen[width, unique, times] = float(cell)
    assert len(seen) == 4 * (5 + 4 + 3)
    four = {key: value for key, value in seen.items() if key[2] == 4}
    assert max(four.values()) == 1.045
    assert max(value for key, value in four.items() if key[1] == max(u for _, u, _ in seen)) == 1.023
    shortest = min(losses.columns)
    assert [round(x, 3) for x in losses[shortest].loc[96].tolist()[-2:]] == [1.957, 2.236]


def test_the_law_is_that_of_the_table():
    fit = sl.fit(str(PAGE / "runs.csv"), law="data-constrained", bootstrap=0)
    (said,) = [row for row in rows() if row[0] == "R_D"]
    assert float(said[1]) == pytest.approx(fit.params["R_D"], abs=6e-3)
    low, high = (float(x) for x in re.findall(r"[\d.]+", said[2]))
    assert low < fit.params["R_D"] < high < float(said[3])


def test_a_runs_worth_lies_between_the_fresh_runs_whose_losses_hold_its_own(losses):
    fresh = losses[max(losses.columns)]
    again = findings_figures.repeated()
    assert len(again) == losses.drop(columns=max(losses.columns)).notna().to_numpy().sum()
    for run in again.itertuples():
        own = fresh.loc[run.width]
        more, less = own[own >= run.loss_nats].index, own[own <= run.loss_nats].index
        if len(more) and len(less):
            assert max(more) <= run.worth * run.unique_tokens <= min(less)
        else:
            assert math.isnan(run.worth)
