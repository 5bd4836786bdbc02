"""Global starts: a grid over exponents with the coefficients projected out, or low-discrepancy points."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from analysis.laws.law import Law, SumLaw
from analysis.solve.objectives import Rho

# Logarithmic: an exponent of 0.02 hardly bends over a table's range, one of 3 is a cliff.
LOWEST_EXPONENT, HIGHEST = 0.02, 3.0
REWEIGHTINGS = 4
# Where a start has no use for a term, its log coefficient: small, but with a slope to come back by.
FAINT = -12.0


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


def projected(design: np.ndarray, weight: np.ndarray, over: float = 1.0) -> np.ndarray:
    """Coefficients (G, K) >= 0 that bring design (G, K, n) close to 1 under weight (G, n).

    Residuals relative to the measured loss stand for those of the log (variable projection: Golub and Pereyra
    1973); reweightings make them robust, and those above 1 count `over` times.
    """
    base = weight
    for _ in range(REWEIGHTINGS):
        factor = nonnegative(design, weight)
        residual = 1.0 - (factor[:, None] @ design)[:, 0]
        weight = base * _trust(residual, base, over)
    return factor


def regressed(design: np.ndarray, target: np.ndarray, weight: np.ndarray, over: float = 1.0) -> np.ndarray:
    """Coefficients (G, K) of either sign that bring design (G, K, n) to target (G, n), robustly."""
    base = weight
    ridge = 1e-10 * np.eye(design.shape[1])
    for _ in range(REWEIGHTINGS):
        weighted = design * weight[:, None]
        gram = weighted @ np.swapaxes(design, 1, 2)
        trace = np.maximum(np.trace(gram, axis1=1, axis2=2), 1e-300)[:, None, None]
        factor = np.linalg.solve(gram + trace * ridge, weighted @ target[:, :, None])[:, :, 0]
        weight = base * _trust(target - (factor[:, None] @ design)[:, 0], base, over)
    return factor


def _trust(residual: np.ndarray, base: np.ndarray, over: float) -> np.ndarray:
    """Weights (G, n) of a robust regression: full inside 1.5 typical residuals, falling beyond."""
    size = np.abs(residual) * np.sqrt(base)
    scale = np.maximum(1.5 * np.median(size, axis=1, keepdims=True), 1e-9)
    return np.where(residual < 0, over, 1.0) * np.minimum(1.0, scale / np.maximum(size, 1e-300))


def _exponent_grid(width: int) -> np.ndarray:
    if width == 0:
        return np.zeros((1, 0))
    if width <= 2:
        axis = np.geomspace(LOWEST_EXPONENT, HIGHEST, 64 if width == 1 else 24)
        return np.stack(np.meshgrid(*[axis] * width, indexing="ij"), axis=-1).reshape(-1, width)
    return LOWEST_EXPONENT * (HIGHEST / LOWEST_EXPONENT) ** halton(1500, width)


def nonnegative(design: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted least squares of 1 on design (G, K, n) with coefficients >= 0: (G, K).

    With few terms every subset of them is solved and the best feasible one taken, which is exact.
    """
    groups, terms, _ = design.shape
    weighted = design * weight[:, None]
    gram = weighted @ np.swapaxes(design, 1, 2)
    right = weighted.sum(axis=2)
    scale = np.sqrt(np.maximum(np.einsum("gkk->gk", gram), 1e-300))
    gram = gram / (scale[:, :, None] * scale[:, None]) + 1e-13 * np.eye(terms)
    right = right / scale
    best = np.zeros((groups, terms))
    gain = np.full(groups, -np.inf)
    for size in range(1, terms + 1):
        for chosen in combinations(range(terms), size):
            part = np.ix_(range(groups), chosen, chosen)
            answer = np.linalg.solve(gram[part], right[:, chosen, None])[:, :, 0]
            # At its optimum a subset explains answer . right of the sum of squares.
            explained = np.where((answer >= 0).all(axis=1), (answer * right[:, chosen]).sum(axis=1), -np.inf)
            better = explained > gain
            gain = np.where(better, explained, gain)
            full = np.zeros((groups, terms))
            full[:, chosen] = answer
            best = np.where(better[:, None], full, best)
    return best / scale


def halton(count: int, width: int) -> np.ndarray:
    """(count, width) points of the Halton sequence in the unit cube."""
    primes = [p for p in range(2, 100) if all(p % q for q in range(2, p))][:width]
    out = np.zeros((count, width))
    for column, prime in enumerate(primes):
        index, share = np.arange(1, count + 1), 1.0
        while index.any():
            share /= prime
            out[:, column] += share * (index % prime)
            index = index // prime
    return out
