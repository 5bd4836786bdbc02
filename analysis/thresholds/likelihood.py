"""The likelihood of scores given a curve: chance level, ceiling, seeds that differ, any number of data sets.

A curve lives on the continuous scale eta; a score's mean is p = g + (ceiling - g) F(eta). Three links:
`logit` (F logistic), `even` (F = eta between 0 and 1: the score itself is straight) and `loglog` (F =
exp(-exp(-eta)), which is a power law of the per-token loss pushed through an exact match of T tokens, p =
exp(-T (N/c)^-a): T goes into the intercept; Schaeffer et al. 2304.15004, and Hu et al. 2310.03262, whose F(N)
this is). Seeds differ by a standard deviation sigma in logits under any link: beta-binomial with that
variance (Williams 1982), closed where the logit-normal integral is not.

A loss has a scale of its own, minus log nats (`identity`), on which a power law is straight. What a store of
facts gains evenly in share of the answers bends upwards there without any threshold, but is straight in the
logit of the probability that a loss stands for, exp(-nats) (the link `gold`), or in the nats themselves (the
link `nats`).

Only the profile of each size matters to a fit: L[b, i, :] is the log-likelihood of data set b at size i as a
function of eta on a grid, seeds already integrated. Tables of it make thousands of fits cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammaln

LINKS = ("logit", "loglog", "even")
_SIGMAS = np.concatenate([[0.0], np.geomspace(0.02, 6.0, 40)])
_PRIOR_SD = 0.2  # logits; one vague observation, which only decides where all scores sit at the floor
_LARGEST_SD = 6.0  # logits
_LARGEST_CONCENTRATION = 1e7  # above it the beta is a point and gammaln loses the difference


@dataclass(frozen=True)
class Scale:
    """A grid of eta for one link. `chance` and `ceiling` bound the mean score of counts, and no other's."""

    link: str
    eta: np.ndarray
    chance: float = 0.0
    ceiling: float = 1.0

    @property
    def step(self) -> float:
        return float(self.eta[1] - self.eta[0])


def count_scale(link: str, chance: float, ceiling: float = 1.0) -> Scale:
    """The grid for proportions: from one in a million below to one in a million above; of scores that are
    straight themselves from below 0 to above 1, in the share of the way from chance to the ceiling."""
    if link == "even":
        return Scale(link, np.linspace(-0.25, 1.25, 401), chance, ceiling)
    low, high = (-14.0, 14.0) if link == "logit" else (-5.0, 14.0)
    return Scale(link, np.arange(low, high + 1e-9, 0.14), chance, ceiling)


def gold_scale(value: np.ndarray) -> Scale:
    """The grid for values -log nats of any shape, and a reach beyond them."""
    low, high = (-np.log(np.expm1(np.clip(np.exp(-v), 1e-12, 500.0))) for v in (value.min(), value.max()))
    reach = max(high - low, 1.0)
    return Scale("gold", np.linspace(low - reach, high + reach, 241))


def nats_scale(value: np.ndarray) -> Scale:
    """The grid for values -log nats, with eta minus the nats themselves, and a reach beyond them."""
    least, most = np.exp(-value.max()), np.exp(-value.min())
    return Scale("nats", np.linspace(-1.5 * most, -0.3 * least, 401))


LOSS_SCALES = {"gold": gold_scale, "nats": nats_scale}


def unit_score(link: str, eta: np.ndarray) -> np.ndarray:
    """F(eta), between 0 and 1."""
    if link == "even":
        return np.clip(eta, 0.0, 1.0)
    return expit(eta) if link == "logit" else np.exp(-np.exp(-np.clip(eta, -30, 700)))


def mean_score(scale: Scale, eta: np.ndarray) -> np.ndarray:
    """Mean score at eta, any shape; for the identity link the value itself, for gold and nats -log nats."""
    if scale.link == "identity":
        return eta
    if scale.link == "gold":
        return -np.log(np.logaddexp(0.0, -eta))
    if scale.link == "nats":
        return -np.log(np.maximum(-eta, -scale.eta[-1]))
    return scale.chance + (scale.ceiling - scale.chance) * unit_score(scale.link, eta)


def seeded_score(scale: Scale, eta: np.ndarray, deviate: np.ndarray) -> np.ndarray:
    """Score of a run whose seed moves it by `deviate` logits (a continuous value by as much of itself)."""
    if scale.link not in LINKS:
        return mean_score(scale, eta) + deviate
    unit = np.clip(unit_score(scale.link, eta), 1e-15, 1 - 1e-15)
    return scale.chance + (scale.ceiling - scale.chance) * expit(np.log(unit / (1 - unit)) + deviate)


