"""The compute-optimal frontier of a law: the params at which it is lowest at given flops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from analysis.laws.law import Law
from analysis.laws.sums import SumLaw

# params * tokens * 6 = flops (Kaplan et al., arXiv 2001.08361, section 2.1).
FACTOR = 6.0
# Of a search: cells of the first grid, halvings of the bracket, and half the base of a slope in log params.
CELLS, HALVINGS, STEP = 200, 40, 1e-4


def optimum(law: Law, params: Mapping[str, Any], flops) -> np.ndarray:
    """log of compute-optimal params; parameters and flops may be arrays. NaN where there is none.

    Closed form where params and tokens each stand in one term (arXiv 2203.15556, equation 4), else by the
    root of the slope over all params from 1 to flops/6.
    """
    budget = np.log(np.asarray(flops, float) / FACTOR)
    closed = separable(law)
    if closed is not None:
        a, alpha, b, beta = (np.asarray(params[name], float) for name in closed)
        with np.errstate(all="ignore"):
            log_n = (np.log(alpha * a) - np.log(beta * b) + beta * budget) / (alpha + beta)
        return np.where(np.isfinite(log_n), log_n, np.nan)

    def along(log_n):
        return law.loss(
            params, {"params": np.exp(log_n), "tokens": np.exp(budget - log_n), **_flops(law, flops)}
        )

    shape = np.broadcast_shapes(budget.shape, *(np.shape(value) for value in params.values()))
    at, where = lowest(along, np.zeros(shape), np.broadcast_to(budget, shape))
    return np.where(where == 0, at, np.nan)


def lowest(along: Callable, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x at which along(x) is lowest, where: -1 at the lower edge, 0 inside, 1 at the upper), of one shape.

    A grid finds the valley, then the root of the slope is bisected: the lowest point of a curve is known to
    the root of its rounding only, the root of its slope much better. What is not finite is never lowest.
    """
    shares = np.linspace(0, 1, CELLS + 1)
    with np.errstate(all="ignore"):
        values = along(low + shares.reshape(-1, *(1,) * low.ndim) * (high - low))
        at = np.argmin(np.where(np.isfinite(values), values, np.inf), axis=0)
        left = low + shares[np.maximum(at - 1, 0)] * (high - low)
        right = low + shares[np.minimum(at + 1, CELLS)] * (high - low)
        for _ in range(HALVINGS):
            middle = 0.5 * (left + right)
            up, down = along(np.stack([np.minimum(middle + STEP, high), np.maximum(middle - STEP, low)]))
            rising = up > down
            left, right = np.where(rising, left, middle), np.where(rising, middle, right)
    found = 0.5 * (left + right)
    near = 2 * STEP
    where = np.where(found <= low + near, -1, np.where(found >= high - near, 1, 0))
    return np.where(where < 0, low, np.where(where > 0, high, found)), where


def spends_compute(law: Law) -> bool:
    """Whether the law says what to choose at a budget: it hangs on params and tokens and nothing else."""
    return {"params", "tokens"} <= set(law.inputs) <= {"params", "tokens", "flops"}


def _flops(law: Law, flops) -> dict[str, Any]:
    return {"flops": np.asarray(flops, float)} if "flops" in law.inputs else {}


def separable(law: Law) -> tuple[str, str, str, str] | None:
    if not isinstance(law, SumLaw):
        return None
    varying = [term for term in law.terms if term.powers]
    axes = {tuple(term.powers): term for term in varying}
    if len(varying) != 2 or set(axes) != {("params",), ("tokens",)}:
        return None
    n, d = axes[("params",)], axes[("tokens",)]
    return n.coefficient, n.powers["params"], d.coefficient, d.powers["tokens"]


def exponents(law: Law, params: Mapping[str, Any], flops: float) -> np.ndarray:
    """d log params / d log flops along the frontier at `flops`; constant for Chinchilla's law."""
    closed = separable(law)
    if closed is not None:
        alpha, beta = (np.asarray(params[name], float) for name in (closed[1], closed[3]))
        a, b = (np.asarray(params[name], float) for name in (closed[0], closed[2]))
        with np.errstate(all="ignore"):
            share = beta / (alpha + beta)
        return np.where((a > 0) & (b > 0) & (alpha > 0) & (beta > 0), share, np.nan)
    step = 0.1
    up, down = (optimum(law, params, flops * np.exp(sign * step)) for sign in (1, -1))
    return (up - down) / (2 * step)


def loss_along(law: Law, params, log_n, flops) -> np.ndarray:
    n = np.exp(np.asarray(log_n, float))
    return law.loss(params, {"params": n, "tokens": flops / FACTOR / n, **_flops(law, flops)})
