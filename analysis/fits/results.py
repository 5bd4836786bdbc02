"""What the fits return: frozen dataclasses that print themselves, in text, HTML and JSON.

Units everywhere: params and tokens are counts, flops are FLOPs, loss is in the table's own unit
(nats a token for tables of this laboratory). An interval is a pair (low, high) at the result's `level`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.fits.leading import Leading
from analysis.fits.noise import Stated
from analysis.intervals.bootstrap import Interval
from analysis.intervals.freedom import Freedom
from analysis.laws.law import Law
from analysis.notes import Excluded, Note
from analysis.solve.objectives import Rho
from analysis.tables.sample import Sample

if TYPE_CHECKING:
    import pandas
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Objective:
    """What was minimised: the sum over rows of rho(residual), never the mean.

    name: huber, l1, squared or asymmetric. delta: Huber's corner (None where it has none). residual: `log`
    (log measured minus log predicted) or `raw`. over_weight: factor on rows that are predicted too high.
    """

    name: str
    delta: float | None
    residual: str
    value: float
    over_weight: float = 1.0
    reduction: str = "sum"

    def to_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__dataclass_fields__}


@dataclass(frozen=True)
class Basin:
    """A local optimum that is not the best one: its objective and its parameters."""

    value: float
    params: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "params": dict(self.params)}


@dataclass(frozen=True)
class Certificate:
    """Evidence that the optimum is one.

    gradient_norm: the Newton decrement relative to the objective, sqrt(g' H^-1 g / objective), dimensionless:
    the objective can still fall by about half its square, relatively. condition: of the Hessian scaled to a
    unit diagonal, in centred logarithms. bound_hits: parameters that lie at the edge of the law's domain.
    basins: the other optima that the starts found, best first. starts: how many starts were polished.
    invariance: what a fit from beside the optimum finds with the mean instead of the sum, and with inputs
    and loss in other units, as a relative difference in the objective; empty where it was not tried.
    """

    converged: bool
    gradient_norm: float
    basins: tuple[Basin, ...]
    condition: float
    bound_hits: tuple[str, ...]
    starts: int
    invariance: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "converged": self.converged,
            "gradient_norm": self.gradient_norm,
            "basins": [basin.to_dict() for basin in self.basins],
            "condition": self.condition,
            "bound_hits": list(self.bound_hits),
            "starts": self.starts,
            "invariance": dict(self.invariance),
        }


@dataclass(frozen=True)
class Exponents:
    """Compute-optimal params ~ flops^params_exponent and tokens ~ flops^tokens_exponent.

    `interval` is that of params_exponent (the two sum to 1); None without a bootstrap. For laws whose
    exponent varies with compute it is the local one at the table's highest compute.
    """

    params_exponent: float
    tokens_exponent: float
    interval: Interval | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "params_exponent": self.params_exponent,
            "tokens_exponent": self.tokens_exponent,
            "interval": None if self.interval is None else list(self.interval),
        }


@dataclass(frozen=True)
class Calibration:
    """Of intervals at `level` for tables simulated from the fit on the same design: the share that held the
    truth, and the factor by which the intervals were then stretched: below 1 where they held it too often.

    Names are the parameters, `params_exponent` and `loss` (the law at three times each input's largest).
    """

    simulations: int
    draws: int
    level: float
    achieved: Mapping[str, float]
    factor: Mapping[str, float]

    @property
    def widest(self) -> float:
        """The factor on the intervals of predictions and of what follows from several parameters."""
        return max(self.factor["loss"], self.factor.get("params_exponent", 1.0))

    def to_dict(self) -> dict[str, Any]:
        return {
            "simulations": self.simulations,
            "draws": self.draws,
            "level": self.level,
            "achieved": dict(self.achieved),
            "factor": dict(self.factor),
        }


@dataclass(frozen=True, repr=False, eq=False)
class Fit:
    """A fitted law.

    params: fitted values by name; intervals: (low, high) by name, empty without a bootstrap.
    resampled: what the bootstrap drew, in words; draws: the bootstrap's parameter values, name -> (draws,).
    spread: factor by which intervals are widened about the estimate (1 = none), or, for few clusters, what
    gives it for each quantity (`analysis.intervals.freedom`).
    noise: residuals of the log loss, scaled up for the fitted parameters: the scatter of one new run; where
    rows state their noise, of a run whose noise is the typical one. stated: what that is.
    points: number of rows fitted. data: the rows fitted, name -> (points,): row (index in the table), the
    law's inputs, params, tokens, flops, loss, fitted, residual (log measured minus log fitted). calibration:
    how often such intervals held the truth on this design, where that was asked for. scatter: standard
    deviation of one run's log loss about the law, whatever outliers say. few: whether rows are so few that
    intervals are Student's by profile likelihood. rows, rho: what was
    fitted and with what objective, for what is computed later. leading: why this law, where none was named.
    """

    law: Law
    params: Mapping[str, float]
    intervals: Mapping[str, Interval]
    level: float
    objective: Objective
    certificate: Certificate
    exponents: Exponents | None
    points: int
    excluded: tuple[Excluded, ...]
    warnings: tuple[Note, ...]
    notes: tuple[Note, ...]
    data: Mapping[str, np.ndarray]
    draws: Mapping[str, np.ndarray] = field(default_factory=dict)
    resampled: str = "nothing"
    spread: float | Freedom = 1.0
    noise: np.ndarray = field(default_factory=lambda: np.zeros(0))
    stated: Stated | None = None
    source: str = ""
    scatter: float = float("nan")
    few: bool = False
    calibration: Calibration | None = None
    rows: Sample | None = None
    rho: Rho | None = None
    leading: Leading | None = None

    @property
    def formula(self) -> str:
        return self.law.formula

    @property
    def sampled(self) -> Mapping[str, np.ndarray]:
        """`data` in the order of `rows`, the sample that was fitted."""
        if self.rows is None:
            return self.data
        place = np.argsort(np.argsort(self.rows.rows))
        return {name: np.asarray(values)[place] for name, values in self.data.items()}

    def predict(
        self, params: ArrayLike | None = None, tokens: ArrayLike | None = None, **inputs: ArrayLike
    ) -> np.ndarray:
        """Loss at params and tokens (arrays broadcast), or at the law's other inputs by name (flops=...)."""
        return self.law.loss(self.params, inputs_of(self.law, params, tokens, inputs))

    if TYPE_CHECKING:
        # `analysis.api` gives these their bodies: they need what stands above.
        def predict_interval(
            self,
            params: ArrayLike | None = None,
            tokens: ArrayLike | None = None,
            level: float | None = None,
            new_run: bool = True,
            noise: ArrayLike | None = None,
            **inputs: ArrayLike,
        ) -> tuple[np.ndarray, np.ndarray]: ...

        def profile_interval(
            self,
            what: str,
            level: float | None = None,
            flops: float | None = None,
            params: float | None = None,
            tokens: float | None = None,
        ) -> Interval: ...

        def plot(self, *, ax: Any = None, **options: Any) -> Any: ...

    @property
    def allocation(self) -> Exponents | None:
        """The former name of `exponents`. `Allocation` is what `analysis.allocate` returns: a run."""
        return self.exponents

    def to_dict(self) -> dict[str, Any]:
        return {
            "law": self.law.name,
            "formula": self.law.formula,
            "source": self.law.source,
            "leading": None if self.leading is None else self.leading.to_dict(),
            "params": dict(self.params),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "level": self.level,
            "resampled": self.resampled,
            "draws": len(next(iter(self.draws.values()), ())),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "objective": self.objective.to_dict(),
            "certificate": self.certificate.to_dict(),
            "exponents": None if self.exponents is None else self.exponents.to_dict(),
            "allocation": None if self.exponents is None else self.exponents.to_dict(),  # its former name
            "points": self.points,
            "scatter": self.scatter,
            "excluded": [row.to_dict() for row in self.excluded],
            "warnings": [note.to_dict() for note in self.warnings],
            "notes": [note.to_dict() for note in self.notes],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row for each parameter: parameter, estimate, low, high (at `level`; NaN without an interval)."""
        import pandas

        nothing = (float("nan"), float("nan"))
        rows = [(name, value, *self.intervals.get(name, nothing)) for name, value in self.params.items()]
        return pandas.DataFrame(rows, columns=["parameter", "estimate", "low", "high"])

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:.4g}" for name, value in self.params.items())
        return f"Fit({self.law.name}: {values}; {self.points} points, objective {self.objective.value:.6g})"


def inputs_of(
    law: Law, params: ArrayLike | None, tokens: ArrayLike | None, inputs: Mapping[str, ArrayLike]
) -> dict[str, np.ndarray]:
    """The law\'s inputs as arrays, flops from params and tokens where it needs them."""
    asked = {"params": params, "tokens": tokens, **inputs}
    given = {name: np.asarray(value, float) for name, value in asked.items() if value is not None}
    if "flops" in law.inputs and "flops" not in given and {"params", "tokens"} <= given.keys():
        given["flops"] = 6 * given["params"] * given["tokens"]
    return given


@dataclass(frozen=True)
class Deviation:
    """What it costs to train at `factor` times the compute-optimal params with the same flops.

    extra_loss: in units of the loss. extra_flops: share of the budget wasted, 1 - C'/C, where C' is the
    smaller budget whose optimum has this loss.
    """

    factor: float
    params: float
    tokens: float
    loss: float
    extra_loss: float
    extra_flops: float


@dataclass(frozen=True, repr=False)
class Allocation:
    """The compute-optimal run at a budget; intervals holds params, tokens and loss. why: this law, in a
    sentence, where none was named."""

    flops: float
    params: float
    tokens: float
    loss: float
    intervals: Mapping[str, Interval]
    level: float
    deviations: tuple[Deviation, ...]
    law: str
    warnings: tuple[Note, ...] = ()
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "law": self.law,
            "why": self.why,
            "flops": self.flops,
            "params": self.params,
            "tokens": self.tokens,
            "loss": self.loss,
            "tokens_per_param": self.tokens / self.params,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "level": self.level,
            "deviations": [vars(deviation) for deviation in self.deviations],
            "warnings": [note.to_dict() for note in self.warnings],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row each for params, tokens and loss: quantity, optimum, low, high (at `level`)."""
        import pandas

        nothing = (float("nan"), float("nan"))
        names = ("params", "tokens", "loss")
        rows = [(name, getattr(self, name), *self.intervals.get(name, nothing)) for name in names]
        return pandas.DataFrame(rows, columns=["quantity", "optimum", "low", "high"])

    def __repr__(self) -> str:
        return (
            f"Allocation({self.flops:.3g} FLOPs: {self.params:.4g} params, {self.tokens:.4g} tokens, "
            f"loss {self.loss:.4f})"
        )