def count_loglik(scale: Scale, eta: np.ndarray, correct: np.ndarray, items: np.ndarray, sigma: float):
    """Log-likelihood of `correct` of `items` where the mean curve is at eta; all three broadcast.

    Without the binomial coefficient. Counts need not be whole: clustered items count as fewer.
    """
    p = np.clip(mean_score(scale, eta), 1e-12, 1 - 1e-12)
    if sigma == 0.0:
        return correct * np.log(p) + (items - correct) * np.log1p(-p)
    unit = unit_score(scale.link, eta)
    width = scale.ceiling - scale.chance
    spread = np.maximum((width * unit * (1 - unit) * sigma) ** 2, 1e-300)
    concentration = np.minimum(p * (1 - p) / spread, _LARGEST_CONCENTRATION)
    a, b = p * concentration, (1 - p) * concentration
    fixed = gammaln(concentration) - gammaln(concentration + items) - gammaln(a) - gammaln(b)
    return gammaln(correct + a) + gammaln(items - correct + b) + fixed


def count_profiles(
    scale: Scale, correct: np.ndarray, items: np.ndarray, size: np.ndarray, sigma: np.ndarray
) -> np.ndarray:
    """Profiles (B, K, G). correct (B, C); items (C,); size (C,), the index 0..K-1 of a cell; sigma (B,)."""
    out = np.zeros((len(correct), size.max() + 1, scale.eta.size))
    nearest = np.abs(np.log(np.maximum(sigma, 1e-9)[:, None]) - np.log(np.maximum(_SIGMAS, 0.01))).argmin(1)
    for which in np.unique(nearest):
        rows = np.flatnonzero(nearest == which)
        for n in np.unique(items):
            cells = np.flatnonzero(items == n)
            values, inverse = np.unique(correct[np.ix_(rows, cells)], return_inverse=True)
            table = count_loglik(scale, scale.eta, values[:, None], n, float(_SIGMAS[which]))
            inverse = inverse.reshape(rows.size, cells.size)
            for j, cell in enumerate(cells):
                out[rows, size[cell]] += table[inverse[:, j]]
    return out


def real_profiles(
    scale: Scale, value: np.ndarray, variance: np.ndarray, size: np.ndarray, sigma: np.ndarray
) -> np.ndarray:
    """Profiles (B, K, G) of a continuous metric: value (B, C) is normal, variance sigma^2 + `variance`."""
    out = np.zeros((len(value), size.max() + 1, scale.eta.size))
    mean = mean_score(scale, scale.eta)
    for cell, where in enumerate(size):
        total = (np.maximum(sigma, 1e-6) ** 2 + variance[cell])[:, None]
        out[:, where] -= 0.5 * ((value[:, cell, None] - mean) ** 2 / total + np.log(2 * np.pi * total))
    return out


