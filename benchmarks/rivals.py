"""The detectors in use elsewhere, to be shown beside ours: none of them knows about seeds.

Scores are in ascending order of size, in [0, 1] unless said otherwise. `calls` puts all of them side by side.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks import bnsl

BREAKTHROUGH = 5.0  # BIG-bench's own lists call tasks above it breakthroughs
TEN_POINTS = 0.10


def linearity(score: np.ndarray) -> float:
    """BIG-bench linearity L = I / root mean square of successive differences (Srivastava et al. 2206.04615).

    I is the range, positive when the largest score comes at a larger size than the smallest. n - 1 for a
    straight line over n sizes, 1 for one jump; infinite for constant scores is reported as 0.
    """
    return _ratio(score, np.sqrt(np.mean(np.diff(score) ** 2)))


def breakthroughness(score: np.ndarray) -> float:
    """BIG-bench breakthroughness B = I / root median square of successive differences (2206.04615).

    n - 1 for a straight line; infinite where more than half of the sizes score the same. The positions of
    the sizes do not enter, nor the number of items.
    """
    return _ratio(score, np.sqrt(np.median(np.diff(score) ** 2)))


def _ratio(score: np.ndarray, step: float) -> float:
    score = np.asarray(score, float)
    span = np.sign(score.argmax() - score.argmin()) * np.ptp(score)
    if span == 0:
        return 0.0
    return float(span / step) if step > 0 else float(np.copysign(np.inf, span))


def ten_points(score: np.ndarray, log_size: np.ndarray) -> float:
    """PaLM's discontinuous improvement: the last score less the log-linear projection of the two before it
    (Chowdhery et al. 2204.02311, section 6.2); called above 0.10."""
    score, log_size = np.asarray(score, float), np.asarray(log_size, float)
    slope = (score[-2] - score[-3]) / (log_size[-2] - log_size[-3])
    return float(score[-1] - (score[-2] + slope * (log_size[-1] - log_size[-2])))


def _fit(curve, starts, correct: np.ndarray, items: np.ndarray) -> tuple[float, np.ndarray]:
    def loss(theta: np.ndarray) -> float:
        p = np.clip(curve(theta), 1e-9, 1 - 1e-9)
        return -float((correct * np.log(p) + (items - correct) * np.log1p(-p)).sum())

    options = {"maxiter": 2000, "xatol": 1e-6, "fatol": 1e-8}
    best = min(
        (minimize(loss, s, method="Nelder-Mead", options=options) for s in starts), key=lambda f: f.fun
    )
    return -float(best.fun), best.x


def bic_hinge(
    correct: np.ndarray, items: np.ndarray, log_size: np.ndarray, trials: bool = False
) -> tuple[float, float]:
    """BIC(line) - BIC(hinge) in logits with binomial errors, and the elbow's log size; called above 0.

    trials: count every item in the sample size, not every size. Nothing here knows that seeds differ.
    """
    x = np.asarray(log_size, float)
    correct, items = np.asarray(correct, float), np.asarray(items, float)
    size = items.sum() if trials else x.size
    line, theta = _fit(
        lambda t: expit(t[0] + t[1] * (x - x[0])), ([-2.0, 1.0], [0.0, 0.1], [-6.0, 3.0]), correct, items
    )
    best, elbow = line, x[0]
    for place in np.linspace(x[1], x[-2], 15):
        bent = np.maximum(x - place, 0)
        value, _ = _fit(
            lambda t, bent=bent: expit(t[0] + t[1] * (x - x[0]) + t[2] * bent),
            ([theta[0], theta[1], 0.0], [theta[0] + 1, 0.0, 3.0]),
            correct,
            items,
        )
        if value > best:
            best, elbow = value, place
    return float(2 * (best - line) - 2 * np.log(size)), float(elbow)


def sigmoid_midpoint(
    correct: np.ndarray, items: np.ndarray, log_size: np.ndarray, chance: float = 0.0
) -> tuple[float, float, float]:
    """Midpoint (log size), slope (logits a unit of log size) and ceiling of the plain sigmoid
    p = chance + (ceiling - chance) F(slope (x - midpoint)), by binomial likelihood.

    It always finds a midpoint: people call a threshold where the slope is above some value.
    """
    x = np.asarray(log_size, float)

    def curve(theta: np.ndarray) -> np.ndarray:
        ceiling = chance + (1 - chance) * expit(theta[2])
        return chance + (ceiling - chance) * expit(np.exp(theta[1]) * (x - theta[0]))

    middle = [float(v) for v in np.quantile(x, (0.3, 0.6, 0.9))]
    starts = [[m, s, c] for m in middle for s in (0.0, 1.5) for c in (1.0, 4.0)]
    _, theta = _fit(curve, starts, np.asarray(correct, float), np.asarray(items, float))
    return float(theta[0]), float(np.exp(theta[1])), float(chance + (1 - chance) * expit(theta[2]))


def calls(
    correct: np.ndarray, items: np.ndarray, log_size: np.ndarray, chance: float = 0.0
) -> dict[str, bool | None]:
    """What each rival calls a break or a breakthrough on one score a size (means over seeds).

    bnsl is None below seven sizes, where one break has as many parameters as there are scores.
    """
    score = np.asarray(correct, float) / np.asarray(items, float)
    middle, slope, _ = sigmoid_midpoint(correct, items, log_size, chance)
    inside = log_size[0] < middle < log_size[-1]
    broken = bnsl.break_place(score, log_size)
    return {
        "breakthroughness": breakthroughness(score) > BREAKTHROUGH,
        "ten_points": ten_points(score, log_size) > TEN_POINTS,
        "bic_hinge": bic_hinge(correct, items, log_size)[0] > 0,
        "sigmoid": bool(inside and slope > 2.0),  # logits a decade: half the rise within a decade
        "bnsl": broken is not None if log_size.size >= bnsl.FEWEST_SIZES else None,
    }
