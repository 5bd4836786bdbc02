"""Losses: what is smooth in them, and what is a break."""

from dataclasses import replace

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.thresholds import calibration, detect, likelihood
from analysis.thresholds.metrics import RESOLUTION
from analysis.thresholds.null import Design

SIZES = np.geomspace(700, 100_000, 9)
X = np.log10(SIZES / SIZES[0])


def nats_table(nats, sd=0.05, seeds=3, start=0):
    rng = np.random.default_rng(start)
    return pandas.DataFrame(
        {"task": "t", "metric": "gold_nats", "params": n, "seed": j, "score": s * np.exp(sd * rng.normal())}
        for n, s in zip(SIZES, nats, strict=True)
        for j in range(seeds)
    )


STRAIGHT = {
    "gold": -np.log(expit(-3.2 + 2.2 * X)),  # probability of the answer, straight in logits
    "nats": 3.4 - 1.45 * X,  # a store that answers evenly more: straight in nats
    "power law": 3.4 * np.exp(-1.2 * X),
}


@pytest.mark.parametrize("name", STRAIGHT)
def test_a_loss_that_is_straight_on_any_of_its_scales_is_rarely_called_broken(name):
    """Against the power law alone the first two are always called so."""
    design = Design(np.log10(SIZES), np.repeat(np.arange(9), 3), None, np.zeros(27), 0.0)
    value, rng = -np.log(STRAIGHT[name]), np.random.default_rng(1)
    scale = likelihood.Scale("identity", np.linspace(-5, 5, 161))
    both = replace(design, links=("gold", "nats"))
    assert 0.01 < calibration.rejected(both, scale, value, 0.1, 0.05, rng, 300) < 0.09
    if name != "power law":
        assert calibration.rejected(design, scale, value, 0.1, 0.05, rng, 100) > 0.9


def test_a_store_that_answers_evenly_more_is_smooth():
    assert detect(nats_table(STRAIGHT["nats"], start=1), draws=99)[0].verdict == "smooth"


def test_a_loss_that_leaves_the_guess_at_a_size_and_saturates_is_emergent():
    nats = np.where(
        X < 0.9, 3.45, 3.45 * np.exp(-9 * np.minimum(X - 0.9, 0.6) - 0.5 * np.maximum(X - 1.5, 0))
    )
    one = detect(nats_table(nats), draws=99)[0]
    assert one.verdict == "emergent"
    low, high = one.thresholds.elbow.interval
    apart = SIZES[1] / SIZES[0]  # of a saturating curve a step fits best, so the place is known to a size
    assert low / apart <= SIZES[0] * 10**0.9 <= high * apart


def test_scales_of_a_loss_return_its_value():
    value = -np.log(np.geomspace(0.2, 3.0, 7))
    for make, eta in (
        (likelihood.gold_scale, -np.log(np.expm1(np.exp(-value)))),
        (likelihood.nats_scale, -np.exp(-value)),
    ):
        scale = make(value)
        np.testing.assert_allclose(likelihood.mean_score(scale, eta), value, rtol=1e-9)
        assert scale.eta[0] < eta.min() < eta.max() < scale.eta[-1]


def test_an_answer_known_for_certain_is_taken_at_the_resolution_of_its_precision():
    table = nats_table(3.4 * np.exp(-3 * X))
    table.loc[table.index[-1], "score"] = 0.0
    one = detect(table, draws=99)[0]
    assert one.verdict != "invalid"
    assert one.score.min() == pytest.approx(RESOLUTION)


def test_zeros_of_all_seeds_amid_a_lottery_are_luck():
    """One seed of a small size has found it, no seed of the next two, all of the larger ones."""
    scores = [
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0.4],
        [0, 0, 0],
        [0, 0, 0],
        [1, 1, 1],
        [1, 1, 1],
        [1, 1, 1],
    ]
    rows = [
        {"task": "t", "metric": "exact_match", "params": n, "seed": j, "correct": 1000 * s, "items": 1000}
        for n, seeds in zip(SIZES, scores, strict=True)
        for j, s in enumerate(seeds)
    ]
    one = detect(pandas.DataFrame(rows).assign(chance=0.0), draws=99)[0]
    assert one.verdict != "invalid"
    assert "luck" in next(note.text for note in one.warnings if note.code == "exact_zero")
    alike = [[s[0]] * 3 if i < 4 else s for i, s in enumerate(scores)]
    alike[3] = [0.4, 0.41, 0.39]  # all seeds found it, and none at the next size: a fault
    for row, score in zip(rows, np.ravel(alike), strict=True):
        row["correct"] = round(1000 * score)
    assert detect(pandas.DataFrame(rows).assign(chance=0.0), draws=99)[0].verdict == "invalid"
