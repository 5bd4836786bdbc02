"""`python -m benchmarks.few_rows [TABLES]`: how often intervals of an M-fit of few rows hold the truth, with
and without the factor for few rows (`analysis.solve.scale.few_factor`).

Chinchilla's law linearised at its published values, on grids of 3 x 3 to 5 x 5, normal noise, clean or with
one row five standard deviations too high. The corner is Huber's proposal 2 over the rows themselves, ends are
where the objective has risen as in `analysis.fits.profile`. A law that is straight costs so little that
thousands of tables can be drawn; `benchmarks.interval_coverage` draws whole fits.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
from scipy.special import stdtrit

from analysis.solve.objectives import Rho
from analysis.solve.scale import CORNER, _expected, few_factor

GRIDS = ((3, 3), (3, 4), (4, 4), (5, 5))
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.366}
PASSES = 30


def slopes(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """(n, 5) of the log loss in E, A, B, alpha, beta."""
    size, data = params ** -TRUTH["alpha"], tokens ** -TRUTH["beta"]
    loss = TRUTH["E"] + TRUTH["A"] * size + TRUTH["B"] * data
    far = [-TRUTH["A"] * np.log(params) * size, -TRUTH["B"] * np.log(tokens) * data]
    return np.stack([np.ones_like(params), size, data, *far], -1) / loss[:, None]


def design(sizes: int, budgets: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """(an orthonormal basis (n, 5) of what the law can do to a grid, the direction of each quantity)."""
    grid = np.meshgrid(np.geomspace(1e7, 1e9, sizes), np.geomspace(2e8, 2e10, budgets), indexing="ij")
    basis, upper = np.linalg.qr(slopes(*(axis.ravel() for axis in grid)))
    far = slopes(np.array([3e9]), np.array([6e10]))[0]
    asked = {"E": np.eye(5)[0], "alpha": np.eye(5)[3], "beta": np.eye(5)[4], "loss": far}
    along = {name: np.linalg.solve(upper.T, each) for name, each in asked.items()}
    return basis, {name: each / np.linalg.norm(each) for name, each in along.items()}


def left_by(basis: np.ndarray, y: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Residuals (B, n) of Huber fits of tables y (B, n), corners (B,), by reweighting."""
    found = y @ basis
    for _ in range(60):
        residual = y - found @ basis.T
        weight = np.minimum(1, corner[:, None] / np.maximum(np.abs(residual), 1e-300))
        inner = np.einsum("bn,np,nq->bpq", weight, basis, basis)
        step = np.linalg.solve(inner, ((weight * residual) @ basis)[..., None])[..., 0]
        found = found + step
        if np.abs(step).max() < 1e-9:
            break
    return y - found @ basis.T


def objective(residual: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Huber's (B,)."""
    size, corner = np.abs(residual), corner[:, None]
    return np.where(size <= corner, 0.5 * size**2, corner * size - 0.5 * corner**2).sum(1)


def sizes_of(residual: np.ndarray, leverage: np.ndarray) -> np.ndarray:
    """`analysis.solve.scale.size_of` of many tables (B, n)."""
    expected = sum(_expected(float(np.sqrt(1 - one))) for one in leverage)
    size = np.sqrt((residual**2).mean(1))
    for _ in range(200):
        factor = np.sqrt((np.minimum(np.abs(residual) / size[:, None], CORNER) ** 2).sum(1) / expected)
        size = size * factor
        if np.abs(factor - 1).max() < 1e-9:
            break
    return size


def held(sizes: int, budgets: int, outlier: bool, tables: int, seed: int = 0) -> dict[str, tuple]:
    """Name -> shares of 95 % intervals that hold the truth: (without, with) the factor for few rows."""
    basis, along = design(sizes, budgets)
    rows, width = basis.shape
    leverage = (basis**2).sum(1)
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((tables, rows))
    if outlier:
        y[np.arange(tables), rng.integers(rows, size=tables)] += 5
    residual, corner = y - (y @ basis) @ basis.T, np.full(tables, 1e-9)
    for _ in range(PASSES):
        wanted = CORNER * sizes_of(residual, leverage)
        if np.abs(wanted / corner - 1).max() < 0.005:
            break
        corner, residual = wanted, left_by(basis, y, wanted)
    pull = np.clip(residual, -corner[:, None], corner[:, None])
    inside = (np.abs(residual) <= corner[:, None]).mean(1)
    unit = (pull**2).sum(1) / (rows - width) / inside
    factor = np.array(
        [
            few_factor(one, leverage, Rho("huber", float(at), False))
            for one, at in zip(residual, corner, strict=True)
        ]
    )
    quantile = stdtrit(rows - width, 0.975)
    out = {}
    for name, way in along.items():
        others = np.linalg.qr(np.column_stack([way, np.eye(width)]))[0][:, 1:width]
        rise = objective(left_by(basis @ others, y, corner), corner) - objective(residual, corner)
        root = np.sqrt(2 * np.maximum(rise, 0) / unit)
        out[name] = (float(np.mean(root <= quantile)), float(np.mean(root <= quantile * factor)))
    return out


def main(tables: int = 2000) -> None:
    print("share of 95 % intervals that hold the truth, without and with the factor for few rows")
    for grid in GRIDS:
        for outlier in (False, True):
            found = held(*grid, outlier, tables)
            said = "".join(f"  {name} {was:.3f} {now:.3f}" for name, (was, now) in found.items())
            print(f"{grid[0]} x {grid[1]}{' +outlier' * outlier:10}{said}", flush=True)


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:2]))
