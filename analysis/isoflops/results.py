"""Results of the IsoFLOP analysis (Approach 2 of Hoffmann et al., arXiv 2203.15556) and of the envelope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.intervals.bootstrap import Interval
from analysis.isoflops.curves import basis
from analysis.notes import Excluded, Note

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Minimum:
    """The bottom of one IsoFLOP curve. bias: log(these params / a law's optimum), or None."""

    params: float
    tokens: float
    loss: float
    params_interval: Interval | None = None
    bias: float | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """Runs of one compute level, by rising params; exactly one of `minimum` and `refusal` is set.

    parabola: (c0, c1, c2) of loss = c0 + c1 x + c2 x^2 with x = log(params / centre), a fourth number for a
    cubic, or None where there were too few points; with `powers` (alpha, beta) it is the valley of a law,
    c0 + c1 exp(-alpha x) + c2 exp(beta x). rows: table row of each point, -1 if interpolated.
    """

    flops: float
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    rows: np.ndarray
    centre: float
    parabola: tuple[float, ...] | None
    minimum: Minimum | None
    refusal: str | None
    notes: tuple[Note, ...] = ()
    powers: tuple[float, float] | None = None

    def fitted(self, params: ArrayLike) -> np.ndarray:
        """The fitted curve's loss at `params` (array); raises ValueError where there is no parabola."""
        if self.parabola is None:
            raise ValueError(f"no parabola at {self.flops:.3g} FLOPs: {self.refusal}")
        x = np.log(np.asarray(params, float) / self.centre)
        return basis(x.ravel(), len(self.parabola) - 1, self.powers).dot(self.parabola).reshape(x.shape)

    def to_dict(self) -> dict[str, Any]:
        return {
            "flops": self.flops,
            "params": self.params.tolist(),
            "tokens": self.tokens.tolist(),
            "loss": self.loss.tolist(),
            "rows": self.rows.tolist(),
            "centre": self.centre,
            "parabola": None if self.parabola is None else list(self.parabola),
            "powers": None if self.powers is None else list(self.powers),
            "minimum": None if self.minimum is None else asdict(self.minimum),
            "refusal": self.refusal,
            "notes": [note.to_dict() for note in self.notes],
        }


@dataclass(frozen=True)
class PowerLaw:
    """y = coefficient * flops^exponent; interval is the exponent's."""

    exponent: float
    coefficient: float
    interval: Interval | None = None

    def __call__(self, flops: ArrayLike) -> np.ndarray:
        return self.coefficient * np.asarray(flops, float) ** self.exponent


@dataclass(frozen=True)
class Approach:
    """The exponent of compute-optimal params by one way to get it."""

    name: str
    exponent: float
    interval: Interval | None = None


@dataclass(frozen=True, repr=False, eq=False)
class IsoFlop:
    """IsoFLOP curves and the power laws through their minima (None with fewer than two minima).

    interpolated: the levels were made by interpolating each size's losses along tokens.
    corrected_law: of params, with the method's bias against a fitted law taken off; None without a law.
    approaches: with a law, the exponents by the law, these minima, and the envelope of the runs.
    """

    curves: tuple[Curve, ...]
    params_law: PowerLaw | None
    tokens_law: PowerLaw | None
    method: str
    interpolated: bool
    level: float
    resampled: str
    draws: int
    points: int
    excluded: tuple[Excluded, ...]
    warnings: tuple[Note, ...]
    notes: tuple[Note, ...] = ()
    corrected_law: PowerLaw | None = None
    approaches: tuple[Approach, ...] = ()

    @property
    def exponent(self) -> float | None:
        """Of compute-optimal params in flops."""
        return None if self.params_law is None else self.params_law.exponent

    def to_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "interpolated": self.interpolated,
            "params": None if self.params_law is None else asdict(self.params_law),
            "tokens": None if self.tokens_law is None else asdict(self.tokens_law),
            "params_corrected": None if self.corrected_law is None else asdict(self.corrected_law),
            "approaches": [asdict(one) for one in self.approaches],
            "level": self.level,
            "resampled": self.resampled,
            "draws": self.draws,
            "curves": [curve.to_dict() for curve in self.curves],
            "points": self.points,
            "excluded": [row.to_dict() for row in self.excluded],
            "warnings": [note.to_dict() for note in self.warnings],
            "notes": [note.to_dict() for note in self.notes],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row for each level: flops, points, params, low, high, tokens, loss, bias, refusal."""
        import pandas

        rows = []
        for curve in self.curves:
            row = {"flops": curve.flops, "points": len(curve.params), "refusal": curve.refusal}
            if (found := curve.minimum) is not None:
                low, high = found.params_interval or (float("nan"), float("nan"))
                row |= {"params": found.params, "low": low, "high": high, "tokens": found.tokens}
                row |= {"loss": found.loss, "bias": found.bias}
            rows.append(row)
        names = ["flops", "points", "params", "low", "high", "tokens", "loss", "bias", "refusal"]
        return pandas.DataFrame(rows, columns=names)

    if TYPE_CHECKING:  # its body is in `analysis.api`

        def plot(self, *, ax: Any = None, **options: Any) -> Any: ...

    def __repr__(self) -> str:
        found = sum(curve.minimum is not None for curve in self.curves)
        exponent = "none" if self.exponent is None else f"{self.exponent:.4f}"
        return f"IsoFlop({found} of {len(self.curves)} minima, exponent of params {exponent})"


@dataclass(frozen=True, eq=False)
class Envelope:
    """Runs that no run of less or equal compute beats, by rising flops (Approach 1 of arXiv 2203.15556).

    params_law, tokens_law and loss_law are power laws through them in flops, None with fewer than three runs.
    """

    rows: np.ndarray
    flops: np.ndarray
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    params_law: PowerLaw | None
    tokens_law: PowerLaw | None
    loss_law: PowerLaw | None

    def to_dict(self) -> dict[str, Any]:
        laws: Mapping[str, PowerLaw | None] = {
            "params_law": self.params_law,
            "tokens_law": self.tokens_law,
            "loss_law": self.loss_law,
        }
        arrays = {
            name: getattr(self, name).tolist() for name in ("rows", "flops", "params", "tokens", "loss")
        }
        return arrays | {name: None if law is None else asdict(law) for name, law in laws.items()}

    def to_frame(self) -> pandas.DataFrame:
        """A row for each run on the envelope: row, flops, params, tokens, loss."""
        import pandas

        columns = {"row": self.rows, "flops": self.flops, "params": self.params, "tokens": self.tokens}
        return pandas.DataFrame({**columns, "loss": self.loss})
