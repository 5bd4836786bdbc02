"""Results of the IsoFLOP analysis (Approach 2 of Hoffmann et al., arXiv 2203.15556) and of the envelope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.errors import InputError
from analysis.fits.reach import CODES, beyond_levels
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
class Spread:
    """How well a line through log minima is known: variances of its height at log flops = centre and of its
    slope, their covariance, and Student's factor on the normal interval."""

    centre: float
    height: float
    both: float
    slope: float
    factor: float


@dataclass(frozen=True)
class PowerLaw:
    """y = coefficient * flops^exponent; interval is the exponent's. scatter: the standard deviation of the
    log minima about the line; None without draws."""

    exponent: float
    coefficient: float
    interval: Interval | None = None
    spread: Spread | None = None
    scatter: float | None = None

    def __call__(self, flops: ArrayLike) -> np.ndarray:
        return self.coefficient * np.asarray(flops, float) ** self.exponent

    def bounds(self, flops: ArrayLike, level: float) -> tuple[np.ndarray, np.ndarray] | None:
        """(low, high) of y at flops by the line's own uncertainty; None where it has no draws."""
        if self.spread is None:
            return None
        from scipy.special import ndtri

        away = np.log(np.asarray(flops, float)) - self.spread.centre
        variance = self.spread.height + 2 * away * self.spread.both + away**2 * self.spread.slope
        half = self.spread.factor * ndtri(0.5 + level / 2) * np.sqrt(np.maximum(variance, 0.0))
        return self(flops) * np.exp(-half), self(flops) * np.exp(half)


@dataclass(frozen=True)
class Best:
    """The size and tokens that the minima foretell for a budget; the intervals are those of the line, None
    where it has no draws."""

    flops: float
    params: float
    tokens: float
    params_interval: Interval | None
    tokens_interval: Interval | None


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
    approaches: with a law, the exponents by the law, these minima, a parabola's, and the runs' envelope.
    best: the optima of budgets that were asked for.
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
    best: tuple[Best, ...] = ()

    @property
    def exponent(self) -> float | None:
        """Of compute-optimal params in flops."""
        return None if self.params_law is None else self.params_law.exponent

    def at(self, flops: float) -> Best:
        """The compute-optimal run of `flops`, along the power law through the minima, bias taken off where a
        law measured it. Raises InputError without two minima, or for flops that are not positive."""
        if not (np.isfinite(flops) and flops > 0):
            raise InputError(f"at: {flops:g} is not a positive number of FLOPs")
        if self.params_law is None or self.tokens_law is None:
            raise InputError("an optimum at other budgets needs at least two minima")
        law = self.corrected_law or self.params_law
        params = float(law(flops))
        # Along a level tokens fall as params rise.
        product = float(self.params_law(flops) * self.tokens_law(flops))
        pair = law.bounds(flops, self.level)
        return Best(
            flops,
            params,
            product / params,
            None if pair is None else (float(pair[0]), float(pair[1])),
            None if pair is None else (product / float(pair[1]), product / float(pair[0])),
        )

    def asked(self, budgets: Sequence[float]) -> IsoFlop:
        """The same with `best`, the optima of these budgets, and what must be said of those far out."""
        found = tuple(self.at(flops) for flops in budgets)
        levels = [curve.flops for curve in self.curves if curve.minimum is not None]
        said = [note for one in found for note in beyond_levels(one.flops, min(levels), max(levels))]
        said.sort(key=lambda note: CODES.index(note.code))
        return replace(self, best=found, warnings=(*said, *self.warnings))

    def to_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "interpolated": self.interpolated,
            "params": None if self.params_law is None else asdict(self.params_law),
            "tokens": None if self.tokens_law is None else asdict(self.tokens_law),
            "params_corrected": None if self.corrected_law is None else asdict(self.corrected_law),
            "approaches": [asdict(one) for one in self.approaches],
            "best": [asdict(one) for one in self.best],
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
