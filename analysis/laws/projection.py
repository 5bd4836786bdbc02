"""Coefficients that suit given exponents best, by robust linear regression; points to try."""

from __future__ import annotations

from itertools import combinations

import numpy as np

# Logarithmic: an exponent of 0.02 hardly bends over a table's range, one of 3 is a cliff.
LOWEST_EXPONENT, HIGHEST = 0.02, 3.0
REWEIGHTINGS = 4
# Where a start has no use for a term, its log coefficient: small, but with a slope to come back by.
FAINT = -12.0


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
    """(count, width) points of the Halton sequence in the unit cube, without the origin.

    To the bit what `scipy.stats.qmc.Halton` gives unscrambled; importing that takes as long as NumPy
    and pandas together, and `lab forecast` and `lab audit` would wait for it.
    """
    primes = [p for p in range(2, 100) if all(p % q for q in range(2, p))][:width]
    out = np.zeros((count, width))
    for column, prime in enumerate(primes):
        index, share = np.arange(1, count + 1), 1.0
        while index.any():
            share /= prime
            out[:, column] += share * (index % prime)
            index = index // prime
    return out
