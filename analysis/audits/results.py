"""Results of predicting runs that were not fitted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from analysis.fits.leading import Rival
from analysis.fits.results import Fit
from analysis.notes import Note

if TYPE_CHECKING:
    import numpy as np
    import pandas


@dataclass(frozen=True)
class Cell:
    """A held-out run, predicted. Errors are predicted minus measured: in units of the loss, and in percent.

    measured is None for a run that is only predicted (not trained yet). inside: measured lies in [low, high].
    """

    row: int | None
    name: str
    params: float
    tokens: float
    flops: float
    predicted: float
    low: float | None
    high: float | None
    measured: float | None
    error: float | None
    error_percent: float | None
    inside: bool | None


@dataclass(frozen=True)
class Score:
    """The errors over all held-out cells; coverage: share of cells inside their interval.

    compute_ratio: the highest held-out flops over the highest fitted flops.
    """

    cells: int
    mean_abs_error_percent: float
    max_abs_error_percent: float
    bias_percent: float
    coverage: float | None
    compute_ratio: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """Loss of new runs with its interval at `level`, arrays of one shape; low and high None without draws."""

    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    level: float


class Predicts(Protocol):
    """What predicts further runs without another fit: `analysis.audits.forecaster.Forecaster`."""

    def predict(
        self,
        params: float | np.ndarray,
        tokens: float | np.ndarray,
        unique_tokens: float | np.ndarray | None = None,
    ) -> Prediction: ...


@dataclass(frozen=True, repr=False)
class Forecast:
    """Held-out cells predicted by the law fitted to the others. rule: what was held out, in words.

    fit: the law, or with law="auto" the one that weighs most. widened: largest factor on the intervals, from
    how far the same forecast missed earlier, on fitted runs alone; None where these were too few to tell.
    rivals: with law="auto" all laws that were tried, the leading one first; the cells are their blend.
    forecaster: what predicts further runs without another fit.
    """

    fit: Fit
    cells: tuple[Cell, ...]
    score: Score | None
    rule: str
    level: float
    warnings: tuple[Note, ...]
    widened: float | None = None
    rivals: tuple[Rival, ...] = ()
    forecaster: Predicts | None = None

    def predict(
        self,
        params: float | np.ndarray,
        tokens: float | np.ndarray,
        unique_tokens: float | np.ndarray | None = None,
    ) -> Prediction:
        """The loss of runs that have not been trained, by the forecast that predicted the cells: laws
        blended, with the interval at `level` that earlier misses stretched. params, tokens: arrays that
        broadcast; unique_tokens: distinct ones among the tokens, where data are repeated. Nothing is fitted
        again.

        Raises InputError for what is not positive, and where the law needs further inputs.
        """
        assert self.forecaster is not None  # as `forecast` makes it
        return self.forecaster.predict(params, tokens, unique_tokens)

    def to_dict(self) -> dict[str, Any]:
        return {
            "law": self.fit.law.name,
            "leading": None if self.fit.leading is None else self.fit.leading.to_dict(),
            "rule": self.rule,
            "level": self.level,
            "widened": self.widened,
            "rivals": [asdict(rival) for rival in self.rivals],
            "score": None if self.score is None else asdict(self.score),
            "cells": [asdict(cell) for cell in self.cells],
            "fit": self.fit.to_dict(),
            "warnings": [note.to_dict() for note in self.warnings],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row for each predicted run, with the fields of `Cell`."""
        import pandas

        return pandas.DataFrame([asdict(cell) for cell in self.cells])

    def __repr__(self) -> str:
        if self.score is None:
            return f"Forecast({self.fit.law.name}: {len(self.cells)} predicted, none measured)"
        return (
            f"Forecast({self.fit.law.name}: {self.score.cells} held-out cells at up to "
            f"{self.score.compute_ratio:.3g} x the fitted compute, mean error "
            f"{self.score.mean_abs_error_percent:.2f} %)"
        )


@dataclass(frozen=True)
class Step:
    """One window of a rollout: fitted up to `limit` of the axis, scored on the runs beyond it."""

    limit: float
    fitted: int
    score: Score


@dataclass(frozen=True)
class Miss:
    """One prediction of a rollout. distance: the run's place on the axis over the window's limit."""

    limit: float
    distance: float
    row: int | None
    error_percent: float


@dataclass(frozen=True)
class Distance:
    """Errors of all predictions from `low` to `high` times beyond their windows."""

    low: float
    high: float
    predictions: int
    mean_abs_error_percent: float
    bias_percent: float


@dataclass(frozen=True)
class Rollout:
    """Expanding-window scores along an axis (params, tokens or flops), and the errors by distance.

    slope: by how many percentage points the mean error grows for each factor of ten beyond the window, or
    None where all distances are alike.
    """

    axis: str
    law: str
    steps: tuple[Step, ...]
    misses: tuple[Miss, ...] = ()
    distances: tuple[Distance, ...] = ()
    slope: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_frame(self) -> pandas.DataFrame:
        """A row for each prediction of each window, with the fields of `Miss`."""
        import pandas

        return pandas.DataFrame([asdict(miss) for miss in self.misses])
