"""Forecasts of exact match from sizes at chance: held where nats foretell it, missed where not."""

import numpy as np
import pandas
import pytest

from analysis.thresholds import planted
from analysis.thresholds.foresight import foresee
from analysis.thresholds.planted import Plan


def one(generator, number, **options):
    return foresee(pandas.DataFrame(generator(Plan(), np.random.default_rng(number))), **options)[0]


def test_a_jump_that_the_metric_makes_is_foretold_within_its_interval():
    found = [one(planted.metric_only, number) for number in range(8)]
    assert sum(f.verdict == "foreseen" for f in found) >= 6
    assert {f.verdict for f in found} <= {"foreseen", "uninformative"}
    assert np.mean([f.coverage for f in found]) >= 0.9
    for f in found:
        low, high = f.length.interval
        assert low < 8 < high  # eight tokens were planted, and nobody said so
        assert f.slope.value == pytest.approx(-0.6 * np.log(10), abs=0.25)
        assert max(point.measured for point in f.points) > 0.5
        assert len(f.fitted) == 3


def test_a_sudden_ability_is_missed_and_called_not_foreseeable():
    for number in range(4):
        found = one(planted.sudden, number)
        assert found.verdict == "sooner"
        assert found.text.startswith("not foreseeable from the continuous scale")
        assert found.coverage == 0
        assert found.points[-1].error_logits < -5


def test_an_interval_that_allows_anything_is_no_success():
    """The elbow lies among the fitted sizes: the straight law does not fit them, and the intervals say so."""
    words = {one(planted.capacity, number).verdict for number in range(4)}
    assert words <= {"uninformative", "sooner"}


def test_held_out_scores_do_not_reach_the_forecast():
    rows = planted.metric_only(Plan(), np.random.default_rng(0))
    frame = pandas.DataFrame(rows)
    before = foresee(frame)[0]
    large = (frame["params"] > before.fitted[-1]) & (frame["metric"] == "gold_nats")
    frame.loc[large, "score"] *= 3.0
    after = foresee(frame)[0]
    assert [p.predicted for p in after.points] == [p.predicted for p in before.points]


def test_a_known_length_narrows_the_interval():
    """Nothing was right yet: the length of the answer is all that is known of the link."""
    frame = pandas.DataFrame(planted.metric_only(Plan(), np.random.default_rng(1)))
    frame = frame[frame["params"] < 1e5]
    frame.loc[frame["metric"] == "exact_match", ["correct", "score"]] = 0
    blind, told = (foresee(frame, lengths=lengths)[0] for lengths in (None, {"metric_only": 8.0}))
    assert (blind.verdict, told.verdict) == ("not_scored", "not_scored")
    width = [f.points[1].interval[1] - f.points[1].interval[0] for f in (blind, told)]
    assert width[1] < width[0]
    assert told.points[0].measured is None


def test_too_few_sizes_at_chance_are_refused():
    rows = planted.metric_only(Plan(params=tuple(np.geomspace(1e5, 1e7, 5))), np.random.default_rng(0))
    found = foresee(pandas.DataFrame(rows))[0]
    assert found.verdict == "cannot_tell"
    assert "3 are needed" in found.text
