"""Tails and quantiles of the usual distributions, of scipy.special: scipy.stats is slow to import."""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr, betainc, betaincinv, chdtrc, fdtrc, fdtri, gammaincinv, stdtr


def f_tail(ratio: float, above: float, below: float) -> float:
    """P(F > ratio) with `above` and `below` degrees of freedom; of chi-square / `above` where below is 0."""
    ratio = max(ratio, 0.0)
    return float(fdtrc(above, below, ratio) if below > 0 else chdtrc(above, above * ratio))


def f_quantile(level: float, above: float, below: float) -> float:
    """The value that F exceeds with probability 1 - level; `below` as in `f_tail`."""
    return float(fdtri(above, below, level) if below > 0 else 2 * gammaincinv(above / 2, level) / above)


def student_both(t: float, freedom: float) -> float:
    """P(|T| > t) for t >= 0."""
    return float(2 * stdtr(freedom, -t))


def binomial_at_most(hits: int, items: int, chance: float) -> float:
    """P(X <= hits) for 0 <= hits <= items."""
    return float(bdtr(hits, items, chance))


def binomial_at_least(hits: np.ndarray, items: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """P(X >= hits) for whole numbers; all broadcast."""
    some = betainc(np.maximum(hits, 1), np.maximum(items - hits + 1, 1), chance)
    return np.where(hits <= 0, 1.0, np.where(hits > items, 0.0, some))


def surely_above(hits: np.ndarray, items: np.ndarray, level: float) -> np.ndarray:
    """Lower end of the one-sided Clopper-Pearson interval of a share, at 1 - level."""
    return betaincinv(np.maximum(hits, 1e-9), items - hits + 1, level)
