"""Is there a break? The sup likelihood ratio of a kink or a step against smooth curves, by simulation.

The elbow does not exist under the smooth curve, so chi-square and BIC thresholds for it are wrong (Davies
1987). Here the statistic is simulated under the fitted smooth curve with the seed noise, and the noise is
estimated afresh in every simulated table, as it was in the real one. Smooth means straight on the
continuous scale, in logits or as a power law pushed through exact match, or slowing down on it (a parabola
that has not turned): what only becomes slower has no threshold; or straight in the score itself. Whichever
fits best is the null. A break is looked for only where scores say something (`placed`).

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
SATURATED = 0.95  # of the way from chance to 1: what bends beyond it is no ability that appears
# Share of the axis at either end where a score that rises evenly may lie at its floor or ceiling. Half of the
# loss goes within the first thousandth of training, so models that have hardly begun fill that axis.
_EVEN_ENDS = {True: 0.2, False: 0.5}


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
    """Fits of B tables, `data` (B, C): statistic (B,); the seed sd (`spread`); eta (B, K) of the best smooth
    curve as `curve`, on the scale of index `scale` (B,) in `scales`; `elbow` (B,) of the best break, NaN
    where none rises."""

    statistic: np.ndarray
    spread: Spread
    scales: tuple[Scale, ...]
    scale: np.ndarray
    curve: np.ndarray
    elbow: np.ndarray
    data: np.ndarray

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
    loglog = [likelihood.count_scale("loglog", design.chance, s.ceiling) for s in logit]
    return (*logit, *loglog, likelihood.count_scale("even", design.chance))


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


def placed(design: Design, data: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Which breaks at `places` (P,) lie where the scores of tables (B, C) can tell one (B, P).

    Not where the size before it is saturated already, nor where the size after it is still at its floor:
    there a curve may bend as it likes. In exact match the floor is chance, in nats there is none.
    """
    before = np.clip(np.searchsorted(design.x, places, side="right") - 1, 0, design.x.size - 1)
    after = np.clip(np.searchsorted(design.x, places), 0, design.x.size - 1)
    sums = np.zeros((design.size.size, design.x.size))
    sums[np.arange(design.size.size), design.size] = 1
    if design.items is None:
        if not design.links:
            return np.ones((len(data), len(places)), bool)
        mean = data @ sums / sums.sum(0)
        return (np.exp(-np.exp(-mean)) < SATURATED)[:, before]
    total = design.items @ sums
    share = (data @ sums / total - design.chance) / (1 - design.chance)
    error = np.sqrt(np.maximum(design.chance, 1 / total) / total)
    return (share < SATURATED)[:, before] & (share > 2 * error)[:, after]


def evenly(design: Design, tables: fits.Tables) -> tuple[np.ndarray, np.ndarray]:
    """Straight scores: coefficients (B, 2) and log-likelihood (B,). A line may lie at its floor or ceiling
    for a share `_EVEN_ENDS` of the axis at its ends; with a longer floor it is a break, and -inf where it has
    to be."""
    x = design.x
    reach = np.ptp(x) * _EVEN_ENDS[bool(x[0] > 0)]
    start, end = x[0] + reach, x[-1] - reach
    _, line, value = fits.fit_tables(tables, fits.line_design(x)).best()
    if end <= start:
        return line, value
    ends = line[:, :1] + line[:, 1:] * np.array([start, end])
    inside = (ends.min(1) >= 0) & (ends.max(1) <= 1)
    late = fits.fit_tables(tables, (x - start)[None, :, None])
    slope, bound = late.coefficients[:, 0, 0], late.loglik[:, 0]
    bound = np.where((slope >= 0) & (slope * (end - start) <= 1), bound, -np.inf)
    use = ~inside & np.isfinite(bound)
    coefficients = np.where(use[:, None], np.stack([-slope * start, slope], -1), line)
    return coefficients, np.where(inside, value, bound)


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
    allowed = placed(design, data, places)
    smooth, curves, bent, elbows = [], [], [], []
    for scale in scales:
        tables = fits.tabulate(scale, profiles_of(design, scale, data, spread.sd))
        if scale.link == "even":
            line, reached = evenly(design, tables)
            smooth.append(reached)
            curves.append(line @ straight[0].T)
            continue
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
        rising = np.where((broken.coefficients[..., 2] > 0) & allowed, broken.loglik, -np.inf)
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
        data=data,
    )


def draw_sd(design: Design, evidence: Evidence, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seed sd for tables to be simulated like those of `rows`: (R, 1), as the seeds leave it open, or (R, K)
    where they say that it changes with size. The statistic knows one sd alone; what that does to it, tables
    whose seeds differ as the real ones do will show."""
    drawn = evidence.spread.draw(rows, rng)[:, None]
    if design.given_sd is not None:
        return drawn
    unique, back = np.unique(rows, return_inverse=True)
    data = evidence.data[unique]
    if design.items is None:
        total, noise, count = likelihood.real_within(data, design.variance, design.size)
    else:
        scale = likelihood.count_scale("logit", design.chance, min(design.ceilings))
        total, noise, count = likelihood.count_within(scale, data, design.items, design.size)
    sd = likelihood.uneven_sd(total, noise, count - 1, design.x)[back]
    own = np.maximum(evidence.spread.sd[rows], 1e-3)[:, None]
    return np.where(np.isnan(sd), drawn, sd * np.minimum(drawn / own, 3.0))


def simulate(
    design: Design,
    scale: Scale,
    eta: np.ndarray,
    sigma: float | np.ndarray,
    rng: np.random.Generator,
    draws: int,
) -> np.ndarray:
    """Tables (draws, C) from eta (K,) or (draws, K) with normal seeds of sd `sigma` in logits: a number, one
    a table (draws,), or one a table and size (draws, K)."""
    wide = (draws, design.x.size)
    eta = np.broadcast_to(eta, wide)[:, design.size]
    sigma = np.reshape(sigma, (-1, 1)) if np.ndim(sigma) < 2 else sigma
    deviate = np.broadcast_to(sigma, wide)[:, design.size] * rng.standard_normal(eta.shape)
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
        sigma = draw_sd(design, evidence, np.zeros(batch, int), rng)
        tables = simulate(design, scale, eta, sigma, rng, batch)
        exceeding += int((weigh(design, tables).statistic >= observed).sum())
        done += batch
    return (exceeding + 1) / (done + 1), done
