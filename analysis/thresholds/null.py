"""Is there a break? The sup likelihood ratio of a kink or a step against smooth curves, by simulation.

The elbow does not exist under the smooth curve, so chi-square and BIC thresholds for it are wrong (Davies
1987). Here the statistic is simulated under the fitted smooth curve with the seed noise, and the noise is
estimated afresh in every simulated table, as it was in the real one. Smooth means straight on the
continuous scale, in logits or as a power law pushed through exact match, or slowing down on it (a parabola
that has not turned): what only becomes slower has no threshold. Whichever fits best is the null.

The seed sd of two seeds a size is often estimated at 0; so it is drawn, for every simulated table, from what
the seeds leave open. Level at a nominal 5 %, 8 sizes of 1,000 items, seed sd 0.1 logits, two seeds: 6.6 %
(8.0 % without the draws), by tests/analysis/thresholds/test_null.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.thresholds import fits, likelihood
from analysis.thresholds.likelihood import Scale, Spread

_SLOWS = 1.92  # gain of log-likelihood (5 %) from which a curve is taken to slow down


@dataclass(frozen=True)
class Design:
    """What does not change between simulated tables: K sizes, C cells, items, chance.

    x (K,) on the fitting scale (log10 of the axis, or minus the loss); size (C,) the index of each cell's
    size; items (C,) effective items of a proportion, None for a continuous metric, whose error variance (C,)
    is `variance`. ceilings: upper limits of the mean score to choose among. given_sd: seed sd, or None to
    estimate it from the seeds. linear: a curve straight in 10^x counts as smooth too: within a run, what is
    learnt at a constant rate bends upwards on a logarithmic axis of tokens. links: on which a loss may be
    straight beside its logarithm (`likelihood`).
    """

    x: np.ndarray
    size: np.ndarray
    items: np.ndarray | None
    variance: np.ndarray | None
    chance: float
    ceilings: tuple[float, ...] = (1.0,)
    given_sd: float | None = None
    linear: bool = False
    links: tuple[str, ...] = ()

    @property
    def elbows(self) -> np.ndarray:
        return fits.elbow_grid(self.x)


@dataclass(frozen=True)
class Evidence:
    """Fits of B tables: statistic (B,); the seed sd (`spread`); eta (B, K) of the best smooth curve as
    `curve`, on the scale of index `scale` (B,) in `scales`; `elbow` (B,) of the best break, NaN where none
    rises."""

    statistic: np.ndarray
    spread: Spread
    scales: tuple[Scale, ...]
    scale: np.ndarray
    curve: np.ndarray
    elbow: np.ndarray

    @property
    def seed_sd(self) -> np.ndarray:
        """(B,)"""
        return self.spread.sd


def scales_of(design: Design, data: np.ndarray) -> tuple[Scale, ...]:
    """The scales a smooth curve may be straight on; those a hinge is tried on come first."""
    if design.items is None:
        reach = max(float(np.ptp(data)), 1.0)
        eta = np.linspace(data.min() - 2 * reach, data.max() + 2 * reach, 161)
        power_law = Scale("identity", eta)
        return power_law, *(likelihood.LOSS_SCALES[link](data) for link in design.links)
    logit = [likelihood.count_scale("logit", design.chance, top) for top in design.ceilings]
    return tuple(logit) + tuple(likelihood.count_scale("loglog", design.chance, s.ceiling) for s in logit)


def seed_sd_of(design: Design, data: np.ndarray) -> np.ndarray:
    """Between-seed sd (B,) of tables (B, C): the given one, or by pure error."""
    return spread_of(design, data).sd


def spread_of(design: Design, data: np.ndarray) -> Spread:
    """As `seed_sd_of`, with how well it is known."""
    if design.given_sd is not None:
        return Spread(np.full(len(data), design.given_sd), np.zeros(len(data)), np.full(len(data), np.inf))
    if design.items is None:
        return likelihood.real_spread(data, design.variance, design.size)
    scale = likelihood.count_scale("logit", design.chance, min(design.ceilings))
    return likelihood.count_spread(scale, data, design.items, design.size)


def profiles_of(design: Design, scale: Scale, data: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Profiles (B, K, G) on one scale."""
    if design.items is None:
        return likelihood.real_profiles(scale, data, design.variance, design.size, sigma)
    return likelihood.count_profiles(scale, data, design.items, design.size, sigma)


