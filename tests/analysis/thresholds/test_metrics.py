"""Every measure has a direction and a scale of its own, and one that nobody declared is refused."""

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.errors import InputError
from analysis.thresholds import detect, metrics
from analysis.thresholds.scores import build
from benchmarks import planted
from benchmarks.planted import Plan

SIZES = np.geomspace(1e4, 1e7, 8)
X = np.linspace(0, 3, 8)


def table(metric, curve, seeds=3, sd=0.05, seed=1, **columns):
    """One row a run: curve (8,) times log-normal seeds."""
    rng = np.random.default_rng(seed)
    rows = [
        {"task": "t", "metric": metric, "params": n, "seed": j, "score": value * np.exp(sd * rng.normal())}
        for n, value in zip(SIZES, curve, strict=True)
        for j in range(seeds)
    ]
    return pandas.DataFrame(rows).assign(**columns)


@pytest.mark.parametrize(
    "metric", ["brier", "choice_nats", "edit_distance", "bits_per_byte", "answer_nats", "wer"]
)
def test_a_falling_distance_is_an_ability_that_rises(metric):
    one = detect(table(metric, 0.9 * 10 ** (-0.3 * X)), draws=99)[0]
    assert one.verdict == "smooth"
    assert "falls" not in [note.code for note in one.warnings]
    rising = detect(table(metric, 0.1 * 10 ** (0.3 * X)), draws=99)[0]
    assert rising.verdict == "inverse"


def test_a_bend_in_a_distance_is_a_break():
    one = detect(table("edit_distance", 0.9 * 10 ** (-1.2 * np.maximum(X - 1.5, 0))), draws=99)[0]
    assert (one.verdict, one.leading) == ("emergent", "broken_power_law")
    assert one.leading_curve[0] == pytest.approx(0.9, rel=0.1)  # in its own unit


def test_perplexity_is_the_exponential_of_nats():
    nats = 2.0 * 10 ** (-0.3 * X)
    cells = build(table("ppl", np.exp(nats), sd=0.0, seeds=1), "params")[0]
    assert np.allclose(cells.value, -np.log(nats))
    measure = cells.measure
    assert np.allclose(measure.score(measure.value(cells.score, cells.raw_items)), cells.score)
    step = 1e-6
    slope = (measure.value(cells.score + step, cells.raw_items) - cells.value) / step
    assert np.allclose(np.abs(slope), measure.error(cells.score, 1.0), rtol=1e-4)


def test_a_perfect_edit_distance_is_no_minus_infinity():
    cells = build(table("edit_distance", np.append(np.geomspace(0.5, 0.01, 7), 0.0), items=500), "params")[0]
    assert np.isfinite(cells.value).all()
    assert cells.value[-1] == pytest.approx(-np.log(0.5 / 500))
    with pytest.raises(InputError, match="not above 0"):
        build(table("bits_per_byte", np.append(np.geomspace(0.5, 0.01, 7), 0.0)), "params")


def test_text_measures_are_read_as_percentages_when_some_are_above_one():
    curve = 100 * expit(X - 2)
    cells = build(table("bleu", curve, sd=0.0, items=1000), "params")[0]
    assert np.allclose(np.unique(cells.score), curve / 100)
    assert "percentages" in next(note.text for note in cells.notes if note.code == "unit_assumed")
    cells = build(table("bleu", curve / 100, sd=0.0, items=1000), "params")[0]
    assert np.allclose(np.unique(cells.score), curve / 100)


def test_an_accuracy_in_per_cent_is_refused_in_one_line():
    frame = pandas.DataFrame(planted.smooth(Plan(), np.random.default_rng(0))).drop(columns="correct")
    with pytest.raises(InputError) as caught:
        build(frame.assign(score=100 * frame["score"]), "params")
    (line,) = caught.value.problems
    assert "percentages" in line
    assert "divide" in line


def test_an_unknown_metric_is_refused_with_the_nearest_known():
    with pytest.raises(InputError) as caught:
        build(table("edit_distanze", X + 1), "params")
    assert "nearest: 'edit_distance'" in str(caught.value)
    assert "gold_nats" in str(caught.value)
    assert metrics.find("exact_match,strict-match").kind == "count"
    assert metrics.find("Acc_Norm") is metrics.find("acc_norm")


def test_shares_without_items_are_fitted_in_logits():
    one = detect(table("f1", expit(X - 1.0), sd=0.02, seed=3), draws=99)[0]
    assert one.verdict == "smooth"
    assert {"items_unknown", "unit_assumed"} <= {note.code for note in one.warnings}
    assert one.leading_curve[-1] == pytest.approx(expit(2.0), abs=0.05)


def test_a_column_for_each_metric_is_read_as_rows():
    rng = np.random.default_rng(1)
    wide = pandas.DataFrame({"task": "t", "params": np.repeat(SIZES, 3), "seed": np.tile([0, 1, 2], 8)})
    nats = 2 * 10 ** (-0.6 * np.repeat(X, 3)) * np.exp(0.05 * rng.normal(size=24))
    wide = wide.assign(items=1000, exact_match=np.round(np.exp(-8 * nats), 3), choice_nats=nats)
    found = detect(wide, draws=99)
    assert found["t", "choice_nats"].verdict == "smooth"
    assert found["t", "exact_match"].verdict == "metric_artifact"


def pair(seeds):
    """Word-level overlap rises smoothly; the whole text is right only when all of it is."""
    rng = np.random.default_rng(4)
    overlap = expit(1.4 * (X[:, None] - 1.2) + 0.1 * rng.normal(size=(8, seeds)))
    plan = Plan(seeds=seeds)
    hard = planted.rows("text", overlap**8, plan, rng)
    soft = [
        row | {"metric": "bleu", "score": 100 * row["score"]}
        for row in planted.rows("text", overlap, plan, rng)
    ]
    return pandas.DataFrame(hard + soft).drop(columns="correct")


def test_an_exact_match_beside_a_smooth_overlap_is_an_artifact_of_the_metric():
    one = detect(pair(3), draws=99)["text", "exact_match"]
    assert one.verdict == "metric_artifact"
    assert one.gates.metric_explains > 0.6


def test_with_one_seed_the_pair_is_only_spoken_of():
    one = detect(pair(1), draws=99)["text", "exact_match"]
    assert one.verdict == "undecided"
    assert "pair_smooth" in [note.code for note in one.warnings]
    assert one.gates.metric_explains > 0.6
