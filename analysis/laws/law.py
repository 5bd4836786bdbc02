"""What a law is: a formula with exact derivatives, in units that the data choose.

The estimator never sees params or tokens as counts. Inputs are centred on their geometric means and, for
residuals of the log, so is the loss; a law states the dimensions of its parameters, and they are carried back
to the table's units afterwards. So the fit is the same whether N is in units or in millions, and the loss in
nats or in bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from analysis.errors import InputError
from analysis.laws import jets

# The lowest log of a coefficient, in units of the typical loss at the centre of the table. A term has
# vanished long before, but a steep one can be this small at the centre and still matter at an edge.
LOWEST = -200.0
# A coefficient whose term makes up less than this share of the loss in every row is gone.
GONE = 1e-9
EXPONENT_LIMIT = 12.0

Power = float | str | Callable[[Mapping[str, np.ndarray]], Any]


@dataclass(frozen=True)
class Parameter:
    """One fitted number.

    positive: fitted as its logarithm. units: its dimension, as powers of the inputs and of `loss`; a power is
    a number, the name of another parameter, or a function of all parameters. low, high: the domain; start:
    where random starts are drawn; all three in the fit's own units (the logarithm where positive).
    """

    name: str
    positive: bool = False
    units: Mapping[str, Power] = field(default_factory=dict)
    low: float = 0.0
    high: float = EXPONENT_LIMIT
    start: tuple[float, float] = (0.02, 2.0)

    @property
    def vanishes(self) -> bool:
        """Whether it is a factor that may be 0; a scale like a half-life may not."""
        return self.positive and self.low <= LOWEST

    @property
    def domain(self) -> str:
        """In words. A positive parameter's limits are in units of the table's centre, where they are wide."""
        if not self.positive:
            return f"in [{self.low:g}, {self.high:g}]"
        return ">= 0" if self.units else f"in [{np.exp(self.low):.3g}, {np.exp(self.high):.3g}]"


def coefficient(name: str, units: Mapping[str, Power], start: tuple[float, float] = (-8.0, 3.0)) -> Parameter:
    """The parameter of a positive factor or offset, which may vanish. units: as of `Parameter`. start: where
    random starts of its logarithm are drawn."""
    return Parameter(name, True, units, LOWEST, 300.0, start)


class Evaluation(Protocol):
    """value (B, n) of the log loss, jacobian (B, P, n)."""

    @property
    def value(self) -> np.ndarray: ...

    @property
    def jacobian(self) -> np.ndarray: ...

    def hessian(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """sum over rows of outer J J' + inner (second derivative): (B, P, P) for weights (B, n)."""
        ...