@dataclass(frozen=True)
class Spread:
    """The sd between seeds of B tables by pure error. noise (B,): variance that the items add to one run, on
    the same scale; freedom (B,): degrees of freedom of the sum of both, infinite where the sd was given."""

    sd: np.ndarray
    noise: np.ndarray
    freedom: np.ndarray

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A seed sd for each of `rows` (indices of tables), as the seeds leave it open.

        sd^2 + noise is known as chi-square / freedom is: a table whose seed sd came out as 0 by chance is not
        taken for one whose seeds agree. With two seeds a size this is what keeps the level.
        """
        total = self.sd[rows] ** 2 + self.noise[rows]
        known = np.where(np.isfinite(self.freedom[rows]), self.freedom[rows], 1.0)
        drawn = total * known / np.maximum(rng.chisquare(known), 1e-9)
        drawn = np.sqrt(np.clip(drawn - self.noise[rows], 0.0, _LARGEST_SD**2))
        return np.where(np.isfinite(self.freedom[rows]), drawn, self.sd[rows])


# Seeds of small models may differ by more than those of large ones: sd of the largest size over that of the
# smallest, and of the middle, among which the likelihood chooses; and its gain from which it is believed (10
# %).
_TRENDS = np.linspace(-4.0, 4.0, 17)
_LEVELS = np.geomspace(1e-4, 9.0, 30)
_UNEVEN = 1.35


def uneven_sd(total: np.ndarray, noise: np.ndarray, freedom: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Seed sd of each size (B, K) whose log is straight in x, NaN for tables (B,) that do not ask for it.

    total, noise (B, K): variance between the seeds of a size, and the part of it that the items make; freedom
    (K,): seeds less one. Maximum likelihood of chi-squares over a grid of levels and trends.
    """
    z = (x - x.mean()) / max(np.ptp(x), 1e-9)
    variance = _LEVELS[:, None, None] * np.exp(2 * _TRENDS[:, None] * z)
    value = np.zeros((len(total), _LEVELS.size, _TRENDS.size))
    for i in np.flatnonzero(freedom):
        all_of_it = noise[:, i, None, None] + variance[:, :, i]
        value -= 0.5 * freedom[i] * (np.log(all_of_it) + total[:, i, None, None] / all_of_it)
    best = value.reshape(len(total), -1).argmax(1)
    level, trend = np.unravel_index(best, value.shape[1:])
    gain = value.max((1, 2)) - value[:, :, _TRENDS.size // 2].max(1)
    sd = np.sqrt(variance[level, trend])
    return np.where((gain > _UNEVEN)[:, None], sd, np.nan)


def count_spread(scale: Scale, correct: np.ndarray, items: np.ndarray, size: np.ndarray) -> Spread:
    """Between-seed sd on eta by pure error: spread within sizes beyond that of the items.

    The spread of scores within a size, less the binomial part, is divided by (dp/d eta)^2 at the size's
    mean (the delta method, so zeros and scores below chance need no logit); sizes are weighted by the
    precision of their estimate, which depends on sigma and is iterated. Sizes with one seed say nothing.
    """
    total, noise, count = count_within(scale, correct, items, size)
    return _weighted(total - noise, noise, count)


def count_within(
    scale: Scale, correct: np.ndarray, items: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance between the runs of each size and that of their items (B, K), on eta; runs of each size
    (K,)."""
    score = correct / items
    count = np.bincount(size)
    sums = np.zeros((len(count), size.size))
    sums[size, np.arange(size.size)] = 1
    mean = (score @ sums.T) / count
    spread = ((score - mean[:, size]) ** 2) @ sums.T / np.maximum(count - 1, 1)
    pooled = (correct @ sums.T + 0.5) / (items @ sums.T + 1)
    binomial = pooled * (1 - pooled) * ((1 / items) @ sums.T / count)
    width = scale.ceiling - scale.chance
    unit = np.clip((pooled - scale.chance) / width, 1e-4, 1 - 1e-4)
    slope2 = (width * unit * (1 - unit)) ** 2
    return spread / slope2, binomial / slope2, count


def real_spread(value: np.ndarray, variance: np.ndarray, size: np.ndarray) -> Spread:
    """As `count_spread` for a continuous metric: value (B, C), known error variance (C,)."""
    total, noise, count = real_within(value, variance, size)
    return _weighted(total - noise, noise, count)


def real_within(
    value: np.ndarray, variance: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `count_within` for a continuous metric."""
    count = np.bincount(size)
    sums = np.zeros((len(count), size.size))
    sums[size, np.arange(size.size)] = 1
    mean = (value @ sums.T) / count
    spread = ((value - mean[:, size]) ** 2) @ sums.T / np.maximum(count - 1, 1)
    return spread, np.broadcast_to(variance @ sums.T / count, spread.shape), count


def _weighted(estimate: np.ndarray, noise: np.ndarray, count: np.ndarray) -> Spread:
    """Mean over sizes of variance estimates (B, K), each by its precision; freedom by Satterthwaite."""
    freedom = np.maximum(count - 1, 0)
    variance = np.full(len(estimate), 0.1)
    for _ in range(8):
        weight = freedom / (noise + variance[:, None]) ** 2
        prior = 1 / (1 + variance) ** 2
        total = (weight * estimate).sum(1) + prior * _PRIOR_SD**2
        variance = np.maximum(total / (weight.sum(1) + prior), 1e-8)
    weight = freedom / (noise + variance[:, None]) ** 2
    known = weight.sum(1)
    mean = (weight * noise).sum(1) / np.maximum(known, 1e-300)
    return Spread(
        np.sqrt(np.where(variance > 1e-6, variance, 0.0)),
        mean,
        np.clip((variance + mean) ** 2 * known, 2.0, max(float(freedom.sum()), 2.0)),
    )
