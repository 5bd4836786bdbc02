"""A law with quantities of its parameters as further rows, which weights hold near a place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from analysis.laws.law import Law

STEP = 1e-4  # of central differences, in logarithms of coefficients and in exponents


@dataclass(frozen=True, eq=False)
class Held(Law):
    """A law with more rows, whose `log loss` are quantities of the parameters, (B, P) -> (B, K): weights on
    them hold them."""

    base: Law
    quantities: Callable[[np.ndarray], np.ndarray]
    count: int

    @property
    def parameters(self):
        return self.base.parameters

    @property
    def bounds(self):
        return self.base.bounds

    def prepare(self, x: np.ndarray):
        inner = self.base.prepare(x[:, : -self.count])
        return lambda theta: HeldEvaluation(inner(theta), *bent(self.quantities, theta))

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.column_stack([self.base.log_loss(theta, x[:, : -self.count]), self.quantities(theta)])


class HeldEvaluation:
    """value (B, n + K), jacobian (B, P, n + K)."""

    def __init__(self, inner, value: np.ndarray, slope: np.ndarray, bend: np.ndarray):
        self.inner, self.slope, self.bend = inner, slope, bend
        self.value = np.concatenate([inner.value, value], axis=1)
        self.jacobian = np.concatenate([inner.jacobian, slope], axis=2)

    def hessian(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        count = self.slope.shape[2]
        rows = self.inner.hessian(outer[:, :-count], inner[:, :-count])
        own = np.einsum("bk,bpqk->bpq", inner[:, -count:], self.bend)
        return rows + own + np.einsum("bk,bpk,bqk->bpq", outer[:, -count:], self.slope, self.slope)


def bent(quantities, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values (B, K), gradients (B, P, K), Hessians (B, P, P, K)) by central differences, in one call."""
    count, width = theta.shape
    moves, first, second = _moves(width)
    found = quantities((theta[:, None] + moves).reshape(-1, width)).reshape(count, len(moves), -1)
    here, rest = found[:, :1], found[:, 1:]
    up, down = rest[:, :width], rest[:, width : 2 * width]
    diagonal = up + down - 2 * here
    pairs = rest[:, 2 * width :].reshape(count, 2, len(first), -1).sum(axis=1) - 2 * here
    bend = np.empty((count, width, width, found.shape[2]))
    bend[:, np.arange(width), np.arange(width)] = diagonal
    bend[:, first, second] = bend[:, second, first] = 0.5 * (pairs - diagonal[:, first] - diagonal[:, second])
    return here[:, 0], (up - down) / (2 * STEP), bend / STEP**2


@cache
def _moves(width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where differences are taken (M, P), and which pairs of parameters are moved together."""
    one = STEP * np.eye(width)
    first, second = np.triu_indices(width, 1)
    both = one[first] + one[second]
    return np.concatenate([np.zeros((1, width)), one, -one, both, -both]), first, second