class Law:
    """What every law has: `name`, `source`, `inputs`, `parameters`, `formula`, `evaluate`, `loss`.

    Subclasses give `evaluate(theta, x)` in the fit's own units and `loss(params, inputs)` in the table's.
    """

    name: str
    source: str
    absolute: bool = False
    alike: Mapping[str, str] = MappingProxyType({})
    under: Law | None = None
    unscaled: tuple[str, ...] = ()

    if TYPE_CHECKING:
        # Attributes of some laws, properties of others: to a type checker, what may only be read.
        @property
        def inputs(self) -> tuple[str, ...]: ...

        @property
        def parameters(self) -> tuple[Parameter, ...]: ...

        @property
        def formula(self) -> str: ...

    def evaluate(self, theta: np.ndarray, x: np.ndarray) -> Evaluation:
        """Log loss and its derivatives at theta (B, P) for centred log inputs x (inputs, n)."""
        raise NotImplementedError

    def prepare(self, x: np.ndarray) -> Callable[[np.ndarray], Evaluation]:
        """`evaluate` at fixed rows."""
        return lambda theta: self.evaluate(theta, x)

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log loss (B, n) alone."""
        return self.evaluate(theta, x).value

    def loss(self, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> np.ndarray:
        """Loss in the table's units. Parameters may be arrays that broadcast against the inputs."""
        raise NotImplementedError

    @property
    def domain(self) -> str:
        """Where each parameter may lie, in words; coefficients may be anything from 0 on."""
        return ", ".join(f"{p.name} {p.domain}" for p in self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(low, high), each (P,), of theta."""
        low, high = zip(*((parameter.low, parameter.high) for parameter in self.parameters), strict=True)
        return np.array(low, float), np.array(high, float)

    def to_public(self, theta: np.ndarray, centre: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Values in the table's units, name -> (B,), of theta (B, P). centre: mean logs of all units."""
        inner = {
            p.name: np.exp(theta[:, i]) if p.positive else theta[:, i] for i, p in enumerate(self.parameters)
        }
        public = {}
        for index, parameter in enumerate(self.parameters):
            shift = self._shift(parameter, inner, centre)
            if parameter.positive:
                # A draw that ended nowhere may be too large for a number: then it is infinite.
                with np.errstate(over="ignore"):
                    public[parameter.name] = np.exp(theta[:, index] + shift)
            else:
                public[parameter.name] = theta[:, index] * np.exp(shift)
        return public

    def gone(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Which parameters (B, P) are factors that have vanished from every row x (inputs, n)."""
        return self.idle(theta, x) & np.array([parameter.vanishes for parameter in self.parameters])

    def idle(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Which parameters (B, P) have no effect on any row x (inputs, n): whatever they are, is not seen."""
        if x.shape[1] > 2000:
            # A term that has gone everywhere has gone at the ends of each input and at every hundredth row.
            ends = [*x.argmin(axis=1), *x.argmax(axis=1)]
            x = x[:, np.unique([*ends, *np.linspace(0, x.shape[1] - 1, 1000).astype(int)])]
        # Starts that ended nowhere may overflow here; what is no number is not small either.
        with np.errstate(all="ignore"):
            size = max(1, min(250, 60_000 // max(x.shape[1], 1)))
            effect = [
                np.abs(self.evaluate(theta[i : i + size], x).jacobian).max(axis=2)
                for i in range(0, len(theta), size)
            ]
        return (np.concatenate(effect) if effect else theta) < GONE

    def to_inner(self, params: Mapping[str, Any], centre: Mapping[str, float]) -> np.ndarray:
        """theta (P,) of values in the table's units; the inverse of `to_public`."""
        values = {name: np.atleast_1d(np.asarray(params[name], float)) for name in self.names}
        theta = []
        for parameter in self.parameters:
            shift = self._shift(parameter, values, centre)
            value = values[parameter.name]
            with np.errstate(divide="ignore"):
                inner = np.log(value) - shift if parameter.positive else value * np.exp(-shift)
            theta.append(np.clip(inner, parameter.low, parameter.high)[0])
        return np.array(theta)

    def lifted(self, theta: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """theta (S, P) with coefficients raised so that the loss rises by the factor exp(gap), gap (S,)."""
        values = {
            p.name: np.exp(theta[:, i]) if p.positive else theta[:, i] for i, p in enumerate(self.parameters)
        }
        theta = theta.copy()
        for index, parameter in enumerate(self.parameters):
            power = parameter.units.get("loss")
            if parameter.positive and power is not None:
                theta[:, index] += gap * (power(values) if callable(power) else float(power))
        return theta

    @staticmethod
    def _shift(parameter: Parameter, values: Mapping[str, np.ndarray], centre: Mapping[str, float]) -> Any:
        shift: Any = 0.0
        for unit, power in parameter.units.items():
            if isinstance(power, str):
                sign = -1.0 if power.startswith("-") else 1.0
                shift = shift + sign * values[power.lstrip("-")] * centre[unit]
            else:
                shift = shift + (power(values) if callable(power) else power) * centre[unit]
        return shift

    def starts(
        self, x: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None, over: float = 1.0
    ) -> np.ndarray | None:
        """(S, P) starts of the law's own for x (inputs, n), log loss target (n,); None: drawn anywhere.

        weights (n,): what the square of a row's relative residual counts; over: those predicted too high.
        """
        return None

    def need(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The law's own inputs out of `inputs`; raises InputError naming those that lack."""
        missing = [name for name in self.inputs if name not in inputs]
        if missing:
            raise InputError(*(f"the law {self.name} needs {name}" for name in missing))
        return {name: np.asarray(inputs[name], float) for name in self.inputs}


@dataclass(frozen=True, eq=False)
class FormulaLaw(Law):
    """Any law: `function(p, x)` gives the loss from p (name -> number) and x (input -> array).

    It is written with + - * / ** and jets.exp, jets.log; derivatives are exact (`analysis.laws.jets`). The
    function must be right in any units, given the parameters' stated dimensions; with `absolute` it holds
    constants in the table's units, and the fit leaves the inputs in them. alike: input -> the input whose
    unit it shares, as unique_tokens shares that of tokens; they are centred together. under: the law whose
    parameters are the first of these, and which this is but for what the others do; starts come from it.
    unscaled: inputs that are counts, of which 1 means something, and are not centred: experts, streams.
    """

    name: str
    function: Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    formula: str
    source: str
    absolute: bool = False
    alike: Mapping[str, str] = field(default_factory=dict)
    under: Law | None = None
    unscaled: tuple[str, ...] = ()

    def evaluate(self, theta: np.ndarray, x: np.ndarray) -> JetEvaluation:
        plain = dict(zip(self.inputs, np.exp(x), strict=True))
        values = {}
        for parameter, jet in zip(self.parameters, jets.variables(theta), strict=True):
            values[parameter.name] = jets.exp(jet) if parameter.positive else jet
        loss = self.function(values, plain).among(tuple(range(len(values))), x.shape[1])
        return JetEvaluation(np.log(loss.value), loss)

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log loss (B, n) alone, without derivatives."""
        plain = dict(zip(self.inputs, np.exp(x), strict=True))
        columns = {p.name: theta[:, i, None] for i, p in enumerate(self.parameters)}
        values = {p.name: np.exp(columns[p.name]) if p.positive else columns[p.name] for p in self.parameters}
        return np.log(self.function(values, plain))

    def loss(self, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> np.ndarray:
        """Loss in the table's units. Parameters may be arrays that broadcast against the inputs."""
        values = {name: np.asarray(params[name], float) for name in self.names}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return np.asarray(self.function(values, self.need(inputs)), float)


@dataclass(frozen=True, eq=False)
class JetEvaluation:
    """value (B, n) of the log loss; loss: the loss itself with its derivatives in all P parameters."""

    value: np.ndarray
    loss: jets.Jet

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(B, P, n)"""
        return self.loss.first / self.loss.value[:, None]

    def hessian(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """sum over rows of outer J J' + inner (second derivative): (B, P, P) for weights (B, n)."""
        # The logarithm's second derivative is that of the loss, as a share of it, less J J'.
        jacobian, second = self.jacobian, self.loss.second
        out = (jacobian * (outer - inner)[:, None]) @ np.swapaxes(jacobian, 1, 2)
        flat = second.reshape(len(out), -1, second.shape[-1])
        return out + (flat @ (inner / self.loss.value)[:, :, None]).reshape(out.shape)


def tidy_formula(law: Law, params: Mapping[str, float]) -> str:
    """The law's formula with its numbers in it."""

    def number(match: re.Match) -> str:
        name = match[0]
        return f"{float(params[name]):.4g}" if name in params else name

    return re.sub(r"[A-Za-z_]\w*", number, law.formula)
