"""Laws whose two terms are coupled by a power, Kaplan's among them: derivatives by hand, they are common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.laws import jets
from analysis.laws.law import LOWEST, FormulaLaw, Law, Parameter, coefficient
from analysis.laws.projection import FAINT, HIGHEST, LOWEST_EXPONENT, halton, projected

GAMMAS = (1e-2, 20.0)
# Where the power is large and one term small, the law is E + B/tokens^b exp(s/params^alpha): there alpha
# itself stays moderate, and gamma alpha, in which it is fitted, grows with gamma; so does gamma log A.
STEEPEST, SMALLEST = 12.0 * GAMMAS[1], LOWEST * GAMMAS[1]
POINTS = 1500


class CoupledLaw(Law):
    """loss = E + (A/params^alpha + B/tokens^beta)^gamma; Chinchilla's at gamma = 1.

    Below 1 a larger model gains more from more tokens. gamma is poorly determined by small tables, and the
    other parameters follow it: the fit's own are gamma log A, gamma log B, gamma alpha, gamma beta, in which
    the power is a soft maximum of two linear forms with temperature gamma, and its valleys are straight.
    """

    name = "coupled"
    source = (
        "xLSTM scaling laws, arXiv 2510.02228, equation 3; Videau et al. 2026 (Skaling), arXiv 2608.07222"
    )
    formula = "loss = E + (A/params^alpha + B/tokens^beta)^gamma"
    inputs = ("params", "tokens")
    parameters = (
        coefficient("E", {"loss": 1}),
        Parameter("A", True, {"params": "alpha", "loss": lambda p: 1 / p["gamma"]}, SMALLEST, 300.0),
        Parameter("B", True, {"tokens": "beta", "loss": lambda p: 1 / p["gamma"]}, SMALLEST, 300.0),
        Parameter("alpha", high=STEEPEST),
        Parameter("beta", high=STEEPEST),
        Parameter("gamma", low=GAMMAS[0], high=GAMMAS[1]),
    )

    # The same parameters each for itself, for terms put on this law.
    plain = (
        *parameters[:3],
        Parameter("alpha", start=(0.05, 1.0)),
        Parameter("beta", start=(0.05, 1.0)),
        Parameter("gamma", low=GAMMAS[0], high=GAMMAS[1], start=(0.3, 1.5)),
    )

    @staticmethod
    def arithmetic(p, x):
        """The loss as arithmetic that jets can pass through."""
        params, tokens = (
            jets.log(p[factor]) - p[power] * jets.log(x[name])
            for factor, power, name in (("A", "alpha", "params"), ("B", "beta", "tokens"))
        )
        return p["E"] + jets.exp(p["gamma"] * (params + jets.softplus(tokens - params)))

    @property
    def domain(self) -> str:
        low, high = GAMMAS
        steep = f"in [0, {STEEPEST:g}]"
        return f"E, A, B >= 0, gamma alpha {steep}, gamma beta {steep}, gamma in [{low:g}, {high:g}]"

    def starts(self, x: np.ndarray, target: np.ndarray, weights=None, over: float = 1.0) -> np.ndarray:
        """(S, 6) starts: at points over E, gamma and the exponents A and B are projected out, since
        (loss - E)^(1/gamma) is linear in them.
        """
        at = halton(POINTS, 4)
        loss = np.exp(target)
        # Outliers far below would leave no room for E.
        floor = at[:, 0] * np.quantile(loss, 0.1)
        gamma = 0.05 * (8.0 / 0.05) ** at[:, 1]
        slopes = LOWEST_EXPONENT * (HIGHEST / LOWEST_EXPONENT) ** at[:, 2:]
        # Half of the exponents are moderate themselves, half times gamma: the law's two limits.
        slopes[::2] *= gamma[::2, None]
        power = loss - floor[:, None]
        seen = power > 0
        root = np.log(np.where(seen, power, 1.0)) / gamma[:, None]
        design = np.exp(np.clip(-(slopes / gamma[:, None])[:, :, None] * x - root[:, None], -300.0, 300.0))
        weight = np.where(seen, gamma[:, None] * power / loss, 0.0) ** 2 * (
            1.0 if weights is None else weights
        )
        factor = projected(design, weight, over)
        with np.errstate(divide="ignore"):
            logs = np.log(np.column_stack([floor, factor]))
        logs[:, 1:] *= gamma[:, None]
        return np.column_stack([np.maximum(logs, FAINT), slopes, gamma])

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


class KaplanLaw(FormulaLaw):
    """loss = ((N_c/params)^(alpha_N/alpha_D) + D_c/tokens)^alpha_D: a coupled law without E, whose tokens'
    exponent, once the power is taken, is the power itself.
    """

    def evaluate(self, theta: np.ndarray, x: np.ndarray) -> KaplanEvaluation:
        """Log loss and its derivatives at theta (B, 4) for centred log inputs x (2, n)."""
        zero = np.full(len(theta), -np.inf)
        params, tokens = theta[:, 2], theta[:, 3]
        inner = [zero, params * theta[:, 0], tokens * theta[:, 1], params, tokens, tokens]
        return KaplanEvaluation(CoupledLaw().evaluate(np.stack(inner, axis=1), x), theta)

    def prepare(self, x: np.ndarray) -> Callable[[np.ndarray], KaplanEvaluation]:
        """`evaluate` at fixed rows."""
        return lambda theta: self.evaluate(theta, x)

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log loss (B, n) alone."""
        return self.evaluate(theta, x).value

    def starts(self, x: np.ndarray, target: np.ndarray, weights=None, over: float = 1.0) -> np.ndarray:
        """(S, 4) starts: on a grid over the exponents N_c and D_c are projected out, as in `CoupledLaw`."""
        axis = np.geomspace(LOWEST_EXPONENT, HIGHEST, 24)
        params, tokens = (part.ravel() for part in np.meshgrid(axis, axis, indexing="ij"))
        root = target / tokens[:, None]
        logs = np.stack([-(params / tokens)[:, None] * x[0] - root, -x[1] - root], axis=1)
        weight = tokens[:, None] ** 2 * np.ones_like(target) * (1.0 if weights is None else weights)
        factor = projected(np.exp(np.clip(logs, -300.0, 300.0)), weight, over)
        with np.errstate(divide="ignore"):
            size = np.maximum(np.log(factor), FAINT)
        return np.column_stack([size[:, 0] * tokens / params, size[:, 1], params, tokens])


