"""Forecasts of exact match from sizes at chance: held where nats foretell it, missed where not."""

import numpy as np
import pandas
import pytest

from analysis.thresholds.forecasting import foresee
from benchmarks import planted
from benchmarks.planted import Plan


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


def test_a_known_length_is_used_where_no_answer_was_right_yet():
    """Zeros bound the length from below only; a forecast without a measured size is not scored."""
    frame = pandas.DataFrame(planted.metric_only(Plan(), np.random.default_rng(1), tokens=20))
    frame = frame[frame["params"] < 1e5]
    assert frame["correct"].sum() == 0
    blind, told = (foresee(frame, lengths=lengths)[0] for lengths in (None, {"metric_only": 20.0}))
    assert (blind.verdict, told.verdict) == ("not_scored", "not_scored")
    assert told.length.value == pytest.approx(20, rel=0.3)
    assert blind.length.interval[1] > 60
    assert told.points[2].predicted > blind.points[2].predicted
    assert told.points[0].measured is None
    assert [p.size for p in told.points] == pytest.approx([2 * 7.2e4, 4 * 7.2e4, 8 * 7.2e4], rel=0.01)


def test_too_few_sizes_at_chance_are_refused():
    frame = pandas.DataFrame(planted.metric_only(Plan(), np.random.default_rng(0)))
    found = foresee(frame[frame["params"] > 2e4])[0]
    assert found.verdict == "cannot_tell"
    assert "3 are needed" in found.text
