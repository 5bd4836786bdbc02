"""How large the noise of a few rows is, and Huber's corner from it.

A corner far below the noise makes an objective l1 in all but name, and an l1 fit of five parameters passes
through five rows. Of 240 rows that costs some precision; of nine it leaves four residuals, whose median is no
noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from analysis.laws.law import Law
from analysis.solve.estimator import minimise
from analysis.solve.objectives import Rho
from analysis.solve.search import search

# Fewer rows a parameter than this are few: below it the corner is that of the noise, intervals are Student's.
A_PARAMETER = 10
# Huber's corner in standard deviations: 95 % efficient under normal noise (Huber 1981, Robust Statistics,
# 4.5).
CORNER = 1.345
PASSES = 30


def are_few(rows: int, parameters: int) -> bool:
    return rows < A_PARAMETER * parameters


@dataclass(frozen=True, eq=False)
class Noise:
    """The scatter of rows about a law. size: standard deviation of one row, in units of `Rho.residual`.
    residual (n,): what least squares would leave; leverage (n,) of each row in it."""

    size: float
    residual: np.ndarray
    leverage: np.ndarray

    def outlying(self, chance: float) -> np.ndarray:
        """(n,) whether a row lies further off than normal noise puts any in a share `chance` of tables: its
        residual over the scatter of the others, Student's t for one row less (Cook and Weisberg 1982,
        2.2.1)."""
        from scipy.special import stdtrit

        free = len(self.residual) - float(self.leverage.sum())
        left = 1 - self.leverage
        seen = left > 1e-6
        own = np.where(seen, self.residual**2 / np.where(seen, left, 1.0), 0.0)
        total = float((self.residual**2).sum())
        # Nine rows that fit exactly but for rounding have no scatter to compare with.
        if free < 2 or not total > 0:
            return np.zeros(len(own), bool)
        others = np.maximum(total - own, 1e-12 * total) / (free - 1)
        far = stdtrit(free - 1, 1 - chance / (2 * len(own)))
        return own > far**2 * others


def noise_of(law: Law, x: np.ndarray, target: np.ndarray, rho: Rho, theta: np.ndarray) -> Noise:
    """The noise of rows about the law at theta (P,), whatever a few outliers say."""
    residual, jacobian = tangent(law, x, target, rho, theta)
    basis = spanned(jacobian)
    leverage = np.minimum((basis**2).sum(axis=1), 1.0)
    # One step of least squares, also from a fit that passes through rows.
    left = residual - basis @ (basis.T @ residual)
    inside = rho.name == "squared" or np.mean(np.abs(residual) <= rho.delta) > 0.5
    return Noise(size_of(residual if inside and rho.name != "l1" else left, leverage), left, leverage)


def few_factor(residual: np.ndarray, leverage: np.ndarray, rho: Rho) -> float:
    """By how much an M-fit's standard errors from its residuals (n,) are too small: its parameters follow the
    rows within the corner, which are fewer than all (Huber 1981, 7.6, whose K this is).

    Each residual is compared with the corner as its leverage leaves it: that also makes up for a corner which
    is found from the same rows (`python -m benchmarks.few_rows`). A fit whose corner holds fewer than half of
    the rows is none that this first order describes.
    """
    if rho.name != "huber" or not len(residual):
        return 1.0
    left = np.sqrt(np.maximum(1.0 - leverage, 1e-12))
    inside = float(np.mean(np.abs(residual) <= rho.delta * left))
    return 1.0 + float(leverage.sum()) / len(residual) * (1.0 - inside) / inside if inside > 0.5 else 1.0


def tangent(law: Law, x, target, rho: Rho, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(residuals (n,), their slope (n, P) in the parameters, sign turned), both as `rho` weighs rows."""
    around = law.evaluate(theta[None], x)
    jacobian = around.jacobian[0].T
    unit = np.exp(around.value[0]) if rho.raw else np.ones(len(target))
    unit = unit if rho.scale is None else unit * rho.scale
    return rho.residual(target, around.value[0]), jacobian * unit[:, None]


def spanned(jacobian: np.ndarray) -> np.ndarray:
    """(n, k) an orthonormal basis of what the parameters can do to the rows."""
    scale = np.sqrt((jacobian**2).sum(axis=0))
    seen = jacobian[:, scale > 1e-12] / scale[scale > 1e-12]
    basis, sizes, _ = np.linalg.svd(seen, full_matrices=False)
    return basis[:, sizes > 1e-10]


def size_of(residual: np.ndarray, leverage: np.ndarray) -> float:
    """The standard deviation of the noise behind residuals (n,) of an M-fit.

    Huber's proposal 2 (1964, Ann. Math. Statist. 35), each residual compared with what its leverage leaves of
    normal noise: of nine rows and five parameters two thirds are gone, and few reach the corner (Koller and
    Stahel 2011, Comput. Stat. Data Anal. 55). Unclipped it is the root of the sum of squares over the degrees
    of freedom.
    """
    size = float(np.sqrt(np.mean(residual**2)))
    if not size > 1e-14:
        return size
    expected = sum(_expected(math.sqrt(max(1.0 - one, 1e-12))) for one in leverage.tolist())
    if not expected > 1e-6:
        return size
    for _ in range(200):
        seen = float((np.minimum(np.abs(residual) / size, CORNER) ** 2).sum())
        factor = math.sqrt(seen / expected)
        size *= factor
        if abs(factor - 1) < 1e-9:
            break
    return size


def _expected(spread: float) -> float:
    """The mean of min(r^2, CORNER^2) for normal r of this standard deviation."""
    corner = CORNER / spread
    beyond = math.erfc(corner / math.sqrt(2))
    density = math.exp(-0.5 * corner**2) / math.sqrt(2 * math.pi)
    return spread**2 * (1 - beyond - 2 * corner * density + corner**2 * beyond)


def with_corner(law: Law, x: np.ndarray, target: np.ndarray, rho: Rho) -> Rho:
    """The objective with its corner settled: that of the noise where it may be and rows are few, three digits
    of it, so that `--delta` can ask for the same fit again. Never below the corner it came with."""
    if not (rho.scaled and rho.name == "huber" and are_few(len(target), len(law.names))):
        return replace(rho, scaled=False)
    found = search(law, x, target, replace(rho, name="squared", scaled=False))
    theta = found.theta[int(np.argmin(np.where(np.isfinite(found.value), found.value, np.inf)))]
    corner = rho.delta
    settled = replace(rho, scaled=False)
    for _ in range(PASSES):
        residual, jacobian = tangent(law, x, target, rho, theta)
        basis = spanned(jacobian)
        size = size_of(residual, np.minimum((basis**2).sum(axis=1), 1.0))
        wanted = max(float(f"{CORNER * size:.2e}"), rho.delta) if np.isfinite(size) else rho.delta
        if abs(wanted - corner) < 0.005 * corner:
            break
        corner, settled = wanted, replace(rho, delta=wanted, scaled=False)
        theta = minimise(law, x, target, settled, theta[None], direct=True).theta[0]
    return settled
