"""A threshold over sizes and tokens at once: the curve D*(N), not a number on one axis.

The score is a curve of u = log tokens - b log params on the continuous scale, straight or with one elbow;
lines of equal u are lines of equal score, and the threshold is one of them: D* = D0 (N / N0)^b. With b < 0
larger models need fewer tokens. Whether the score has an elbow along u is decided as on one axis, by
simulation under the straight curve with the seed noise (see `null`); without one the frontier is that of
half the way from chance to 1. Compare Chinchilla's iso-loss lines (2203.15556, figure 2): there too u is a
sum of logs only piecewise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from analysis.thresholds import fits
from analysis.thresholds.params_tokens import Plane
from analysis.thresholds.result import Threshold

_NONE = Threshold()
LEAST_RISE = 3.0  # logits (log nats for nats): less than that between the ends is no ability coming
_SLOPES = np.linspace(-4.0, 1.0, 21)  # of b: from "a decade of size saves four of tokens" to "size harms"
_ELBOWS = 7
_FEW, _FINE = 100, 13  # tables for intervals, each fitted on a grid of so many points a side


@dataclass(frozen=True)
class Point:
    """D* of one size, in tokens; None outside the budgets measured, where nothing is extrapolated."""

    params: float
    tokens: Threshold


@dataclass(frozen=True)
class Frontier:
    """kind: elbow, half, or none with the reason in `text`.

    exponent b and constant D0 (tokens at params0, the middle size) of D* = D0 (N / params0)^b, with 95 %
    intervals; p_value of an elbow; p_residual: of iso-score lines that are as straight as seeds can tell.
    """

    task: str
    metric: str
    kind: str
    text: str
    exponent: Threshold = _NONE
    tokens: Threshold = _NONE
    params0: float | None = None
    p_value: float | None = None
    p_residual: float | None = None
    points: tuple[Point, ...] = ()
    params: np.ndarray = field(default_factory=lambda: np.zeros(0))
    budgets: np.ndarray = field(default_factory=lambda: np.zeros(0))
    score: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def to_dict(self) -> dict:
        """JSON of one series under `frontier`."""
        return {
            "task": self.task,
            "metric": self.metric,
            "kind": self.kind,
            "text": self.text,
            "exponent": _pair(self.exponent),
            "tokens": _pair(self.tokens),
            "params0": self.params0,
            "p_value": self.p_value,
            "p_residual": self.p_residual,
            "points": [{"params": point.params, **_pair(point.tokens)} for point in self.points],
        }


@dataclass(frozen=True)
class _Grid:
    """Alternatives (P,) of b and, for bent curves, of the elbow on log10 tokens at the middle size."""

    slopes: np.ndarray
    elbows: np.ndarray

    def designs(self, plane: Plane) -> np.ndarray:
        """(P, K, 3), the bend last."""
        u = _u(plane, self.slopes[:, None])
        return np.stack([np.ones_like(u), u, np.maximum(u - self.elbows[:, None], 0)], -1)


@dataclass(frozen=True)
class _Fitted:
    """The best curve of B tables: slope b and elbow (B,), theta (B, 3), loglik (B,), and twice the
    log-likelihood that a level for each cell would add (B,)."""

    slope: np.ndarray
    elbow: np.ndarray
    theta: np.ndarray
    loglik: np.ndarray
    residual: np.ndarray

    def eta(self, plane: Plane) -> np.ndarray:
        """(K,) of the first table."""
        u = _u(plane, self.slope[0])
        a, b, c = self.theta[0]
        return a + b * u + c * np.maximum(u - self.elbow[0], 0)


def locate(plane: Plane, alpha: float, draws: int, rng: np.random.Generator) -> Frontier:
    """The frontier of one series. draws: tables simulated under the straight curve."""
    cells = plane.cells
    out = Frontier(cells.task, cells.metric, "none", plane.why, params=plane.params, budgets=plane.tokens)
    out = replace(out, score=cells.pooled)
    if plane.why:
        return out
    coarse = _coarse(plane)
    straight, bent = _both(plane, plane.data[None], coarse)
    tables = plane.simulate(straight.eta(plane), rng, draws)
    null_straight, null_bent = _both(plane, tables, coarse)
    gain = 2 * (bent.loglik - straight.loglik)[0]
    reference = 2 * (null_bent.loglik - null_straight.loglik)
    p = float(((reference >= gain - 1e-6).sum() + 1) / (draws + 1))
    out = replace(out, p_value=p)
    kind, found = ("elbow", bent) if p <= alpha else ("half", straight)
    if kind == "half" and cells.continuous:
        return replace(out, text="no elbow, and a score in nats has no half")
    if found.theta[0, 1:].sum() <= 0:
        return replace(out, text="the score does not rise with tokens")
    if np.ptp(np.clip(found.eta(plane), -6, 6)) < LEAST_RISE:
        return replace(out, text="the score hardly moves over the grid")
    return _placed(plane, out, kind, found, rng)


def _placed(plane: Plane, out: Frontier, kind: str, found: _Fitted, rng: np.random.Generator) -> Frontier:
    fine = _fine(plane, found, kind)
    fit = _bent if kind == "elbow" else _straight
    here = fit(plane, plane.profiles(plane.data[None]), fine)
    again = fit(plane, plane.profiles(plane.simulate(here.eta(plane), rng, _FEW)), fine)
    p_residual = float(((again.residual >= here.residual[0] - 1e-6).sum() + 1) / (_FEW + 1))
    out = replace(out, p_residual=p_residual)
    place, spread = _place(here, kind)[0], _place(again, kind)
    kept = np.isfinite(spread)
    if not np.isfinite(place) or kept.mean() < 0.5:
        return replace(out, text="the score does not reach half of the way from chance")
    sizes = np.unique(plane.params)
    middle = 10.0 ** _middle(plane)
    tokens = []
    for size in (middle, *sizes.tolist()):
        away = np.log10(size / middle)
        one = _between(place + here.slope[0] * away, (spread + again.slope * away)[kept])
        tokens.append(Threshold(10.0**one.value, tuple(10.0**end for end in one.interval)))
    low, high = plane.tokens.min(), plane.tokens.max()
    points = tuple(
        Point(float(size), one if low <= one.value <= high else Threshold())
        for size, one in zip(sizes, tokens[1:], strict=True)
    )
    if all(point.tokens.value is None for point in points):
        return replace(out, text="it lies outside the budgets measured at every size")
    exponent = _between(float(here.slope[0]), again.slope[kept])
    what = "the elbow" if kind == "elbow" else "half of the way from chance"
    text = f"{what} lies at tokens that go as params to the power {exponent.value:.2g}"
    if p_residual <= 0.05:
        text += f"; lines of equal score are not straight (p = {p_residual:.2g})"
    return replace(
        out, kind=kind, text=text, exponent=exponent, tokens=tokens[0], params0=middle, points=points
    )


def _middle(plane: Plane) -> float:
    """log10 of the geometric mean of the sizes."""
    return float(np.log10(np.unique(plane.params)).mean())


def _u(plane: Plane, slope) -> np.ndarray:
    """log10 tokens, moved along lines of equal score to the middle size."""
    return np.log10(plane.tokens) - slope * (np.log10(plane.params) - _middle(plane))


def _coarse(plane: Plane) -> _Grid:
    places = [np.quantile(np.unique(_u(plane, b)), np.linspace(0.15, 0.85, _ELBOWS)) for b in _SLOPES]
    return _Grid(np.repeat(_SLOPES, _ELBOWS), np.concatenate(places))


def _fine(plane: Plane, found: _Fitted, kind: str) -> _Grid:
    """A grid over what the data leave open: where twice the log-likelihood falls by less than 14, which is
    3.7 standard errors, found by zooming in."""
    fit = _bent_all if kind == "elbow" else _straight_all
    profiles = plane.profiles(plane.data[None])
    u = _u(plane, found.slope[0])
    ends = np.array([u.min(), u.max()])
    slope = found.slope[0] + np.array([-1.0, 1.0])
    place = np.clip(found.elbow[0] + 0.25 * np.ptp(u) * np.array([-1, 1]), *ends)
    for _ in range(4):
        grid = _mesh(slope, place, kind)
        value = fit(plane, profiles, grid)[1][0]
        open_ = 2 * (value.max() - value) < 14
        step = np.ptp(slope) / (_FINE - 1), np.ptp(place) / (_FINE - 1)
        slope = _ends(grid.slopes[open_], step[0])
        place = np.clip(_ends(grid.elbows[open_], step[1]), *ends)
    return _mesh(slope, place, kind)


def _ends(values: np.ndarray, margin: float) -> np.ndarray:
    return np.array([values.min() - 0.7 * margin, values.max() + 0.7 * margin])


def _mesh(slope: np.ndarray, place: np.ndarray, kind: str) -> _Grid:
    slopes = np.linspace(*slope, _FINE)
    places = np.linspace(*place, _FINE) if kind == "elbow" else place[:1]
    return _Grid(np.repeat(slopes, places.size), np.tile(places, slopes.size))


def _both(plane: Plane, tables: np.ndarray, grid: _Grid) -> tuple[_Fitted, _Fitted]:
    """Straight and bent curves of tables (B, C); the bent ones contain the straight."""
    profiles = plane.profiles(tables)
    straight, bent = _straight(plane, profiles, grid), _bent(plane, profiles, grid)
    return straight, replace(bent, loglik=np.maximum(bent.loglik, straight.loglik))


def _straight_all(plane: Plane, profiles: np.ndarray, grid: _Grid) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (B, P, 3) and log-likelihood (B, P) of the straight curve of every alternative."""
    fit = fits.fit(plane.scale, profiles, grid.designs(plane)[..., :2])
    return np.concatenate([fit.coefficients, np.zeros((*fit.loglik.shape, 1))], -1), fit.loglik


