"""What `detect` returns: one `Series` for each task and metric, and the JSON of `lab thresholds`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.notes import Note

VERDICTS = (
    "emergent",
    "smooth",
    "flat",
    "inverse",
    "u_shaped",
    "seed_bimodal",
    "metric_artifact",
    "floor_limited",
    "invalid",
    "undecided",
)
SHAPES = (
    "flat",
    "smooth",
    "power_law",
    "sigmoid",
    "hinge",
    "step",
    "broken_power_law",
    "non_monotone",
    "seed_mixture",
)

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class SeedSd:
    """Standard deviation between seeds, in logits (in log nats for a continuous metric)."""

    value: float | None
    source: str  # estimated | given | pooled | unknown


@dataclass(frozen=True)
class Threshold:
    """A place on the axis, in its own unit (parameters, tokens, FLOPs or nats), with a 95 % interval."""

    value: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Places:
    """Three thresholds that are never the same number, so each has its name.

    elbow: where the slope changes (in logits). half: where the score is half-way from chance to its
    ceiling. detectable: the first size whose lower bound beats chance; it falls as items are added, so it
    belongs to the test set as much as to the model.
    """

    elbow: Threshold = Threshold()
    half: Threshold = Threshold()
    detectable: Threshold = Threshold()


@dataclass(frozen=True)
class Calibration:
    """Measured on the user's own sizes, seeds and items: rates of calling a break at `level`, that of one
    more call among all tasks of the table.

    elbow_factor: the factor by which the elbow of a strong break is missed (root mean square in logs); None
    on the loss axis, whose places have no ratio.
    """

    false_positive_rate: float
    power: float
    draws: int
    elbow_factor: float | None = None
    level: float = 0.05


@dataclass(frozen=True)
class Gates:
    """None where the question could not be asked."""

    valid: bool = True
    above_chance: bool | None = None
    continuous_break: bool | None = None
    metric_explains: float | None = None  # share of the jump that the smooth continuous metric reproduces


@dataclass(frozen=True)
class Series:
    """The verdict on one task and metric along one axis, its evidence, and the data to draw it.

    Arrays: `x`, `score`, `seed`, `items` have one entry a cell (one run's score; `items` is NaN where
    unknown), sorted by `x`, in the axis' own unit. `grid`, `leading_curve`, `smooth_curve` are the fitted
    scores of the leading shape and of the smooth null on a fine grid of the axis; empty when nothing was
    fitted. breaks_in: the continuous metric of the task that breaks, where this one does not. `score` of
    gold_nats is in nats per answer token, so lower is better; all others lie in [0, 1].
    """

    task: str
    metric: str
    axis: str
    verdict: str
    leading: str | None
    seed_sd: SeedSd
    p_value: float | None
    q_value: float | None
    thresholds: Places
    models: tuple[tuple[str, float], ...]
    calibration: Calibration | None
    gates: Gates
    warnings: tuple[Note, ...]
    chance: float | None
    x: np.ndarray
    score: np.ndarray
    seed: np.ndarray
    items: np.ndarray
    grid: np.ndarray
    leading_curve: np.ndarray
    smooth_curve: np.ndarray
    breaks_in: str | None = None

    @property
    def sizes(self) -> np.ndarray:
        """Distinct places on the axis, ascending."""
        return np.unique(self.x)

    @property
    def seeds(self) -> int:
        """Seeds at the place that has most of them; other models of its size are none."""
        if any(note.code == "other_models" and "not seeds" in note.text for note in self.warnings):
            return 1
        return int(np.unique(self.x, return_counts=True)[1].max()) if self.x.size else 0

    def to_dict(self) -> dict:
        """The JSON contract of `lab thresholds` for one series; NaN and infinities become null."""
        places = {
            name: {"value": _number(place.value), "interval": _pair(place.interval)}
            for name, place in vars(self.thresholds).items()
        }
        return {
            "task": self.task,
            "metric": self.metric,
            "axis": self.axis,
            "verdict": self.verdict,
            "leading": self.leading,
            "seed_sd": {"value": _number(self.seed_sd.value), "source": self.seed_sd.source},
            "p_value": _number(self.p_value),
            "q_value": _number(self.q_value),
            "thresholds": places,
            "models": [{"name": name, "weight": _number(weight)} for name, weight in self.models],
            "calibration": vars(self.calibration).copy() if self.calibration else None,
            "gates": {k: _number(v) if isinstance(v, float) else v for k, v in vars(self.gates).items()},
            "warnings": [note.to_dict() for note in self.warnings],
        }

    def __repr__(self) -> str:
        parts = [f"{self.task}/{self.metric}: {self.verdict}"]
        if self.leading:
            parts.append(f"leading {self.leading}")
        if self.p_value is not None:
            parts.append(f"p {self.p_value:.3g}")
        if self.thresholds.elbow.value is not None:
            parts.append(f"elbow {self.thresholds.elbow.value:.3g} {self.axis}")
        return f"Series({', '.join(parts)})"


@dataclass(frozen=True)
class Thresholds:
    """All series of a table, in the order of tasks and metrics."""

    series: tuple[Series, ...]
    axis: str
    alpha: float

    def __getitem__(self, key: tuple[str, str] | str | int) -> Series:
        """By position, by task (its first series), or by (task, metric).

        Raises KeyError when there is no such series.
        """
        if isinstance(key, int):
            return self.series[key]
        task, metric = (key, None) if isinstance(key, str) else key
        for one in self.series:
            if one.task == task and metric in (None, one.metric):
                return one
        raise KeyError(key)

    def to_dict(self) -> dict:
        """The one JSON object of `lab thresholds --json`."""
        return {"series": [one.to_dict() for one in self.series]}

    def to_frame(self) -> pandas.DataFrame:
        """A row for each series: task, metric, verdict, leading, p, q, and the three thresholds."""
        import pandas

        rows = []
        for one in self.series:
            row: dict[str, Any] = {
                "task": one.task,
                "metric": one.metric,
                "verdict": one.verdict,
                "leading": one.leading,
            }
            row |= {"p_value": one.p_value, "q_value": one.q_value}
            rows.append(row | {name: place.value for name, place in vars(one.thresholds).items()})
        return pandas.DataFrame(rows)

    def __repr__(self) -> str:
        return "Thresholds(\n" + "".join(f"  {one!r}\n" for one in self.series) + ")"

    def _repr_html_(self) -> str:
        from html import escape

        head = "<tr><th>task<th>metric<th>verdict<th>leading<th>p<th>q<th>elbow<th>half<th>detectable</tr>"
        rows = []
        for one in self.series:
            places = (one.thresholds.elbow, one.thresholds.half, one.thresholds.detectable)
            cells = [
                one.task,
                one.metric,
                one.verdict,
                one.leading or "",
                short(one.p_value),
                short(one.q_value),
            ]
            cells += [short(place.value) for place in places]
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells) + "</tr>")
        return f"<table>{head}{''.join(rows)}</table>"


def short(value: float | None) -> str:
    """Three digits, or nothing at all where there is no number."""
    return "" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _pair(interval: Sequence[float] | None) -> list[float | None] | None:
    return None if interval is None else [_number(end) for end in interval]
