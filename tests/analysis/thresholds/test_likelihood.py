"""The likelihood, the seed sd and the fits against closed forms and independent optimisers."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import betabinom, binom

from analysis.thresholds import fits, likelihood


def test_without_seed_noise_it_is_the_binomial_likelihood():
    scale = likelihood.count_scale("logit", 0.25, 0.9)
    eta = np.array([-2.0, 0.0, 1.5])
    p = 0.25 + 0.65 * expit(eta)
    got = likelihood.count_loglik(scale, eta, 37.0, 100.0, 0.0)
    want = binom.logpmf(37, 100, p)
    assert np.diff(got) == pytest.approx(np.diff(want), abs=1e-9)


def test_with_seed_noise_it_is_beta_binomial_with_the_variance_of_the_seeds():
    scale = likelihood.count_scale("logit", 0.0)
    p, sd = expit(0.4), 0.5
    total = p * (1 - p) / (p * (1 - p) * sd) ** 2
    got = [likelihood.count_loglik(scale, 0.4, k, 50.0, sd) for k in (10.0, 20.0, 40.0)]
    log_choose = [binom.logpmf(k, 50, 0.5) - 50 * np.log(0.5) for k in (10, 20, 40)]
    want = betabinom.logpmf([10, 20, 40], 50, p * total, (1 - p) * total)
    assert np.array(got) + log_choose == pytest.approx(want, abs=1e-9)


def test_power_law_of_tokens_is_straight_on_the_loglog_link():
    """exp(-T (N/c)^-a): the answer's length T only moves the intercept."""
    scale = likelihood.count_scale("loglog", 0.0)
    x = np.linspace(4, 7, 5)
    for tokens in (1, 10):
        eta = -np.log(tokens) + 0.5 * np.log(10) * (x - 4)
        exact = np.exp(-tokens * 10 ** (-0.5 * (x - 4)))
        assert likelihood.mean_score(scale, eta) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("chance", [0.0, 0.25])
@pytest.mark.parametrize("sd", [0.0, 0.1, 0.3])
def test_seed_sd_is_recovered_from_pure_error(chance, sd):
    """A trend over sizes must not leak in, nor the binomial noise."""
    rng = np.random.default_rng(3)
    size = np.repeat(np.arange(8), 3)
    eta = np.linspace(-2.5, 2.5, 8)[size] + sd * rng.standard_normal((400, 24))
    correct = rng.binomial(1000, chance + (1 - chance) * expit(eta)).astype(float)
    got = likelihood.count_spread(
        likelihood.count_scale("logit", chance), correct, np.full(24, 1000.0), size
    ).sd
    assert np.sqrt((got**2).mean()) == pytest.approx(sd, abs=0.045)  # cut off at 0


@pytest.mark.parametrize("link", likelihood.LINKS)
def test_batched_newton_reaches_the_optimum_of_a_general_optimiser(link):
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3, 7)
    size, items = np.repeat(np.arange(7), 2), np.full(14, 300.0)
    scale = likelihood.count_scale(link, 0.0)
    p = likelihood.mean_score(scale, -2 + 1.3 * x)[size]
    correct = rng.binomial(300, p, (5, 14)).astype(float)
    correct[0, :6] = 0.0  # exact zeros are data, not missing values
    sd = likelihood._SIGMAS[20]
    profiles = likelihood.count_profiles(scale, correct, items, size, np.full(5, sd))
    got = fits.fit(scale, profiles, fits.line_design(x)).loglik[:, 0]
    for row in range(5):

        def loss(theta, row=row):
            return -likelihood.count_loglik(
                scale, (theta[0] + theta[1] * x)[size], correct[row], items, sd
            ).sum()

        want = min(minimize(loss, start, method="Nelder-Mead").fun for start in ([-2, 1], [-6, 3], [0, 0.2]))
        assert got[row] == pytest.approx(-want, abs=0.02)


def test_hinge_is_never_worse_than_the_line_it_contains():
    rng = np.random.default_rng(1)
    x = np.linspace(0, 3, 8)
    size = np.repeat(np.arange(8), 3)
    scale = likelihood.count_scale("logit", 0.0)
    correct = rng.binomial(500, expit(-3 + 1.5 * x)[size], (50, 24)).astype(float)
    profiles = likelihood.count_profiles(scale, correct, np.full(24, 500.0), size, np.full(50, 0.2))
    line = fits.fit(scale, profiles, fits.line_design(x)).loglik[:, 0]
    hinge = fits.fit(scale, profiles, fits.hinge_design(x, fits.elbow_grid(x))).loglik
    assert (hinge >= line[:, None] - 1e-3).all()


def test_continuous_profiles_are_normal_and_fit_like_weighted_least_squares():
    rng = np.random.default_rng(2)
    x = np.linspace(0, 3, 6)
    size, variance = np.repeat(np.arange(6), 3), np.linspace(0.01, 0.2, 18)
    y = 1 + 0.5 * x[size] + rng.standard_normal((1, 18)) * 0.3
    scale = likelihood.Scale("identity", np.linspace(-4, 8, 161))
    profiles = likelihood.real_profiles(scale, y, variance, size, np.array([0.2]))
    got = fits.fit(scale, profiles, fits.line_design(x)).coefficients[0, 0]
    weight = 1 / np.sqrt(0.04 + variance)
    want = np.polyfit(x[size], y[0], 1, w=weight)[::-1]
    assert got == pytest.approx(want, abs=1e-6)
