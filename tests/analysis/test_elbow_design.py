"""Runs chosen for the place of an elbow, on planted abilities."""

import numpy as np
import pandas
import pytest

from analysis.designs.choice import Costs, choose
from analysis.designs.elbow import Elbow, elbow_of, elbow_outlook
from analysis.errors import InputError
from analysis.thresholds import detect
from benchmarks import planted

SIZES = np.linspace(4, 7, 7)
ITEMS = 500.0
KINK = Elbow(level=-6.5, slope=0.3, bend=3.0, place=5.6, sd=0.15, seed_sd=0.3)
STEP = Elbow(level=-5.5, slope=0.3, bend=4.0, place=5.6, sd=0.1, seed_sd=0.3, is_step=True)


def shifted(elbow: Elbow, place: float) -> Elbow:
    return Elbow(elbow.level, elbow.slope, elbow.bend, place, elbow.sd, elbow.seed_sd, is_step=elbow.is_step)


def errors(elbow: Elbow, x: np.ndarray, tables: int, seed: int) -> np.ndarray:
    """By how much least squares on logits misses the elbow, in decades, in tables of one run at each x."""
    rng = np.random.default_rng(seed)
    places = np.linspace(4.6, 6.6, 81)
    sd = np.sqrt(elbow.seed_sd**2 + elbow.noise(x, np.full(len(x), ITEMS)))
    # The truth lies anywhere within what is known of it.
    truths = elbow.place + elbow.sd * rng.standard_normal(tables)
    y = np.stack([shifted(elbow, place).eta(x) for place in truths]) + sd * rng.standard_normal(
        (tables, len(x))
    )
    left = np.empty((len(places), tables))
    for row, place in enumerate(places):
        beyond = x > place if elbow.is_step else np.maximum(x - place, 0)
        columns = np.stack([np.ones_like(x), x, beyond], axis=1) / sd[:, None]
        found = columns @ np.linalg.pinv(columns) @ (y / sd).T
        left[row] = np.square((y / sd).T - found).sum(axis=0)
    return places[left.argmin(axis=0)] - truths


@pytest.mark.parametrize("elbow", [KINK, STEP], ids=["kink", "step"])
def test_chosen_runs_miss_the_elbow_less_than_an_even_grid_of_the_same_cost(elbow):
    have = np.repeat(SIZES, 2)
    ahead = np.repeat(np.linspace(4, 7, 25), 4)
    cost = 10**ahead
    budget = float(2 * (10**SIZES).sum())
    look = elbow_outlook(elbow, have, np.full(len(have), ITEMS), ahead, np.full(len(ahead), ITEMS))
    chosen = ahead[list(choose(look, Costs(cost), budget, 14).chosen)]
    assert 10**chosen @ np.ones(len(chosen)) <= budget * (1 + 1e-9)
    even, mine = (errors(elbow, np.concatenate([have, more]), 4000, 0) for more in (have, chosen))

    def spread(values):  # half the middle 68 %: a few tables lose the elbow, in both designs
        return float(np.diff(np.quantile(values, (0.16, 0.84)))[0] / 2)

    # The standard error of a quantile's spread over 4000 tables is about 2 %.
    assert spread(mine) < 0.9 * spread(even)


def test_a_series_gives_its_elbow():
    plan = planted.Plan(seeds=3, seed_sd=0.2)
    rows = planted.hinge(plan, np.random.default_rng(0))
    series = detect(pandas.DataFrame(rows), draws=99).series[0]
    found = elbow_of(series)
    assert found.bend == pytest.approx(3.0, abs=0.6)
    assert found.slope == pytest.approx(0.2, abs=0.4)
    assert found.place == pytest.approx(5.5, abs=4 * found.sd)
    x = np.log10(series.grid)
    score = 1 / (1 + np.exp(-found.eta(x)))
    np.testing.assert_allclose(score, series.leading_curve, atol=0.02)
    smooth = detect(pandas.DataFrame(planted.smooth(plan, np.random.default_rng(0))), draws=99).series[0]
    with pytest.raises(InputError, match="has no elbow"):
        elbow_of(smooth)


def test_items_are_worth_their_part_of_the_scatter():
    """Where seeds differ by much more than items leave open, four times the items tell little more."""
    x, ahead = np.repeat(SIZES, 2), np.linspace(5.4, 6.4, 6)

    def after(seed_sd: float, items: float, runs: int = 1) -> float:
        elbow = Elbow(-6.5, 0.3, 3.0, 5.6, 0.15, seed_sd)
        more = np.repeat(ahead, runs)
        look = elbow_outlook(elbow, x, np.full(len(x), ITEMS), more, np.full(len(more), items))
        return look.variance(range(len(more)))

    assert after(0.0, 4 * ITEMS) == pytest.approx(after(0.0, ITEMS, 4))
    assert after(0.5, 4 * ITEMS) > 1.5 * after(0.5, ITEMS, 4)
