"""Repeated data under a law that has no term for it: what tokens beyond the unique ones are still worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.laws.frontier import separable
from analysis.laws.law import Law

# Half-lives of repeated tokens and of params beyond what they can use (arXiv 2305.16264, section 6).
R_D, R_N = 15.387756, 5.309743


def loss_at(law: Law, values: Mapping[str, Any], inputs: Mapping[str, Any]) -> np.ndarray:
    """The law's loss; where `inputs` name unique_tokens that the law knows nothing of, repeated tokens lose
    their worth with the published half-life, and for a sum of a term of params and one of tokens the params
    that so few tokens can use do as well (equations 5 to 7 there)."""
    unique = inputs.get("unique_tokens")
    if unique is None or "unique_tokens" in law.inputs:
        return law.loss(values, inputs)
    n, d = inputs["params"], inputs["tokens"]
    fresh = np.minimum(unique, d)
    worth = fresh * (1 + R_D * -np.expm1(-(d / fresh - 1) / R_D))
    size = n
    if (closed := separable(law)) is not None:
        a, alpha, b, beta = (np.asarray(values[name], float) for name in closed)
        useful = np.minimum(n, (alpha * a / (beta * b)) ** (1 / alpha) * fresh ** (beta / alpha))
        size = useful * (1 + R_N * -np.expm1(-(n / useful - 1) / R_N))
    return law.loss(values, {**inputs, "params": size, "tokens": worth, "flops": 6 * n * d})


def assumed(law: Law) -> str:
    """What must be said where `law` is asked for repeated data and has no term for it."""
    known = f"R_D {R_D:.4g}, R_N {R_N:.4g}" if separable(law) is not None else f"R_D {R_D:.4g}"
    return (
        f"repeated tokens lose their worth with the half-lives of arXiv 2305.16264 ({known}), which this "
        "table did not measure"
    )
