"""Chinchilla's law with its two terms coupled by a power: derivatives by hand, since it is a common rival."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.law import Law, Parameter, coefficient


class CoupledLaw(Law):
    """loss = E + (A/params^alpha + B/tokens^beta)^gamma; Chinchilla's at gamma = 1.

    Below 1 a larger model gains more from more tokens. gamma is poorly determined by small tables, and the
    other parameters follow it: the fit's own are gamma log A, gamma log B, gamma alpha, gamma beta, in which
    the power is a soft maximum of two linear forms with temperature gamma, and its valleys are straight.
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
        Parameter("gamma", low=1e-2, high=20.0, start=(0.1, 3.0)),
    )

    def evaluate(self, theta: np.ndarray, x: np.ndarray) -> CoupledEvaluation:
        """Log loss and its derivatives at theta (B, 6) for centred log inputs x (2, n)."""
        gamma = theta[:, 5, None]
        forms = np.stack(
            [theta[:, 1, None] - theta[:, 3, None] * x[0], theta[:, 2, None] - theta[:, 4, None] * x[1]]
        )
        top = forms.max(axis=0)
        shares = np.exp((forms - top) / gamma)
        total = shares.sum(axis=0)
        shares /= total
        power = top + gamma * np.log(total)
        value = np.logaddexp(theta[:, 0, None], power)
        return CoupledEvaluation(value, np.exp(power - value), gamma, forms, shares, power, x)

    def prepare(self, x: np.ndarray) -> Callable[[np.ndarray], CoupledEvaluation]:
        """`evaluate` at fixed rows."""
        return lambda theta: self.evaluate(theta, x)

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log loss (B, n) alone."""
        return self.evaluate(theta, x).value

    def to_public(self, theta: np.ndarray, centre: Mapping[str, float]) -> dict[str, np.ndarray]:
        return super().to_public(
            np.column_stack([theta[:, 0], theta[:, 1:5] / theta[:, 5:], theta[:, 5]]), centre
        )

    def to_inner(self, params: Mapping[str, Any], centre: Mapping[str, float]) -> np.ndarray:
        theta = super().to_inner(params, centre)
        theta[1:5] *= theta[5]
        return np.clip(theta, *self.bounds)

    def lifted(self, theta: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """theta (S, 6) with the loss raised by the factor exp(gap), gap (S,)."""
        return theta + gap[:, None] * np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])

    def loss(self, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> np.ndarray:
        """Loss in the table's units. Parameters may be arrays that broadcast against the inputs."""
        inputs = self.need(inputs)
        values = {name: np.asarray(params[name], float) for name in self.names}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            of_params = np.log(values["A"]) - values["alpha"] * np.log(inputs["params"])
            of_tokens = np.log(values["B"]) - values["beta"] * np.log(inputs["tokens"])
            return values["E"] + np.exp(values["gamma"] * np.logaddexp(of_params, of_tokens))


@dataclass(frozen=True, eq=False)
class CoupledEvaluation:
    """value (B, n) of the log loss; share (B, n) of the power in the loss; gamma (B, 1); forms, shares
    (2, B, n): the linear forms and their shares in the soft maximum; power (B, n) its value; x (2, n).
    """

    value: np.ndarray
    share: np.ndarray
    gamma: np.ndarray
    forms: np.ndarray
    shares: np.ndarray
    power: np.ndarray
    x: np.ndarray

    @cached_property
    def _mean(self) -> np.ndarray:
        return (self.shares * self.forms).sum(axis=0)

    @cached_property
    def _slopes(self) -> np.ndarray:
        """(B, 6, n): derivatives of log(power) - log(E); that in gamma is the shares' entropy."""
        out = np.empty((self.value.shape[0], 6, self.value.shape[1]))
        out[:, 0] = -1.0
        out[:, 1:3] = np.swapaxes(self.shares, 0, 1)
        out[:, 3:5] = -out[:, 1:3] * self.x
        out[:, 5] = (self.power - self._mean) / self.gamma
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
        # Of the soft maximum: variances of the forms under the shares, over the temperature.
        both = weight * self.shares[0] * self.shares[1] / self.gamma
        gap = (self.forms[0] - self.forms[1]) / self.gamma
        rows = np.zeros_like(slopes)
        rows[:, 1], rows[:, 2] = 1.0, -1.0
        rows[:, 3], rows[:, 4] = -self.x[0], self.x[1]
        rows[:, 5] = -gap
        return out + (rows * both[:, None]) @ np.swapaxes(rows, 1, 2)
