"""What a score is predicted to be, by which ways, and how that was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.errors import InputError
from analysis.intervals.bootstrap import Interval
from analysis.notes import Note

if TYPE_CHECKING:
    import pandas

    from analysis.downstreams.mixing import Mixture


@dataclass(frozen=True)
class Way:
    """One way to predict the score. weight: its share in the prediction, by its earlier errors. Errors are
    mean absolute ones, in units of the score: of forecasts within the fitted runs, and of held-out runs; None
    where it could not be tried."""

    name: str
    parameters: int
    weight: float
    earlier_error: float | None
    held_out_error: float | None


@dataclass(frozen=True)
class ScoreCell:
    """A run that was not fitted, or is only asked about (measured None). error: predicted minus measured."""

    row: int | None
    params: float
    tokens: float
    predicted: float
    low: float | None
    high: float | None
    measured: float | None
    error: float | None
    inside: bool | None


@dataclass(frozen=True, repr=False, eq=False)
class Downstream:
    """A prediction of a score from params and tokens, by the mixture of `ways` (heaviest first).

    formula, params, intervals: of the heaviest way. windows: how many earlier forecasts the weights and the
    intervals stand on. held_out_error: mean size over held-out cells; coverage: share inside the interval.
    """

    ways: tuple[Way, ...]
    formula: str
    params: Mapping[str, float]
    intervals: Mapping[str, Interval]
    cells: tuple[ScoreCell, ...]
    score: str
    level: float
    points: int
    windows: int
    held_out_error: float | None
    coverage: float | None
    warnings: tuple[Note, ...]
    notes: tuple[Note, ...]
    mixture: Mixture = field(repr=False)

    def predict(self, params: ArrayLike, tokens: ArrayLike) -> np.ndarray:
        """The score at params and tokens (arrays broadcast)."""
        return self.mixture.predict(params, tokens)

    def predict_interval(
        self, params: ArrayLike, tokens: ArrayLike, level: float | None = None, new_run: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) for the score of a new run, or with new_run=False of the law. InputError without
        draws."""
        if not self.mixture.parts[0].draws:
            raise InputError("this fit has no bootstrap draws; fit with bootstrap > 0 for intervals")
        return self.mixture.interval(params, tokens, level or self.level, new_run)

    def to_dict(self) -> dict[str, Any]:
        return {
            "way": self.ways[0].name,
            "score": self.score,
            "formula": self.formula,
            "params": dict(self.params),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "level": self.level,
            "ways": [asdict(one) for one in self.ways],
            "windows": self.windows,
            "held_out_error": self.held_out_error,
            "coverage": self.coverage,
            "cells": [asdict(one) for one in self.cells],
            "points": self.points,
            "warnings": [note.to_dict() for note in self.warnings],
            "notes": [note.to_dict() for note in self.notes],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row for each predicted run, with the fields of `ScoreCell`."""
        import pandas

        return pandas.DataFrame([asdict(cell) for cell in self.cells])

    def __repr__(self) -> str:
        named = ", ".join(f"{way.name} {way.weight:.0%}" for way in self.ways if way.weight)
        return f"Downstream({self.score} by {named}: {self.points} runs)"
