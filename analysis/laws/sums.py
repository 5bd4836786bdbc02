"""Laws that are sums of terms, each a coefficient over a product of powers: their derivatives follow from the
terms' shares of the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from analysis.laws.law import Law, Parameter, coefficient


@dataclass(frozen=True)
class Term:
    """coefficient / product of input^power. A power is the name of an exponent (`-name` for its negative)."""

    coefficient: str
    powers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        below = "".join(
            f"/{base}^{power}" for base, power in self.powers.items() if not power.startswith("-")
        )
        above = "".join(
            f"*{base}^{power[1:]}" for base, power in self.powers.items() if power.startswith("-")
        )
        return self.coefficient + above + below


@dataclass(frozen=True, eq=False)
class SumLaw(Law):
    """A sum of positive terms, each a coefficient times powers of the inputs; linear in the coefficients.

    Its logarithm is a log-sum-exp of forms linear in log coefficients and exponents: value, gradient and
    Hessian are exact and cheap, and the coefficients can be projected out for global starts.
    """

    name: str
    terms: tuple[Term, ...]
    source: str

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for term in self.terms for name in term.powers))

    @cached_property
    def exponents(self) -> tuple[str, ...]:
        powers = (power for term in self.terms for power in term.powers.values())
        return tuple(dict.fromkeys(power.lstrip("-") for power in powers))

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        units = [{"loss": 1.0} | dict(term.powers) for term in self.terms]
        factors = tuple(
            coefficient(term.coefficient, unit) for term, unit in zip(self.terms, units, strict=True)
        )
        return factors + tuple(Parameter(name) for name in self.exponents)

    @property
    def formula(self) -> str:
        return "loss = " + " + ".join(str(term) for term in self.terms)

    @cached_property
    def layout(self) -> tuple[tuple[int, ...], ...]:
        """For each term, the parameters it touches: its coefficient and its exponents, each once."""
        return tuple(
            (index, *dict.fromkeys(self._place(power) for power in term.powers.values()))
            for index, term in enumerate(self.terms)
        )

    def _place(self, power: str) -> int:
        return len(self.terms) + self.exponents.index(power.lstrip("-"))

    def features(self, x: np.ndarray) -> list[np.ndarray]:
        """For each term, its log's derivatives in the parameters it touches: (touched, n), x (inputs, n)."""
        out = []
        for term, touched in zip(self.terms, self.layout, strict=True):
            feature = np.zeros((len(touched), x.shape[1]))
            feature[0] = 1.0
            for name, power in term.powers.items():
                sign = 1.0 if power.startswith("-") else -1.0
                feature[touched.index(self._place(power))] += sign * x[self.inputs.index(name)]
            out.append(feature)
        return out

    def evaluate(self, theta: np.ndarray, x: np.ndarray) -> SumEvaluation:
        """Log loss and its derivatives at theta (B, P) for centred log inputs x (inputs, n)."""
        return self.prepare(x)(theta)

    def prepare(self, x: np.ndarray) -> Callable[[np.ndarray], SumEvaluation]:
        """`evaluate` with what depends on the rows alone computed once."""
        layout, features = self.layout, self.features(x)
        columns = [np.array(touched) for touched in layout]
        # Terms touch one parameter or a few: those with fewer have empty places, so that all are one array.
        width, most = len(self.parameters), max(map(len, layout))
        pairs = np.zeros((len(layout), x.shape[1], most**2))
        places = np.zeros((len(layout) * most**2, width**2))
        for term, (touched, one) in enumerate(zip(layout, features, strict=True)):
            products = one[:, None] * one[None]
            for row, first in enumerate(touched):
                for column, second in enumerate(touched):
                    place = row * most + column
                    pairs[term, :, place] = products[row, column]
                    places[term * most**2 + place, first * width + second] = 1.0

        def evaluate(theta: np.ndarray) -> SumEvaluation:
            shares = np.empty((len(layout), len(theta), x.shape[1]))
            for log, column, feature in zip(shares, columns, features, strict=True):
                np.matmul(theta.take(column, axis=1), feature, out=log)
            top = shares.max(axis=0)
            shares -= top
            np.exp(shares, out=shares)
            total = shares.sum(axis=0)
            shares /= total
            return SumEvaluation(top + np.log(total), shares, layout, features, pairs, places, width)

        return evaluate

    def loss(self, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> np.ndarray:
        """Loss in the table's units. Parameters may be arrays that broadcast against the inputs."""
        logs = {name: np.log(value) for name, value in self.need(inputs).items()}
        total: Any = 0.0
        for term in self.terms:
            with np.errstate(divide="ignore"):
                power = np.log(np.asarray(params[term.coefficient], float))
            for name, exponent in term.powers.items():
                sign = 1.0 if exponent.startswith("-") else -1.0
                power = power + sign * np.asarray(params[exponent.lstrip("-")], float) * logs[name]
            with np.errstate(over="ignore"):
                total = total + np.exp(power)
        return total


@dataclass(frozen=True, eq=False)
class SumEvaluation:
    """value (B, n) of the log loss; shares (K, B, n), the terms' parts of the loss: all else follows.

    pairs (K, n, touched squared): for each term, the products of its features; places (K touched squared,
    P squared): 1 where such a product stands in the Hessian.
    """

    value: np.ndarray
    shares: np.ndarray
    layout: tuple[tuple[int, ...], ...]
    features: list[np.ndarray]
    pairs: np.ndarray
    places: np.ndarray
    width: int

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(B, P, n)"""
        out = np.empty((self.value.shape[0], self.width, self.value.shape[1]))
        filled = set()
        for share, touched, feature in zip(self.shares, self.layout, self.features, strict=True):
            for parameter, slope in zip(touched, feature, strict=True):
                if parameter in filled:
                    out[:, parameter] += share * slope
                else:
                    np.multiply(share, slope, out=out[:, parameter])
                    filled.add(parameter)
        return out

    def hessian(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """sum over rows of outer J J' + inner (second derivative): (B, P, P) for weights (B, n)."""
        jacobian = self.jacobian
        out = (jacobian * (outer - inner)[:, None]) @ np.swapaxes(jacobian, 1, 2)
        blocks = (inner * self.shares) @ self.pairs
        # Fits are many and small: a product with zeros and ones is a third of the time of slices one by one.
        out += (np.swapaxes(blocks, 0, 1).reshape(len(out), -1) @ self.places).reshape(out.shape)
        return out
