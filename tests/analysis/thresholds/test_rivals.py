"""The rivals on values known in closed form, and the ways they go wrong."""

import numpy as np
import pytest
from scipy.special import expit

from benchmarks import bnsl, rivals, scorecard

X = np.linspace(4, 7, 8)


def test_straight_line_has_both_measures_at_sizes_less_one():
    line = np.linspace(0.1, 0.8, 8)
    assert rivals.linearity(line) == pytest.approx(7.0)
    assert rivals.breakthroughness(line) == pytest.approx(7.0)
    assert rivals.linearity(line[::-1]) == pytest.approx(-7.0)


def test_one_jump_has_linearity_root_of_the_steps_and_infinite_breakthroughness():
    jump = np.array([0.0, 0, 0, 0, 1, 1, 1, 1])
    assert rivals.linearity(jump) == pytest.approx(np.sqrt(7))
    assert rivals.breakthroughness(jump) == np.inf
    assert rivals.breakthroughness(np.full(8, 0.3)) == 0.0


def test_breakthroughness_moves_with_the_metric_alone():
    """exp(-(N/c)^-a) to the power 1, 5, 10, 20: the same loss, 6.6 to hundreds."""
    nats = 10 ** (-0.5 * (X - 5.5))
    values = [rivals.breakthroughness(np.exp(-tokens * nats)) for tokens in (1, 5, 20)]
    assert values == sorted(values)
    assert values[2] / values[0] > 10


def test_breakthroughness_of_noise_is_large_and_does_not_fall_with_items():
    rng = np.random.default_rng(0)
    for items in (100, 10000):
        flat = rng.binomial(items, 0.25, (3000, 8)) / items
        size = np.abs([rivals.breakthroughness(row) for row in flat])
        assert np.median(size) == pytest.approx(2.9, abs=0.25)
        assert np.quantile(size, 0.95) == pytest.approx(6.2, abs=0.7)


def test_breakthroughness_of_the_best_known_jump_lies_within_that_noise():
    """Pythia 16-shot addition, 160M to 12B."""
    score = np.array([1.8, 3.5, 3.2, 5.1, 68.5, 47.7, 87.4])
    assert rivals.breakthroughness(score) == pytest.approx(5.8, abs=0.05)


def test_ten_points_of_a_plain_logistic_curve():
    """1.5 logits a decade reach at most 16 points over a projection across one decade each; 2 reach 26."""
    middle = np.linspace(-6, 6, 400)

    def most(slope):
        score = [expit(slope * (np.array([0.0, 0.9, 1.83]) - m)) for m in middle]
        return max(rivals.ten_points(s, np.array([0.0, 0.9, 1.83])) for s in score)

    assert 0.10 < most(1.5) < most(2.0)
    assert rivals.ten_points(np.array([0.1, 0.2, 0.3]), np.array([0.0, 1, 2])) == pytest.approx(0.0)


def test_bic_hinge_finds_a_planted_elbow_and_cries_wolf_over_seeds():
    items = np.full(8, 1000.0)
    eta = -3 + 0.2 * (X - 4) + 3 * np.maximum(X - 5.5, 0)
    gain, elbow = rivals.bic_hinge(1000 * expit(eta), items, X)
    assert gain > 100
    assert elbow == pytest.approx(5.5, abs=0.11)
    rng = np.random.default_rng(1)
    wolf = [
        rivals.bic_hinge(
            rng.binomial(1000, expit(-3 + 1.2 * (X - 4) + 0.4 * rng.standard_normal(8))), items, X
        )
        for _ in range(12)
    ]
    assert sum(gain > 0 for gain, _ in wolf) >= 8


def test_sigmoid_recovers_midpoint_slope_and_ceiling():
    items = np.full(8, 100000.0)
    p = 0.25 + (0.8 - 0.25) * expit(3 * (X - 5.6))
    middle, slope, ceiling = rivals.sigmoid_midpoint(items * p, items, X, 0.25)
    assert (middle, slope, ceiling) == pytest.approx((5.6, 3.0, 0.8), rel=0.02)
    assert rivals.calls(items * p, items, X, 0.25)["sigmoid"]


def test_bnsl_recovers_a_planted_break_and_beats_its_own_start():
    """Exact values: the six parameters come back, which no start of the grid holds."""
    truth = bnsl.Bnsl(0.05, 1e-3, -0.1, -1.2, 5.5, 0.1, 0.0, 0.0)
    found = bnsl.fit(truth.score(X), X, 1)
    assert found.score(X) == pytest.approx(truth.score(X), abs=1e-6)
    assert (found.log_break, found.c0, found.c1) == pytest.approx((5.5, -0.1, -1.2), abs=0.02)
    assert bnsl.break_place(truth.score(X), X) == pytest.approx(5.5, abs=0.02)


def test_bnsl_reads_no_break_out_of_a_power_law_and_needs_seven_sizes():
    power = 0.05 + 2e-4 * (10**X) ** 0.4
    assert bnsl.fit(power, X, 0).rmsle < 1e-6
    assert bnsl.break_place(power, X) is None
    assert np.isnan(bnsl.break_place(power[:6], X[:6]))
    assert rivals.calls(100 * power[:6], np.full(6, 100.0), X[:6])["bnsl"] is None


def test_bnsl_breaks_where_a_plain_sigmoid_saturates():
    """Straight in logits up to a ceiling: nothing appears at its middle, but this rival has a break there."""
    assert 4.5 < bnsl.break_place(0.7 * expit(2 * (X - 5.5)), X) < 6.5


def test_a_call_is_right_where_there_is_a_break_and_only_there():
    tries = [("emergent", {"bnsl": True, "sigmoid": None}), ("smooth", {"bnsl": True, "sigmoid": None})]
    there, nowhere = (scorecard.score("t", "emergent", broken, tries) for broken in (True, False))
    assert (there.right("this one"), nowhere.right("this one")) == (0.5, 0.5)
    assert (there.right("bnsl"), nowhere.right("bnsl")) == (1.0, 0.0)
    assert np.isnan(there.right("sigmoid"))
    assert there.verdicts == {"emergent": 1, "smooth": 1}
    assert "-" in list(scorecard.rival_lines([there]))[1]