@dataclass(frozen=True, eq=False)
class KaplanEvaluation:
    """Those of the coupled law at (-inf, alpha_N log N_c, alpha_D log D_c, alpha_N, alpha_D, alpha_D)."""

    coupled: CoupledEvaluation
    theta: np.ndarray

    @property
    def value(self) -> np.ndarray:
        return self.coupled.value

    @cached_property
    def _through(self) -> np.ndarray:
        """(B, 4, 6): derivatives of the coupled law's parameters."""
        out = np.zeros((len(self.theta), 4, 6))
        out[:, 0, 1], out[:, 1, 2] = self.theta[:, 2], self.theta[:, 3]
        out[:, 2, 1], out[:, 2, 3] = self.theta[:, 0], 1.0
        out[:, 3, 2], out[:, 3, 4], out[:, 3, 5] = self.theta[:, 1], 1.0, 1.0
        return out

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(B, 4, n)"""
        return self._through @ self.coupled.jacobian

    def hessian(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """sum over rows of outer J J' + inner (second derivative): (B, 4, 4) for weights (B, n)."""
        out = self._through @ self.coupled.hessian(outer, inner) @ np.swapaxes(self._through, 1, 2)
        bent = (self.coupled.jacobian[:, 1:3] @ inner[:, :, None])[:, :, 0]
        for factor, exponent in ((0, 2), (1, 3)):
            out[:, factor, exponent] += bent[:, factor]
            out[:, exponent, factor] += bent[:, factor]
        return out


KAPLAN = KaplanLaw(
    "kaplan",
    lambda p, x: (
        ((p["N_c"] / x["params"]) ** (p["alpha_N"] / p["alpha_D"]) + p["D_c"] / x["tokens"]) ** p["alpha_D"]
    ),
    ("params", "tokens"),
    (
        coefficient("N_c", {"params": 1, "loss": lambda p: 1 / p["alpha_N"]}, start=(-12.0, 3.0)),
        coefficient("D_c", {"tokens": 1, "loss": lambda p: 1 / p["alpha_D"]}, start=(-12.0, 3.0)),
        Parameter("alpha_N", low=1e-3, start=(0.02, 1.0)),
        Parameter("alpha_D", low=1e-3, start=(0.02, 1.0)),
    ),
    "loss = ((N_c/params)^(alpha_N/alpha_D) + D_c/tokens)^alpha_D",
    "Kaplan et al. 2020, arXiv 2001.08361, equation 1.5",
)
