"""What a plan promises of intervals, and how `lab status` holds it to what came."""

from dataclasses import replace

import numpy as np
import pandas
import pytest

from sweeps.plan import promised_intervals
from sweeps.plan.scatter import Scatter, measured, numbered
from sweeps.study.prior import Prior
from tests.sweeps.planned import WIDE, make


def test_promised_intervals_narrow_with_the_noise_and_hold_the_truth(own_cache):
    found = make(WIDE)
    prior = Prior(noise=0.01)
    (wide,) = promised_intervals.promises(found, prior)
    (narrow,) = promised_intervals.promises(found, replace(prior, noise=0.001))
    assert wide.lost < 0.05
    for name in ("E", "A", "alpha", "B", "beta"):
        low, high = narrow.ranges[name]
        assert low < getattr(prior, name) < high
        assert high - low < 0.5 * (wide.ranges[name][1] - wide.ranges[name][0])
    assert narrow.forecast < 0.5 * wide.forecast


def test_a_promise_is_what_studies_of_that_law_really_give():
    """Intervals of studies drawn and fitted one by one through the front door of the analysis: with the error
    of a law that bends otherwise, the luck of trunks and that of runs, within a factor of 1.5."""
    from analysis import fit

    sizes, budgets, seeds = np.geomspace(1e4, 3e5, 6), np.geomspace(2e5, 6e6, 5), np.arange(2.0)
    n, d, s = (axis.ravel() for axis in np.meshgrid(sizes, budgets, seeds))
    design = promised_intervals.Design("language", n, d, s)
    noise = Scatter(model=0.008, reach=2.0, trunk=0.004, run=0.005)
    law = {"N_c": 4.052e5, "D_c": 2.695e7, "alpha_N": 0.1961, "alpha_D": 0.1828}
    expected = promised_intervals.Expected("kaplan", law, noise, "planted")
    said = promised_intervals.promised(design, expected)
    draws = noise.draw(n, d, design.trunks, 5, np.random.default_rng(7))
    table = {"params": n, "tokens": d, "cluster": design.trunks}
    made = [
        fit({**table, "loss": expected.loss(n, d) * np.exp(one)}, "kaplan", bootstrap=100) for one in draws
    ]
    for name in ("alpha_N", "alpha_D"):
        low, high = said.ranges[name]
        delivered = np.median([np.log(one.intervals[name][1] / one.intervals[name][0]) for one in made])
        assert 1 / 1.5 < np.log(high / low) / delivered < 1.5
    delivered = np.median([np.ptp(one.exponents.interval) for one in made])
    assert 1 / 1.5 < np.ptp(said.params_exponent) / delivered < 1.5
    # Without the law's own error the same design would promise too much.
    alone = replace(expected, scatter=replace(noise, model=0.0))
    low, high = promised_intervals.promised(design, alone).params_exponent
    assert high - low < 0.75 * np.ptp(said.params_exponent)


def test_scatter_is_measured_back_from_the_residuals_of_a_store():
    sizes, budgets, seeds = np.geomspace(1e4, 3e5, 40), np.geomspace(2e5, 6e6, 6), np.arange(3.0)
    n, d, s = (axis.ravel() for axis in np.meshgrid(sizes, budgets, seeds))
    trunks = numbered(n, s)
    planted = Scatter(model=0.01, reach=2.0, trunk=0.006, run=0.004)
    (residual,) = planted.draw(n, d, trunks, 1, np.random.default_rng(0))
    found = measured(residual, n, d, trunks)
    for name in ("model", "trunk", "run"):
        assert getattr(found, name) == pytest.approx(getattr(planted, name), rel=0.2)
    assert 1.0 < found.reach < 4.0
    # One seed a cell: nothing is lost, it only cannot be told apart.
    one = s == 0
    alone = measured(residual[one], n[one], d[one], trunks[one])
    assert (alone.trunk, alone.run) == (0.0, 0.0)
    assert alone.model == pytest.approx(np.std(residual[one]), rel=0.1)


def test_what_cannot_be_fitted_is_said_instead(own_cache):
    (said,) = promised_intervals.promises(make({**WIDE, "sizes": [{"width": 8}]}), Prior())
    assert said.ranges == {}
    assert "1 sizes, at least 3 are needed" in said.why
    assert (
        promised_intervals.promises(make({**WIDE, "factors": {"model.qk_norm": [True, False]}}), Prior())
        == []
    )


def test_a_promise_is_held_to_runs_of_which_another_law_leads(tmp_path):
    """Runs of Kaplan's form beside a promise of another law: that law is fitted to them, and told is by what
    its intervals differ; the promise for runs that scatter three times as much is three times too narrow."""
    sizes, budgets = np.geomspace(2e4, 6e5, 6), np.geomspace(3e5, 1e7, 5)
    n, d = (axis.ravel() for axis in np.meshgrid(sizes, budgets))
    built_in = promised_intervals.BUILT_IN
    noise = np.random.default_rng(0).standard_normal(len(n))
    kaplan = (4.052e5 / n) ** (0.1961 / 0.1828) + 2.695e7 / d

    def kept(name, loss):
        table = pandas.DataFrame({"params": n, "tokens": d, "loss_nats": loss, "seed": 0, "grid": "language"})
        table.to_csv(tmp_path / name, index=False)
        return promised_intervals.kept(tmp_path / name, Prior())

    other = kept("kaplan.csv", kaplan**0.1828 * np.exp(0.004 * noise))
    assert other.law == built_in.law != other.leads
    assert {"E", "alpha", "loss"} <= set(other.ratios)
    assert all(ratio > 0 for ratio in other.ratios.values())
    own = [kept(f"{k}.csv", built_in.loss(n, d) * np.exp(k * 0.006 * noise)) for k in (1, 3)]
    near, far = (one.ratios["loss"] for one in own)
    assert near / far == pytest.approx(3, rel=0.35)