def _bent_all(plane: Plane, profiles: np.ndarray, grid: _Grid) -> tuple[np.ndarray, np.ndarray]:
    """As `_straight_all`, of the curves that bend upwards and rise."""
    fit = fits.fit(plane.scale, profiles, grid.designs(plane))
    rising = (fit.coefficients[..., 2] > 0) & (fit.coefficients[..., 1:].sum(-1) > 0)
    return fit.coefficients, np.where(rising, fit.loglik, -np.inf)


def _straight(plane: Plane, profiles: np.ndarray, grid: _Grid) -> _Fitted:
    slopes, first = np.unique(grid.slopes, return_index=True)
    few = _Grid(slopes, grid.elbows[first])
    return _best(profiles, few, *_straight_all(plane, profiles, few))


def _bent(plane: Plane, profiles: np.ndarray, grid: _Grid) -> _Fitted:
    return _best(profiles, grid, *_bent_all(plane, profiles, grid))


def _best(profiles: np.ndarray, grid: _Grid, theta: np.ndarray, value: np.ndarray) -> _Fitted:
    which, best, reached = fits.Fit(theta, value).best()
    return _Fitted(grid.slopes[which], grid.elbows[which], best, reached, _left(profiles, reached))


def _left(profiles: np.ndarray, value: np.ndarray) -> np.ndarray:
    return 2 * (profiles.max(-1).sum(-1) - value)


def _place(found: _Fitted, kind: str) -> np.ndarray:
    """log10 tokens at the middle size (B,); NaN where the curve does not get there."""
    if kind == "elbow":
        return np.where(np.isfinite(found.loglik), found.elbow, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        # On the logit scale half of the way from chance to 1 is where eta is 0.
        return np.where(found.theta[:, 1] > 0, -found.theta[:, 0] / found.theta[:, 1], np.nan)


def _between(value: float, draws: np.ndarray) -> Threshold:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Threshold(float(value), (float(low), float(high)))


def _pair(place: Threshold) -> dict:
    return {"value": place.value, "interval": None if place.interval is None else list(place.interval)}
