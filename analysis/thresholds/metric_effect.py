"""Does the metric make the jump? The smooth continuous curve, pushed through exact match.

Exact match of T tokens is about exp(-T nats) (Schaeffer et al. 2304.15004, section 2), so a smooth loss makes
a sharp score. Here log(-log EM) = a + b log(nats) is fitted to the cells themselves: T = exp(a) absorbs the
answer's length and the dependence between its tokens, b that greedy decoding is no sampling.
"""

from __future__ import annotations

import numpy as np

from analysis.thresholds.scores import Cells
from analysis.thresholds.shapes import Shape


def match(hard: Cells, soft: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the cells of one run in both series, by place and seed."""
    at = {
        (round(float(p), 9), s): i
        for i, (p, s) in enumerate(zip(hard.x[hard.size], hard.seed.tolist(), strict=True))
    }
    pairs = [
        (at[key], j)
        for j, (p, s) in enumerate(zip(soft.x[soft.size], soft.seed.tolist(), strict=True))
        if (key := (round(float(p), 9), s)) in at
    ]
    return (np.array([i for i, _ in pairs], int), np.array([j for _, j in pairs], int))


def explained(hard: Cells, soft: Cells, smooth: Shape) -> float | None:
    """Share (0 to 1) of the largest rise of `hard` between neighbouring sizes that the smooth curve of `soft`
    reproduces when pushed through the metric; None without at least four runs in both or without a rise."""
    mine, other = match(hard, soft)
    if mine.size < 4:
        return None
    link = fit_link(log_nats(soft.score[other], soft), hard.score[mine], hard.items[mine])
    curve = smooth.score(hard.x)
    predicted = pushed(link, log_nats(soft.measure.score(curve) if soft.continuous else curve, soft))
    observed = hard.pooled
    step = int(np.diff(observed).argmax())
    rise = observed[step + 1] - observed[step]
    if rise <= 0.05:
        return None
    return float(np.clip((predicted[step + 1] - predicted[step]) / rise, 0.0, 1.0))


def fit_link(log_nats: np.ndarray, score: np.ndarray, items: np.ndarray) -> tuple[float, float]:
    """(a, b) of log(-log EM) = a + b log(nats), by binomial likelihood with at most 50 items a cell, so that
    no single run decides."""
    from scipy.optimize import minimize

    weight = np.minimum(items, 50.0)

    def loss(theta: np.ndarray) -> float:
        p = np.clip(pushed((theta[0], np.exp(theta[1])), log_nats), 1e-6, 1 - 1e-6)
        return -(weight * (score * np.log(p) + (1 - score) * np.log1p(-p))).sum()

    starts = [np.array([a, b]) for a in (0.0, 1.5, 3.0) for b in (0.0, 1.0)]
    best = min(
        (minimize(loss, s, method="Nelder-Mead", options={"maxiter": 400}) for s in starts),
        key=lambda found: found.fun,
    )
    return float(best.x[0]), float(np.exp(best.x[1]))


def pushed(link: tuple[float, float], log_nats: np.ndarray) -> np.ndarray:
    """Exact match that belongs to log nats a token."""
    return np.exp(-np.exp(np.clip(link[0] + link[1] * log_nats, -40.0, 40.0)))


def log_nats(score: np.ndarray, soft: Cells) -> np.ndarray:
    """log(-log p) of a continuous measure: of a loss its logarithm, of a share p itself, of a distance (0 is
    right) 1 less it."""
    measure = soft.measure
    if measure.kind == "perplexity":
        return np.log(np.log(score))
    if measure.nats:
        return np.log(score)
    share = 1 - score if measure.zero else score
    return np.log(-np.log(np.clip(share, 1e-9, 1 - 1e-6)))
