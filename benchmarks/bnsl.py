"""The broken power law of Caballero et al. (2210.14891), with no break or one, fitted to mean scores.

y = a + b x^-c0 (1 + (x / d)^(1/f))^(-c1 f): in log-log the slope of y - a turns from -c0 to -(c0 + c1) at d,
over a width of f. As their code does, the error is squared on log(y + 1), and the search begins on a grid;
here a and b are solved for exactly at each point of it, so that a rival does not lose by its optimiser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEWEST_SIZES = 7  # one more than the parameters of one break
_STEEPEST = 12.0
_SLOPES = (-3.0, -1.0, -0.3, -0.05, 0.1, 0.5)
_BENDS = (-6.0, -2.5, -0.8, -0.2, 0.2, 0.8, 2.5)
_WIDTHS = (0.03, 0.2, 0.7)
_POLISHED = 6  # best points of the grid that are refined
_LEAST_BEND = 0.1
_EDGE = 0.02  # of the range: a search that ends at its bound has found no break
_NOISE = 1e-4  # root mean square of log(y + 1) below which a better fit is no evidence


@dataclass(frozen=True)
class Bnsl:
    """a, b, c0 and of one break c1, log10 d, f (0, NaN, NaN without); rmsle of the K sizes; value of BIC."""

    a: float
    b: float
    c0: float
    c1: float
    log_break: float
    f: float
    rmsle: float
    bic: float

    def score(self, log_size: np.ndarray) -> np.ndarray:
        """y at log10 sizes."""
        shape = -self.c0 * np.asarray(log_size) * np.log(10)
        if np.isfinite(self.f):
            shape = shape + _turn(log_size, self.c1, self.log_break, self.f)
        return self.a + self.b * np.exp(shape)


def fit(score: np.ndarray, log_size: np.ndarray, breaks: int) -> Bnsl:
    """Best fit with 0 or 1 breaks, by squared error on log(y + 1) from many starts."""
    from scipy.optimize import least_squares

    x, y = np.asarray(log_size, float), np.asarray(score, float)
    centre = x.mean()
    z = x - centre
    starts = [(c0,) for c0 in _SLOPES]
    if breaks:
        places = np.linspace(x[0], x[-1], 9)[1:-1] - centre
        starts = [(c0, c1, d, f) for c0 in _SLOPES for c1 in _BENDS for d in places for f in _WIDTHS]
    ranked = sorted((float((_left(t, z, y) ** 2).sum()), t) for t in starts)
    low, high = [-_STEEPEST], [_STEEPEST]
    if breaks:
        low += [-3 * _STEEPEST, z[0], np.log(0.01)]
        high += [3 * _STEEPEST, z[-1], np.log(3.0)]

    def left(theta: np.ndarray) -> np.ndarray:
        return _left((*theta[:3], np.exp(theta[3])) if breaks else tuple(theta), z, y)

    best = None
    for _, start in ranked[:_POLISHED]:
        theta = np.array([*start[:3], np.log(start[3])]) if breaks else np.array(start)
        found = least_squares(left, np.clip(theta, low, high), bounds=(low, high), max_nfev=120)
        if best is None or found.cost < best.cost:
            best = found
    theta = (*best.x[:3], float(np.exp(best.x[3]))) if breaks else tuple(best.x)
    a, b = _linear(theta, z, y)
    error = 2 * best.cost / x.size
    bic = x.size * np.log(max(error, _NOISE**2)) + (6 if breaks else 3) * np.log(x.size)
    c1, place, f = (theta[1], theta[2] + centre, theta[3]) if breaks else (0.0, np.nan, np.nan)
    b *= np.exp(theta[0] * centre * np.log(10))  # from sizes about the centre to sizes
    return Bnsl(
        a, float(b), float(theta[0]), float(c1), float(place), float(f), float(np.sqrt(error)), float(bic)
    )


def break_place(score: np.ndarray, log_size: np.ndarray) -> float | None:
    """log10 size of a break as its authors read one: a fitted d inside the sizes, where the slope changes, of
    the fit that describes the points better than none does. NaN where sizes are too few to fit it."""
    if len(log_size) < FEWEST_SIZES:
        return float("nan")
    plain, broken = fit(score, log_size, 0), fit(score, log_size, 1)
    edge = _EDGE * (log_size[-1] - log_size[0])
    inside = log_size[0] + edge < broken.log_break < log_size[-1] - edge
    if inside and abs(broken.c1) >= _LEAST_BEND and broken.bic < plain.bic:
        return broken.log_break
    return None


def _turn(x: np.ndarray, c1: float, place: float, f: float) -> np.ndarray:
    return -c1 * f * np.logaddexp(0.0, (np.asarray(x) - place) * np.log(10) / f)


def _basis(theta: tuple[float, ...], z: np.ndarray) -> tuple[np.ndarray, float]:
    shape = -theta[0] * z * np.log(10)
    if len(theta) > 1:
        shape = shape + _turn(z, *theta[1:])
    return np.exp(np.clip(shape - shape.max(), -60, 0)), shape.max()


def _linear(theta: tuple[float, ...], z: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """a and b of the least squares on y, weighted as log(y + 1) weighs them."""
    g, top = _basis(theta, z)
    weight = 1 / (1 + y) ** 2
    centre = np.average(g, weights=weight)
    spread = np.average((g - centre) ** 2, weights=weight)
    slope = np.average((g - centre) * y, weights=weight) / spread if spread > 1e-14 else 0.0
    return float(np.average(y, weights=weight) - slope * centre), float(slope * np.exp(-min(top, 600.0)))


def _left(theta: tuple[float, ...], z: np.ndarray, y: np.ndarray) -> np.ndarray:
    g, top = _basis(theta, z)
    a, b = _linear(theta, z, y)
    fitted = a + b * np.exp(min(top, 600.0)) * g
    return np.log1p(np.maximum(fitted, -0.999)) - np.log1p(y)
