"""The bottom of a curve of loss over log params: parabola, cubic, Akima spline, or the valley of a law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

METHODS = ("parabola", "cubic", "akima", "law")
# Points of the Akima spline a gap, as in Porian et al. (arXiv 2406.19146).
FINE = 25
# Rows this many robust standard deviations off the curve through most of their level have no weight at all:
# Tukey's weights, since an outlier that keeps some pulls a minimum of nine points by several errors.
CORNER = 6.0
# A row of less weight than this (5 robust standard deviations) is no point of a spline, no size of a level.
LIGHT = 0.1
ROUNDS = 10


@dataclass(frozen=True, eq=False)
class CurveFit:
    """A method on fixed x (n,) and weights (n,); losses (n,) or draws of them (B, n) come later.

    powers: (alpha, beta) for the method `law`: at equal compute a law of two terms is a constant plus
    exp(-alpha x) and exp(beta x), whose three factors are as linear as a parabola's, and have no bias.
    """

    method: str
    x: np.ndarray
    weight: np.ndarray
    powers: tuple[float, float] | None = None

    @property
    def _degree(self) -> int:
        return {"parabola": 2, "cubic": 3, "law": 2}[self.method]

    def basis(self, x: np.ndarray) -> np.ndarray:
        """(n, degree + 1)"""
        return basis(x, self._degree, self.powers)

    @cached_property
    def _solve(self) -> np.ndarray:
        """(degree + 1, n): losses to coefficients, those of polynomials with the lowest order first."""
        root = np.sqrt(self.weight)[:, None]
        return np.linalg.pinv(root * self.basis(self.x)) * root.T

    def coefficients(self, loss: np.ndarray) -> np.ndarray:
        """(..., degree + 1) of losses (..., n)."""
        return loss @ self._solve.T

    def value(self, loss: np.ndarray, at: float) -> float:
        """The fitted loss at `at`."""
        if self.method == "akima":
            kept = self.weight >= LIGHT
            merged = _merged(self.x[kept], np.log(loss[kept]), self.weight[kept])
            return float(np.exp(_akima(*merged)(at)))
        return float((self.basis(np.array([at])) @ self.coefficients(loss))[0])

    def fitted(self, loss: np.ndarray) -> np.ndarray:
        """Fitted losses (n,); the Akima spline passes through its points, so a cubic stands for its noise."""
        smooth = _polynomial(self)
        return smooth.coefficients(loss) @ smooth.basis(self.x).T

    def residual(self, loss: np.ndarray, clusters: np.ndarray) -> np.ndarray:
        """Residuals (n,), each freed from the pull of its cluster (n,) on the fit (CR3)."""
        smooth = _polynomial(self)
        same = clusters[:, None] == clusters
        leverage = ((smooth.basis(self.x) @ smooth._solve) * same).sum(axis=1)
        return (loss - self.fitted(loss)) / np.maximum(1 - leverage, 0.2)

    def minimum(self, loss: np.ndarray) -> tuple[float, str | None]:
        """(x of the lowest loss, None), or (nan, the reason why there is none)."""
        at = float(self.minima(loss[None])[0])
        if np.isfinite(at):
            return at, None
        if self.method in ("parabola", "law") and self.coefficients(loss)[2] <= 0:
            return at, "the curve has no valley"
        edge = "smallest" if self._edge(loss) < 0 else "largest"
        return at, f"the minimum lies at or beyond the {edge} size"

    def _edge(self, loss: np.ndarray) -> float:
        if self.method == "akima":
            return float(self.x[np.argmin(loss)] - self.x.mean())
        grid = np.linspace(self.x.min(), self.x.max(), 101)
        curve = self.basis(grid) @ self.coefficients(loss)
        return float(grid[np.argmin(curve)] - self.x.mean())

    def minima(self, loss: np.ndarray) -> np.ndarray:
        """x of the lowest loss (B,) of losses (B, n); NaN where it is no inner minimum."""
        low, high = self.x.min(), self.x.max()
        if self.method == "akima":
            return np.array(
                [_akima_minimum(self.x, np.log(np.maximum(one, 1e-300)), self.weight) for one in loss]
            )
        c = self.coefficients(loss)
        with np.errstate(all="ignore"):
            if self.powers is not None:
                alpha, beta = self.powers
                at = np.log(alpha * c[:, 1] / (beta * c[:, 2])) / (alpha + beta)
                at = np.where((c[:, 1] > 0) & (c[:, 2] > 0), at, np.nan)
            elif self._degree == 2:
                at = np.where(c[:, 2] > 0, -c[:, 1] / (2 * c[:, 2]), np.nan)
            else:
                # The root of the derivative where the second derivative is positive.
                at = (-c[:, 2] + np.sqrt(c[:, 2] ** 2 - 3 * c[:, 1] * c[:, 3])) / (3 * c[:, 3])
                at = np.where(np.abs(c[:, 3]) < 1e-12 * np.abs(c[:, 2]), -c[:, 1] / (2 * c[:, 2]), at)
                at = np.where(2 * c[:, 2] + 6 * c[:, 3] * at > 0, at, np.nan)
        return np.where((at > low) & (at < high), at, np.nan)


def basis(x: np.ndarray, degree: int, powers: tuple[float, float] | None) -> np.ndarray:
    """(n, degree + 1): powers of x, or the valley of a law with the exponents `powers`."""
    if powers is None:
        return x[:, None] ** np.arange(degree + 1)
    return np.stack([np.ones_like(x), np.exp(-powers[0] * x), np.exp(powers[1] * x)], axis=1)


def _polynomial(valley: CurveFit) -> CurveFit:
    return valley if valley.method != "akima" else CurveFit("cubic", valley.x, valley.weight)


def robust_weights(
    levels: Sequence[tuple[np.ndarray, np.ndarray]], powers: tuple[float, float] | None
) -> list[np.ndarray]:
    """Tukey's weights (n,) of each level (x (n,), losses (n,)).

    Residuals are those of a least absolute fit by a curve that a few rows cannot bend: the valley of a law
    with `powers`, else a cubic, a parabola with fewer than 7 sizes. One scale of noise, relative to the loss,
    serves all levels, because nine residuals about four factors tell little of it; a noisier one has its own.
    """
    curves = [_least_absolute(x, loss, powers) for x, loss in levels]
    sizes = [
        np.sort(np.abs(residual) / np.median(loss))[degree + 1 :]
        for (_, residual, degree), (_, loss) in zip(curves, levels, strict=True)
    ]
    pooled = 1.4826 * float(np.median(np.concatenate(sizes))) if any(map(len, sizes)) else 0.0
    weights = []
    for (valley, residual, degree), size, (x, loss) in zip(curves, sizes, levels, strict=True):
        own = 1.4826 * float(np.median(size)) if len(size) > 3 else 0.0
        scale = max(pooled, own) * float(np.median(loss))
        weight = np.ones(len(x))
        for _ in range(ROUNDS if scale > 1e-9 * np.median(loss) and len(x) > degree + 2 else 0):
            weight = np.maximum(1 - (residual / (CORNER * scale)) ** 2, 0) ** 2
            if (weight > 0).sum() <= degree + 1:
                weight = np.ones(len(x))
                break
            residual = loss - replace(valley, weight=weight).fitted(loss)
        weights.append(weight)
    return weights


def _least_absolute(x: np.ndarray, loss: np.ndarray, powers) -> tuple[CurveFit, np.ndarray, int]:
    """(curve, its residuals (n,) of a least absolute fit by reweighting, its degree)."""
    many = len(np.unique(np.round(x, 3))) >= 7
    valley = CurveFit("law" if powers else "cubic" if many else "parabola", x, np.ones(len(x)), powers)
    residual = loss - valley.fitted(loss)
    for _ in range(3 * ROUNDS):
        floor = max(1e-4 * float(np.median(np.abs(residual))), 1e-12 * float(np.median(loss)))
        valley = replace(valley, weight=1 / np.maximum(np.abs(residual), floor))
        residual = loss - valley.fitted(loss)
    return valley, residual, valley._degree


def _merged(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rising x with the weighted mean of y at each."""
    values, index = np.unique(x, return_inverse=True)
    total = np.bincount(index, weight)
    return values, np.bincount(index, weight * y) / total


def _akima(x: np.ndarray, y: np.ndarray):
    from scipy.interpolate import Akima1DInterpolator

    return Akima1DInterpolator(x, y)


def _akima_minimum(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    kept = weight >= LIGHT
    values, means = _merged(x[kept], y[kept], weight[kept])
    grid = np.concatenate([np.linspace(a, b, FINE, endpoint=False) for a, b in pairwise(values)])
    curve = _akima(values, means)(grid)
    at = int(np.argmin(curve))
    if at == 0 or means[-1] <= curve[at] or at == len(grid) - 1:
        return float("nan")
    return float(grid[at])
