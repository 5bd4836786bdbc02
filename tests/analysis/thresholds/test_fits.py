"""The fits of thousands of curves: tables, small systems and tails against those of NumPy and SciPy."""

import numpy as np
import pytest
from scipy import stats

from analysis.thresholds import fits, tails
from analysis.thresholds.likelihood import Scale, count_profiles, count_scale

X = np.linspace(3.0, 5.0, 6)


def curve_loglik(scale, profiles, eta):
    """(B, P) of curves eta (B, P, K) on profiles (B, K, G), by the interpolation that fits use."""
    tables = fits.tabulate(scale, profiles)
    return fits._value(tables, tables.start, np.swapaxes(eta, 0, 1)).T


@pytest.mark.parametrize("at", [-14.0, -13.95, -3.21, 0.0, 13.7, 13.9, 20.0])
def test_slope_and_bend_are_central_differences_and_one_sided_at_the_ends(at):
    scale = count_scale("logit", 0.1)
    rng = np.random.default_rng(0)
    profiles = np.cumsum(rng.standard_normal((2, 3, scale.eta.size)), -1)
    tables = fits.tabulate(scale, profiles)
    slope, bend = fits._slope_and_bend(tables, tables.start, np.full((1, 2, 3), at))
    first = np.gradient(profiles, scale.step, axis=-1)
    second = np.gradient(first, scale.step, axis=-1)
    for got, table in ((slope, first), (bend, second)):
        want = [[np.interp(at, scale.eta, row) for row in rows] for rows in table]
        np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-4 * np.abs(table).max())


def test_values_between_the_points_of_a_cubic_are_exact_also_at_the_ends():
    scale = Scale("identity", np.linspace(-2.0, 2.0, 41))
    cubic = np.poly1d([0.3, -1.0, 0.5, 2.0])
    profiles = np.broadcast_to(cubic(scale.eta), (2, 3, 41))
    eta = np.random.default_rng(1).uniform(-2, 2, (2, 4, 3))
    got = curve_loglik(scale, profiles, eta)
    np.testing.assert_allclose(got, cubic(eta).sum(-1), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_small_systems_are_solved_as_by_lapack(order):
    rng = np.random.default_rng(order)
    root = rng.standard_normal((5, 7, order, order))
    matrix = root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(order)
    right = rng.standard_normal((5, 7, order))
    lower = matrix[..., *np.tril_indices(order)]
    ridge = (0.01 + 1e-9 * np.trace(matrix, axis1=-2, axis2=-1))[..., None, None] * np.eye(order)
    want = np.linalg.solve(matrix + ridge, right[..., None])[..., 0]
    np.testing.assert_allclose(fits._solve(lower, right, 0.01), want, rtol=1e-9)


def test_every_data_set_and_alternative_is_at_its_own_optimum():
    """No neighbour of a fit is better, for many data sets and alternatives in one call and for one."""
    rng = np.random.default_rng(2)
    scale = count_scale("logit", 0.0)
    items, size = np.full(12, 50.0), np.repeat(np.arange(6), 2)
    p = 1 / (1 + np.exp(-(2 * (X - 4) + 3 * np.maximum(X - 4, 0))))
    correct = rng.binomial(50, p[size], (4, 12)).astype(float)
    profiles = count_profiles(scale, correct, items, size, np.full(4, 0.1))
    designs = fits.hinge_design(X - 4, fits.elbow_grid(X - 4, 5))
    fit = fits.fit(scale, profiles, designs)
    alone = fits.fit(scale, profiles[2:3], designs[3:4])
    assert alone.loglik[0, 0] == pytest.approx(fit.loglik[2, 3], abs=1e-5)
    for _ in range(30):
        other = fit.coefficients + 0.05 * rng.standard_normal(fit.coefficients.shape)
        eta = np.einsum("bpq,pkq->bpk", other, designs)
        assert (curve_loglik(scale, profiles, eta) <= fit.loglik + 1e-4).all()


def test_tails_are_those_of_scipy_stats():
    for ratio in (-0.1, 0.0, 0.7, 9.0):
        assert tails.f_tail(ratio, 2, 9) == pytest.approx(stats.f.sf(ratio, 2, 9), rel=1e-10)
        assert tails.f_tail(ratio, 1, 0) == pytest.approx(stats.chi2.sf(ratio, 1), rel=1e-10)
    assert tails.f_quantile(0.95, 3, 7) == pytest.approx(stats.f.ppf(0.95, 3, 7), rel=1e-10)
    assert tails.f_quantile(0.95, 1, 0) == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-10)
    assert tails.student_both(1.3, 4) == pytest.approx(2 * stats.t.sf(1.3, 4), rel=1e-10)
    hits = np.arange(12)
    with np.errstate(invalid="ignore"):
        want = stats.binom.sf(hits - 1, 10, 0.3)
    np.testing.assert_allclose(tails.binomial_at_least(hits, np.full(12, 10), 0.3), want, atol=1e-14)
    for k in (0, 4, 10):
        assert tails.binomial_at_most(k, 10, 0.3) == pytest.approx(stats.binom.cdf(k, 10, 0.3), rel=1e-10)
    want = stats.beta.ppf(0.025, np.maximum(hits[:11], 1e-9), 11 - hits[:11])
    np.testing.assert_allclose(tails.surely_above(hits[:11], 10, 0.025), want, rtol=1e-8, atol=1e-12)
