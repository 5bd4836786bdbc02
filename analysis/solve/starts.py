"""Global starts: a grid over exponents with the coefficients projected out, or low-discrepancy points."""

from __future__ import annotations

import numpy as np

from analysis.laws.law import Law
from analysis.laws.projection import FAINT, HIGHEST, LOWEST_EXPONENT, halton, projected
from analysis.laws.sums import SumLaw
from analysis.solve.objectives import Rho


def starts(law: Law, x: np.ndarray, target: np.ndarray, rho: Rho, keep: int = 32) -> np.ndarray:
    """(S, P) starts, the most promising first. x (inputs, n) centred log inputs, target (n,) log loss."""
    weights = _weights(target, rho)
    if isinstance(law, SumLaw):
        return _thinned(law, x, target, rho, _of_sum(law, x, target, weights, rho.over), keep)
    if law.under is not None:
        return _thinned(
            law, x, target, rho, _lifted(law, x, target, _on_base(law, law.under, x, target, rho)), keep
        )
    own = law.starts(x, target, weights, rho.over)
    if own is not None and len(own) > 5 * keep:
        return _thinned(law, x, target, rho, own, keep)
    boxes = np.array([parameter.start for parameter in law.parameters])
    points = halton(4096, len(boxes))
    drawn = _lifted(law, x, target, boxes[:, 0] + points * (boxes[:, 1] - boxes[:, 0]))
    drawn = _thinned(law, x, target, rho, drawn, keep)
    # A law that proposes a few wants all of them, and is not above chance.
    return drawn if own is None else np.concatenate([np.clip(own, *law.bounds), drawn])


def _thinned(law: Law, x, target, rho: Rho, theta: np.ndarray, keep: int) -> np.ndarray:
    """The best of many starts (S, P), the most promising first."""
    theta = np.clip(theta, *law.bounds)
    with np.errstate(all="ignore"):
        residual = rho.residual(target, law.log_loss(theta, x))
    # Starts are ranked by their robust spread: at a start every row lies far outside a small Huber corner.
    spread = np.abs(residual) * np.where(residual < 0, rho.over, 1.0)
    value = np.where(np.isfinite(spread).all(axis=1), spread.sum(axis=1), np.inf)
    order = np.argsort(value, kind="stable")
    # Neighbours on the grid lead to the same optimum: every fourth of the best is enough.
    return theta[order[: 4 * keep : 4] if len(order) >= 4 * keep else order[:keep]]


def _on_base(law: Law, base: Law, x, target, rho: Rho) -> np.ndarray:
    """Starts of the base law alone, each with the parameters of the terms on it drawn anywhere."""
    mine = x[[law.inputs.index(name) for name in base.inputs]]
    inner = starts(base, mine, target, rho)
    values = base.to_public(inner, dict.fromkeys((*base.inputs, "loss"), 0.0))
    known = [
        np.log(np.maximum(values[p.name], 1e-300)) if p.positive else values[p.name] for p in base.parameters
    ]
    boxes = np.array([parameter.start for parameter in law.parameters[len(known) :]])
    points = boxes[:, 0] + halton(4096 // len(inner), len(boxes)) * (boxes[:, 1] - boxes[:, 0])
    begin = np.stack(known, axis=1)
    return np.column_stack([np.repeat(begin, len(points), axis=0), np.tile(points, (len(begin), 1))])


def _lifted(law: Law, x, target, theta) -> np.ndarray:
    """Random starts with their level corrected: coefficients of dimension loss are scaled to the data."""
    with np.errstate(all="ignore"):
        away = target - law.log_loss(theta, x)
    gap = np.zeros(len(theta))
    some = np.isfinite(away).any(axis=1)
    gap[some] = np.nanmedian(np.where(np.isfinite(away[some]), away[some], np.nan), axis=1)
    return law.lifted(theta, gap)


def _weights(target: np.ndarray, rho: Rho) -> np.ndarray | None:
    """What the square of a row's relative residual counts (n,): by loss if residuals are raw, by noise."""
    if not rho.raw and rho.scale is None:
        return None
    unit = np.exp(target - target.max()) if rho.raw else np.ones_like(target)
    return (unit if rho.scale is None else unit * rho.scale) ** 2


def _of_sum(law: SumLaw, x, target, weights, over) -> np.ndarray:
    """For each point of a grid over exponents the coefficients that suit it best."""
    grid = _exponent_grid(len(law.exponents))
    theta = np.zeros((len(grid), len(law.parameters)))
    theta[:, len(law.terms) :] = grid
    features = law.features(x)
    columns = []
    for touched, feature in zip(law.layout, features, strict=True):
        columns.append(np.exp(theta[:, touched] @ feature - target))
    design = np.stack(columns, axis=1)
    weight = np.ones((len(grid), len(target))) * (1.0 if weights is None else weights)
    factor = projected(design, weight, over)
    with np.errstate(divide="ignore"):
        theta[:, : len(law.terms)] = np.maximum(np.log(factor), FAINT)
    return theta


def _exponent_grid(width: int) -> np.ndarray:
    if width == 0:
        return np.zeros((1, 0))
    if width <= 2:
        axis = np.geomspace(LOWEST_EXPONENT, HIGHEST, 64 if width == 1 else 24)
        return np.stack(np.meshgrid(*[axis] * width, indexing="ij"), axis=-1).reshape(-1, width)
    return LOWEST_EXPONENT * (HIGHEST / LOWEST_EXPONENT) ** halton(1500, width)
