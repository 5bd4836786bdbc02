"""Two kinds of outcome among seeds (Zhao et al. 2502.17356): a jump in the mean may be luck, not size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit

from analysis.thresholds.likelihood import Scale, count_loglik

FEWEST_SEEDS = 5  # with fewer, two modes and one wide one cannot be told apart
_NEAREST_MODES = 0.2  # modes closer than this in score are no two kinds of outcome


@dataclass(frozen=True)
class Mixture:
    """Every run is either in the low or in the high mode; size sets the odds of the high one.

    odds (2,): intercept and slope of logit q(x); modes (2,) eta of low and high; loglik over cells.
    """

    odds: np.ndarray
    modes: np.ndarray
    loglik: float
    scale: Scale
    freedom: int = 6

    def success(self, x: np.ndarray) -> np.ndarray:
        """Probability of the high mode."""
        return expit(self.odds[0] + self.odds[1] * x)


def split_statistic(logits: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Likelihood ratio (B,) of two normal modes of one width against one, for logits (B, R), error variance
    `noise` (B, R) of each from its items: the best split of the sorted values, weighted by its sizes."""
    order = np.argsort(logits, 1)
    y = np.take_along_axis(logits, order, 1)
    seeds = y.shape[1]
    floor = noise.mean(1)
    one = np.maximum(y.var(1), floor)
    best = np.full(len(y), -np.inf)
    for low in range(1, seeds):
        within = (y[:, :low].var(1) * low + y[:, low:].var(1) * (seeds - low)) / seeds
        shares = np.array([low, seeds - low]) / seeds
        entropy = 2 * seeds * (shares * np.log(shares)).sum()
        best = np.maximum(best, seeds * np.log(one / np.maximum(within, floor)) + entropy)
    return best


def two_modes(correct: np.ndarray, items: np.ndarray, size: np.ndarray, level: float = 0.01) -> list[int]:
    """Sizes whose seeds (at least five of them) fall into two modes; empty where that may be one wide mode.

    The largest and the summed `split_statistic` of the sizes are compared with those of normal seeds, by
    simulation at level / 2 each: the usual cut for five seeds, 2 log R + 4, calls every tenth wide normal
    sample two modes. Sizes named are those over their own 5 % and with a gap of 0.2 between scores.
    """
    counts = np.bincount(size)
    tested = np.flatnonzero(counts >= FEWEST_SEEDS)
    if tested.size == 0:
        return []
    null = _normal_statistics(tuple(counts[tested].tolist()))
    found, total, largest = [], 0.0, -np.inf
    for which, reference in zip(tested, null, strict=True):
        k, n = correct[size == which], items[size == which]
        if np.diff(np.sort(k / n)).max() <= _NEAREST_MODES:
            continue
        logits = np.log((k + 0.5) / (n - k + 0.5))
        noise = 1 / (k + 0.5) + 1 / (n - k + 0.5)
        statistic = float(split_statistic(logits[None], noise[None])[0])
        total, largest = total + statistic, max(largest, statistic)
        if statistic > np.quantile(reference, 0.95):
            found.append(int(which))
    significant = total > np.quantile(null.sum(0), 1 - level / 2)
    significant |= largest > np.quantile(null.max(0), 1 - level / 2)
    return found if significant else []


@lru_cache(maxsize=16)
def _normal_statistics(seeds: tuple[int, ...], draws: int = 20000) -> np.ndarray:
    """Split statistics (sizes, draws) of normal seeds, some number at each size."""
    rng = np.random.default_rng(len(seeds))
    return np.stack([split_statistic(rng.standard_normal((draws, n)), np.zeros((draws, n))) for n in seeds])


def _mixed(logits: np.ndarray, low: float, size: np.ndarray) -> bool:
    """Do seeds of one size lie in both modes, and apart? Else two modes are only two ends of a curve."""
    for i in np.unique(size):
        here = np.sort(logits[size == i])
        below, above = here[here <= low], here[here > low]
        if below.size and above.size and expit(above[0]) - expit(below[-1]) > _NEAREST_MODES / 2:
            return True
    return False


def fit_mixture(
    scale: Scale, correct: np.ndarray, items: np.ndarray, x: np.ndarray, size: np.ndarray
) -> Mixture | None:
    """Maximum likelihood over cells; None where the runs do not fall into two modes at all."""
    from scipy.optimize import minimize

    logits = np.log((correct + 0.5) / (items - correct + 0.5))
    y = np.sort(logits)
    gaps = [y[:c].var() * c + y[c:].var() * (y.size - c) for c in range(1, y.size)]
    cut = int(np.argmin(gaps)) + 1
    low, high = y[:cut].mean(), y[cut:].mean()
    if y.size < 6 or expit(high) - expit(low) < _NEAREST_MODES or not _mixed(logits, y[cut - 1], size):
        return None
    centre, width = x.mean(), max(np.ptp(x), 1e-9)
    z = (x[size] - centre) / width

    def loss(theta: np.ndarray) -> float:
        a, b, lower, gap, low_sd, high_sd = theta
        odds = a + b * z
        down = count_loglik(scale, lower, correct, items, np.exp(low_sd)) - np.logaddexp(0, odds)
        up = count_loglik(scale, lower + np.exp(gap), correct, items, np.exp(high_sd)) - np.logaddexp(
            0, -odds
        )
        return -np.logaddexp(down, up).sum()

    share = np.clip((logits > 0.5 * (low + high)).mean(), 0.05, 0.95)
    start = np.array([np.log(share / (1 - share)), 1.0, low, np.log(high - low), -0.5, -0.5])
    bounds = [(-20, 20), (-40, 40), (-14, 14), (-1, 3.3), (-3, 1.0), (-3, 1.0)]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    a, b, lower, gap = found.x[:4]
    odds = np.array([a - b * centre / width, b / width])
    return Mixture(odds, np.array([lower, lower + np.exp(gap)]), -float(found.fun), scale)
