"""What is asked of a law: one number of it, on the scale on which its interval is symmetric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analysis.errors import InputError
from analysis.laws.frontier import exponents, optimum, spends_compute
from analysis.laws.law import Law

Kind = Literal["exponent", "allocation", "loss", "parameter"]


@dataclass(frozen=True)
class Target:
    """exponent: d log params / d log flops along the compute optimum, at `flops`; allocation: the log of the
    compute-optimal params at `flops`; loss: the log loss at `params` and `tokens`; parameter: that of `name`.
    """

    kind: Kind
    flops: float = 0.0
    params: float = 0.0
    tokens: float = 0.0
    name: str = ""

    @property
    def logarithmic(self) -> bool:
        return self.kind in ("allocation", "loss")

    def suits(self, law: Law) -> bool:
        """Whether the law says anything about it."""
        if self.kind == "parameter":
            return self.name in law.names
        return spends_compute(law)

    def value(self, law: Law, values: Mapping[str, Any]) -> np.ndarray:
        """The number, for one set of values or for draws of them."""
        if self.kind == "exponent":
            return exponents(law, values, self.flops)
        if self.kind == "allocation":
            return optimum(law, values, self.flops)
        if self.kind == "parameter":
            return np.asarray(values[self.name], float)
        inputs = {"params": self.params, "tokens": self.tokens, "flops": 6 * self.params * self.tokens}
        return np.log(law.loss(values, {name: np.asarray(value) for name, value in inputs.items()}))

    def gradient(
        self, law: Law, theta: np.ndarray, centre: Mapping[str, float], step: float = 1e-4
    ) -> np.ndarray:
        """(P,) derivatives in the fit's own units, by central differences; 0 where a limit is in the way."""
        low, high = law.bounds
        shifts = step * np.eye(len(theta))
        up, down = np.minimum(theta + shifts, high), np.maximum(theta - shifts, low)
        both = np.concatenate([up, down])
        with np.errstate(all="ignore"):
            values = np.broadcast_to(self.value(law, law.to_public(both, centre)), (len(both),))
        width = np.maximum(np.diag(up) - np.diag(down), step)
        slopes = (values[: len(theta)] - values[len(theta) :]) / width
        return np.where(np.isfinite(slopes), slopes, 0.0)

    def __str__(self) -> str:
        if self.kind == "parameter":
            return self.name
        if self.kind == "exponent":
            return f"the exponent of compute-optimal params at {self.flops:.3g} FLOPs"
        if self.kind == "allocation":
            return f"the compute-optimal params at {self.flops:.3g} FLOPs"
        return f"the loss at {self.params:.4g} params and {self.tokens:.4g} tokens"


def checked(target: Target, laws: list[Law]) -> Target:
    """The target, if one of the laws says anything about it. Raises InputError."""
    if not any(target.suits(law) for law in laws):
        known = sorted({name for law in laws for name in law.names})
        asked = target.name if target.kind == "parameter" else target.kind
        raise InputError(
            f"--target: {asked!r}: no law in play has it; there are exponent, allocation, "
            f"loss, {', '.join(known)}"
        )
    return target
