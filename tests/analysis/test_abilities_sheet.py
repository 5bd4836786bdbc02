"""Many abilities on one sheet and in one table, and the needle's map out of item files."""

import re

import numpy as np
import pandas
import pytest

from analysis import plots
from analysis.report import abilities as page
from analysis.tables.answers import answer_lengths, by_factors
from analysis.tables.table import read
from analysis.thresholds import Calibration, Gates, Places, SeedSd, Series, Threshold, frontier
from analysis.thresholds.params_tokens import planes
from benchmarks import planted

LENGTHS, DEPTHS, SIZES = (16, 32), (0, 50, 100), (4, 8, 16)


def series(task, verdict, metric="exact_match", elbow=None, card=None):
    x = np.repeat(np.geomspace(1e3, 1e5, 4), 2)
    place = Threshold(elbow, None if elbow is None else (elbow / 2, elbow * 2))
    return Series(
        task=task,
        metric=metric,
        axis="params",
        verdict=verdict,
        leading="hinge",
        seed_sd=SeedSd(0.2, "estimated"),
        p_value=0.01,
        q_value=0.03,
        thresholds=Places(elbow=place),
        models=(("hinge", 1.0),),
        calibration=card,
        gates=Gates(),
        warnings=(),
        chance=0.25,
        x=x,
        score=np.linspace(0.2, 0.9, 8),
        seed=np.tile([0, 1], 4),
        items=np.full(8, 100.0),
        grid=np.geomspace(1e3, 1e5, 20),
        leading_curve=np.linspace(0.2, 0.9, 20),
        smooth_curve=np.linspace(0.2, 0.9, 20),
    )


@pytest.fixture(scope="module")
def many():
    card = Calibration(0.051, 0.97, 400, 1.31)
    tasks = {
        f"task-{n}": [series(f"task-{n}", "smooth"), series(f"task-{n}", "flat", "token_accuracy")]
        for n in range(7)
    }
    tasks["early"] = [series("early", "emergent", elbow=12_000.0, card=card)]
    return tasks


def test_a_sheet_has_a_panel_for_each_task_and_the_cells_of_the_metric_that_jumps(many):
    plot = plots.abilities(many)
    titles = [axis.get_title(loc="left") for axis in plot.figure.axes if axis.axison]
    assert sorted(titles) == sorted(many)
    assert set(plot.data["metric"]) == {"exact_match"}
    assert len(plot.data) == 8 * len(many)
    assert "early: emergent" in plot.alt
    assert plot.figure.get_size_inches()[1] < 6
    with pytest.raises(ValueError, match="at least one task"):
        plots.abilities({})


def test_the_table_has_a_row_for_each_metric_with_its_evidence_and_the_card(many):
    html = page.verdicts(many)
    rows = re.findall(r"<tr.*?</tr>", html)[1:]
    assert len(rows) == sum(len(own) for own in many.values())
    row = re.sub(r"<[^>]+>", "|", next(r for r in rows if "early" in r))
    for words in ("exact match", "emergent", "hinge", "12k |(6k to 24k)", "4 × 2", "5.1% · 97% · ×1.3"):
        assert words in row


@pytest.fixture
def needles(new_store):
    """Items right where the depth is below what the width reaches; 10 items a cell."""
    for width in SIZES:
        for seed in (0, 1):
            run_id = f"d{width:03d}{seed:02d}000000"
            row = new_store.run(run_id, "abilities", width, 400_000, seed, source="tasks")
            new_store.commit(run_id, row)
            items = [
                {
                    "task": "needle",
                    "factors": f"depth={d} distance=3 length={n} source=2",
                    "tokens": 2,
                    "correct": d <= 6 * width,
                }
                for n in LENGTHS
                for d in DEPTHS
                for _ in range(10)
            ]
            other = [{"task": "copy", "factors": "", "tokens": 13, "correct": True}] * 4
            path = new_store.path / "runs" / run_id / "items.parquet"
            pandas.DataFrame(items + other).to_parquet(path)
    (new_store.path / "runs" / f"d{SIZES[0]:03d}00000000" / "items.parquet").write_bytes(b"torn")
    return read(new_store.finish())


def test_the_map_counts_items_by_length_depth_and_size(needles):
    answers = by_factors(needles, "needle", ("length", "depth"))
    assert len(answers) == 5 * len(LENGTHS) * len(DEPTHS)  # one file of six is torn
    plot = plots.needle(answers, "needle", 1 / 32)
    table = plot.data.set_index(["params", "length", "depth"])["score"]
    sizes = sorted(set(plot.data["params"]))
    assert len(sizes) == 3
    assert [table[sizes[0], 16, depth] for depth in DEPTHS] == [1, 0, 0]
    assert [table[sizes[2], 32, depth] for depth in DEPTHS] == [1, 1, 0]
    assert set(plot.data["items"]) == {10, 20}
    panels = [axis for axis in plot.figure.axes if axis.get_title(loc="left")]
    assert [text.get_text() for text in panels[0].texts] == ["100", "0", "0"] * 2
    assert "Chance is 3%" in plot.caption


def test_the_frontier_is_drawn_within_the_budgets():
    rows = planted.of_both(planted.Grid(), np.random.default_rng(0))
    plane = planes(pandas.DataFrame(rows))[0]
    plot = plots.threshold(frontier.locate(plane, 0.05, 99, np.random.default_rng(0)))
    line = plot.data[plot.data["kind"] == "elbow"]
    assert (plot.data["kind"] == "cell").sum() == 20
    assert line["tokens"].is_monotonic_decreasing
    assert line["tokens"].between(1e6, 6.4e7).all()
    assert (line["low"] <= line["tokens"]).all()
    nothing = frontier.Frontier("t", "exact_match", "none", "one token budget")
    with pytest.raises(ValueError, match="one token budget"):
        plots.threshold(nothing)


def test_items_without_the_factors_or_the_task_give_no_map(needles):
    assert not len(by_factors(needles, "copy", ("length", "depth")))
    assert not len(by_factors(needles, "sort", ("length", "depth")))
    with pytest.raises(ValueError, match="needs answers"):
        plots.needle(by_factors(needles, "sort", ("length", "depth")))


def test_lengths_of_answers_come_from_the_items(needles):
    assert answer_lengths(needles, {"needle", "copy", "sort"}) == {"needle": 2.0, "copy": 13.0}