def breaks(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All breaks tried: designs (P, K, 3) of kinks and of steps, whose last coefficient is the break, and
    their places (P,)."""
    elbows = fits.elbow_grid(x)
    step, places = fits.step_design(x)
    return np.concatenate([fits.hinge_design(x, elbows), step]), np.concatenate([elbows, places])


def weigh(design: Design, data: np.ndarray) -> Evidence:
    """The sup likelihood ratio of tables (B, C): correct counts, or values of a continuous metric."""
    spread = spread_of(design, data)
    scales = scales_of(design, data)
    designs, places = breaks(design.x)
    rows = np.arange(len(data))
    straight = [fits.line_design(design.x)]
    if design.linear:
        straight.append(fits.line_design(10.0 ** (design.x - design.x[-1])))
    straight = np.concatenate(straight)
    slowing = fits.quadratic_design((design.x - design.x.mean()) / np.ptp(design.x))
    smooth, curves, bent, elbows = [], [], [], []
    for scale in scales:
        tables = fits.tabulate(scale, profiles_of(design, scale, data, spread.sd))
        which, line, reached = fits.fit_tables(tables, straight).best()
        curve = np.einsum("bq,bkq->bk", line, straight[which])
        bowl = fits.fit_tables(tables, slowing)
        bowed = bowl.coefficients[:, 0] @ slowing[0].T
        steps = np.diff(bowed, axis=1)
        slows = (
            (bowl.coefficients[:, 0, 2] < 0) & (steps[:, -1] >= 0) & (bowl.loglik[:, 0] > reached + _SLOWS)
        )
        smooth.append(np.where(slows, bowl.loglik[:, 0], reached))
        curves.append(np.where(slows[:, None], bowed, curve))
        if scale.link in ("loglog", "nats"):
            continue
        broken = fits.fit_tables(tables, designs)
        rising = np.where(broken.coefficients[..., 2] > 0, broken.loglik, -np.inf)
        which = rising.argmax(1)
        reached = rising[rows, which]
        bent.append(np.maximum(reached, smooth[-1]))
        elbows.append(np.where(np.isfinite(reached), places[which], np.nan))
    smooth, bent = np.array(smooth), np.array(bent)
    best, best_bent = smooth.argmax(0), bent.argmax(0)
    return Evidence(
        statistic=2 * (bent.max(0) - smooth.max(0)),
        spread=spread,
        scales=scales,
        scale=best,
        curve=np.array(curves)[best, rows],
        elbow=np.array(elbows)[best_bent, rows],
    )


def simulate(
    design: Design,
    scale: Scale,
    eta: np.ndarray,
    sigma: float | np.ndarray,
    rng: np.random.Generator,
    draws: int,
) -> np.ndarray:
    """Tables (draws, C) from eta (K,) or (draws, K) with normal seeds of sd `sigma` in logits."""
    eta = np.broadcast_to(eta, (draws, design.x.size))[:, design.size]
    deviate = np.broadcast_to(np.reshape(sigma, (-1, 1)), (draws, 1)) * rng.standard_normal(eta.shape)
    score = likelihood.seeded_score(scale, eta, deviate)
    if design.items is None:
        return score + np.sqrt(design.variance) * rng.standard_normal(eta.shape)
    whole = np.maximum(np.rint(design.items), 1).astype(int)
    return rng.binomial(whole, np.clip(score, 0.0, 1.0)) * (design.items / whole)


def smooth_eta(evidence: Evidence, row: int) -> tuple[Scale, np.ndarray]:
    """Scale and eta (K,) of the best smooth curve of one table."""
    return evidence.scales[evidence.scale[row]], evidence.curve[row]


def p_value(
    design: Design, evidence: Evidence, draws: int, rng: np.random.Generator, enough: int = 30
) -> tuple[float, int]:
    """Share of simulated smooth tables with at least the observed statistic, and the tables simulated.

    Every table has a seed sd of its own, drawn from what the seeds leave open. (exceeding + 1) / (draws + 1);
    stops once `enough` exceed (Besag and Clifford 1991), where p is far from any level of interest, so clear
    cases cost little.
    """
    scale, eta = smooth_eta(evidence, 0)
    observed = evidence.statistic[0] - 1e-6
    exceeding = done = 0
    while done < draws and exceeding < enough:
        batch = min(100, draws - done)
        sigma = evidence.spread.draw(np.zeros(batch, int), rng)
        tables = simulate(design, scale, eta, sigma, rng, batch)
        exceeding += int((weigh(design, tables).statistic >= observed).sum())
        done += batch
    return (exceeding + 1) / (done + 1), done
