"""The page on the text study says what its table says, and its forecast is one of that table."""

import re
from pathlib import Path

import numpy as np
import pytest

import analysis as sl
from analysis.audits import register

PAGE = Path(__file__).parents[1] / "docs" / "findings" / "text"


FORECASTS = [
    ("runs.csv", "forecast.json", "Foretold"),
    ("tuned.csv", "tuned_forecast.json", "Again"),
    ("muon.csv", "muon_forecast.json", "A third time"),
]


def rows_of(title: str) -> dict[str, list[str]]:
    """The rows of the tables of one section, by their first word."""
    sections = (PAGE / "README.md").read_text().split("\n## ")
    (section,) = [text for text in sections if text.startswith(title)]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].split()[0]: row[1:] for row in cells}


@pytest.mark.parametrize(
    ("table", "title"), [("runs.csv", "The law"), ("tuned.csv", "Again"), ("muon.csv", "A third time")]
)
@pytest.mark.parametrize("law", ["kaplan", "chinchilla", "coupled"])
def test_exponents_are_those_of_the_table(table, title, law):
    exponent = sl.fit(str(PAGE / table), law=law, bootstrap=0).exponents.params_exponent
    assert f"{exponent:.3f}" == rows_of(title)[law][0]


@pytest.mark.parametrize(("table", "sealed", "title"), FORECASTS)
def test_what_was_foretold_is_the_sealed_record_of_these_runs(table, sealed, title):
    record, rows = register.read_record(PAGE / sealed), rows_of(title)
    assert record["inputs"]["sha256"] == register.digest_of(sl.fit(str(PAGE / table), bootstrap=0).rows)
    for target in record["targets"]:
        tokens, flops, foretold, interval, *_ = rows[f"{target['params']:,.0f}"]
        assert int(tokens.replace(",", "")) == target["tokens"]
        assert float(flops) == pytest.approx(6 * target["params"] * target["tokens"], rel=0.01)
        assert float(foretold) == pytest.approx(target["predicted"], abs=5e-5)
        assert [float(x) for x in re.findall(r"[\d.]+", interval)] == pytest.approx(
            [target["low"], target["high"]], abs=5e-5
        )


@pytest.mark.parametrize(("table", "sealed", "title"), FORECASTS)
def test_the_score_is_that_of_the_runs(table, sealed, title):
    scored, rows = (
        register.scored(register.read_record(PAGE / sealed), sl.read(str(PAGE / table))),
        rows_of(title),
    )
    assert len(scored.cells) == 2
    for cell in scored.cells:
        *_, measured, error = rows[f"{cell.params:,.0f}"]
        assert (measured, error) == (f"{cell.measured:.4f}", f"{cell.error_percent:.1f} %")


def test_best_rates_are_where_parabolas_about_the_lowest_are_lowest():
    rows = rows_of("Foretold")
    runs = sl.read(str(PAGE / "rates.csv")).columns
    width, rate, loss = (np.asarray(runs[name], float) for name in ("width", "learning_rate", "loss_nats"))
    for w in sorted(set(width)):
        at = np.flatnonzero(width == w)
        at = at[np.argsort(rate[at])]
        said = dict(pair.split(": ") for pair in rows[f"{w:.0f}"][0].split(", "))
        assert {float(r): float(x) for r, x in said.items()} == {rate[i]: round(loss[i], 3) for i in at}
        lowest = int(np.argmin(loss[at]))
        near = at[lowest - 1 : lowest + 2]
        a, b, _ = np.polyfit(np.log(rate[near]), loss[near], 2)
        assert float(rows[f"{w:.0f}"][1]) == pytest.approx(np.exp(-b / (2 * a)), rel=0.03)


def test_muons_best_rate_is_where_the_parabola_is_lowest():
    (section,) = [s for s in (PAGE / "README.md").read_text().split("\n## ") if s.startswith("A third time")]
    runs = sl.read(str(PAGE / "muon_rates.csv")).columns
    rate, loss = (np.asarray(runs[name], float) for name in ("learning_rate", "loss_nats"))
    said = re.search(r"1\.2M tokens ([.\d]+) gave ([.\d]+), ([.\d]+) ([.\d]+), ([.\d]+) ([.\d]+)\n", section)
    told = {float(said[i]): float(said[i + 1]) for i in (1, 3, 5)}
    assert told == {r: round(x, 3) for r, x in zip(rate, loss, strict=True)}
    a, b, _ = np.polyfit(np.log(rate), loss, 2)
    best = re.search(r"best by a parabola at ([.\d]+), where the power .* says ([.\d]+)\.\n", section)
    assert float(best[1]) == pytest.approx(np.exp(-b / (2 * a)), abs=5e-5)
    assert float(best[2]) == pytest.approx(0.0215 * (28 / 224) ** 0.59, abs=5e-5)


def test_the_limits_tell_what_the_forecasts_missed():
    limits = (PAGE.parents[1] / "limits.md").read_text()
    scored = [
        register.scored(register.read_record(PAGE / sealed), sl.read(str(PAGE / table))).cells
        for table, sealed, _ in FORECASTS
    ]
    means = [np.mean([abs(cell.error_percent) for cell in cells]) for cells in scored]
    told = re.search(r"missed by ([\d.]+), ([\d.]+) and ([\d.]+) % on average, and held four of six", limits)
    assert [float(x) for x in told.groups()] == pytest.approx(means, abs=0.06)
    assert sum(cell.inside for cells in scored for cell in cells) == 4
