"""False positives and power on the design of a series, by simulation."""

from __future__ import annotations

import numpy as np

from analysis.thresholds import null
from analysis.thresholds.likelihood import Scale
from analysis.thresholds.null import Design
from analysis.thresholds.result import Calibration

_SLOPES = (0.2, 3.2)  # logits a decade before and after a strong break
_SOFT_SLOPES = (0.1, 1.0)  # log nats a decade
_FEWEST_BEYOND = 5  # simulated tables beyond a critical value that is counted, not extrapolated


def measure(
    design: Design, evidence: null.Evidence, alpha: float, rng: np.random.Generator, draws: int = 400
) -> Calibration:
    """False-positive rate under the fitted smooth curve, and power for a strong break, on the sizes, seeds,
    items, chance and seed noise of one series.

    Each simulated table is tested as the real one was: its own smooth curve and seed sd are fitted and a
    table is drawn from them. One such draw each is enough, because those of all tables together give the
    reference distribution (the warp-speed bootstrap, Giacomini, Politis and White 2013).
    """
    scale, eta = null.smooth_eta(evidence, 0)
    false = rejected(design, scale, eta, evidence.seed_sd[0], alpha, rng, draws)
    strong, factor = power_and_factor(design, evidence.scales[0], evidence.seed_sd[0], alpha, rng, draws)
    return Calibration(false, strong, draws, factor, alpha)


def power_and_factor(
    design: Design, scale: Scale, sd: float, alpha: float, rng: np.random.Generator, draws: int
) -> tuple[float, float | None]:
    """Share of tables with a strong break that would be called, and the factor (root mean square in logs)
    between the fitted elbow and the true one; None on the loss axis, or where no table rises."""
    called, found = _test(design, scale, strong_break(design), sd, alpha, rng, draws)
    off = np.abs(found.elbow - 0.5 * (design.x[0] + design.x[-1]))
    off = off[np.isfinite(off)]
    none = design.x[0] <= 0 or not off.size
    return float(called.mean()), None if none else float(10 ** np.sqrt((off**2).mean()))


def strong_break(design: Design) -> np.ndarray:
    """eta (K,) of a strong break in the middle of the sizes: 0.2 then 3.2 logits a decade, from a score of
    0.06 (above chance) at the elbow; on the loss axis a third of the range counts as a decade."""
    decade = 1.0 if design.x[0] > 0 else np.ptp(design.x) / 3
    x = (design.x - 0.5 * (design.x[0] + design.x[-1])) / decade
    before, after = _SLOPES if design.items is not None else _SOFT_SLOPES
    start = -2.7 if design.items is not None else 0.0
    return start + before * x + (after - before) * np.maximum(x, 0.0)


def power(
    design: Design, evidence: null.Evidence, alpha: float, rng: np.random.Generator, draws: int
) -> float:
    """Share of tables with a strong break, and the seed noise of `findings`, that would be called."""
    strong = strong_break(design)
    return rejected(design, evidence.scales[0], strong, evidence.seed_sd[0], alpha, rng, draws)


def rejected(
    design: Design,
    scale: Scale,
    eta: np.ndarray,
    sd: float,
    alpha: float,
    rng: np.random.Generator,
    draws: int,
) -> float:
    """Share of tables simulated from eta (K,) whose break is significant at alpha."""
    return float(_test(design, scale, eta, sd, alpha, rng, draws)[0].mean())


def _test(
    design: Design,
    scale: Scale,
    eta: np.ndarray,
    sd: float,
    alpha: float,
    rng: np.random.Generator,
    draws: int,
) -> tuple[np.ndarray, null.Evidence]:
    """Which of `draws` tables from eta (K,) have a significant break (draws,), and their fits."""
    tables = null.simulate(design, scale, eta, sd, rng, draws)
    outer = null.weigh(design, tables)
    again = np.empty_like(tables, dtype=float)
    for number, each in enumerate(outer.scales):
        rows = np.flatnonzero(outer.scale == number)
        if rows.size:
            drawn = null.draw_sd(design, outer, rows, rng)
            again[rows] = null.simulate(design, each, outer.curve[rows], drawn, rng, rows.size)
    reference = null.weigh(design, again).statistic
    if alpha * (draws + 1) < _FEWEST_BEYOND:
        return outer.statistic > _far_quantile(reference, alpha), outer
    exceeding = (reference[None] >= outer.statistic[:, None] - 1e-6).sum(1)
    return (exceeding + 1) / (draws + 1) <= alpha, outer


def _far_quantile(reference: np.ndarray, level: float) -> float:
    """The value exceeded with probability `level`, too small to be counted: likelihood ratios have a tail
    that falls exponentially, as fast as the mean excess of the largest twentieth says."""
    ordered = np.sort(reference)
    beyond = max(10, ordered.size // 20)
    start = ordered[-beyond]
    excess = float((ordered[-beyond:] - start).mean())
    return float(start + excess * np.log(beyond / ordered.size / level))
