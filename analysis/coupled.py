"""Chinchilla's law with its two terms coupled by a power: derivatives by hand, since it is a common rival."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.law import Law, Parameter, SumEvaluation, SumLaw, Term, coefficient

_INNER = SumLaw("inner", (Term("A", {"params": "alpha"}), Term("B", {"tokens": "beta"})), "")


class CoupledLaw(Law):
    """loss = E + (A/params^alpha + B/tokens^beta)^gamma; Chinchilla's at gamma = 1.

    Below 1 a larger model gains more from more tokens. gamma is poorly determined by small tables.
    """

    name = "coupled"
    source = "xLSTM scaling laws, arXiv 2510.02228, equation 3"
    formula = "loss = E + (A/params^alpha + B/tokens^beta)^gamma"
    inputs = ("params", "tokens")
    parameters = (
        coefficient("E", {"loss": 1}),
        coefficient("A", {"params": "alpha", "loss": lambda p: 1 / p["gamma"]}),
        coefficient("B", {"tokens": "beta", "loss": lambda p: 1 / p["gamma"]}),
        Parameter("alpha", start=(0.05, 1.5)),
        Parameter("beta", start=(0.05, 1.5)),
        Parameter("gamma", low=1e-2, high=20.0, start=(0.3, 2.0)),
    )

    def evaluate(self, theta: np.ndarray, x: np.ndarray, features=None) -> CoupledEvaluation:
        """Log loss and its derivatives at theta (B, 6) for centred log inputs x (2, n)."""
        inner = _INNER.evaluate(theta[:, 1:5], x, features)
        gamma = theta[:, 5, None]
        power = gamma * inner.value
        value = np.logaddexp(theta[:, 0, None], power)
        return CoupledEvaluation(value, np.exp(power - value), gamma, inner)

    def prepare(self, x: np.ndarray) -> Callable[[np.ndarray], CoupledEvaluation]:
        """`evaluate` with what depends on the rows alone computed once."""
        features = _INNER.features(x)
        return lambda theta: self.evaluate(theta, x, features)

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log loss (B, n) alone."""
        return self.evaluate(theta, x).value

    def loss(self, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> np.ndarray:
        """Loss in the table's units. Parameters may be arrays that broadcast against the inputs."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(params["E"], float) + _INNER.loss(params, self.need(inputs)) ** params["gamma"]


@dataclass(frozen=True, eq=False)
class CoupledEvaluation:
    """value (B, n) of the log loss; share (B, n) of the power in the loss; gamma (B, 1); the inner sum."""

    value: np.ndarray
    share: np.ndarray
    gamma: np.ndarray
    inner: SumEvaluation

    @cached_property
    def _slopes(self) -> np.ndarray:
        """(B, 6, n): derivatives of log(power) - log(E)."""
        out = np.empty((self.value.shape[0], 6, self.value.shape[1]))
        out[:, 0] = -1.0
        out[:, 1:5] = self.gamma[:, None] * self.inner.jacobian
        out[:, 5] = self.inner.value
        return out

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(B, 6, n)"""
        out = self.share[:, None] * self._slopes
        out[:, 0] = 1.0 - self.share
        return out

    def hessian(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """sum over rows of outer J J' + inner (second derivative): (B, 6, 6) for weights (B, n)."""
        jacobian, slopes = self.jacobian, self._slopes
        out = (jacobian * outer[:, None]) @ np.swapaxes(jacobian, 1, 2)
        weight = inner * self.share
        out += (slopes * (weight * (1.0 - self.share))[:, None]) @ np.swapaxes(slopes, 1, 2)
        out[:, 1:5, 1:5] += self.inner.hessian(np.zeros_like(weight), weight * self.gamma)
        cross = (self.inner.jacobian @ weight[:, :, None])[:, :, 0]
        out[:, 1:5, 5] += cross
        out[:, 5, 1:5] += cross
        return out
