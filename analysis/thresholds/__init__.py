"""Thresholds of abilities: is there a break, in what, and would it be there with other seeds?

`detect` takes the long table of ability scores and returns one verdict for each task and metric. The
modules, in the order in which a verdict comes about: `scores` (rows to cells, and the gates that data must
pass), `replicates` (which rows are seeds), `likelihood` and `fits` (scores given a curve, for thousands of
data sets at once), `shapes` (the candidate curves), `null` (significance of a break by simulation under the
smooth curve), `seeds` (two modes among seeds), `metric_effect` (does the metric make the jump), `locations`
(the three thresholds), `family` (many tests at once), `verdict`; and `over_plane` (loss collapse and
frontier).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.thresholds.result import (
    Calibration,
    Gates,
    Places,
    SeedSd,
    Series,
    Threshold,
    Thresholds,
)

__all__ = [
    "Calibration",
    "Gates",
    "Places",
    "SeedSd",
    "Series",
    "Threshold",
    "Thresholds",
    "detect",
]


def detect(
    abilities: Any,
    axis: str = "params",
    seed_sd: float | None = None,
    alpha: float = 0.05,
    draws: int = 500,
    seed: int = 0,
    calibrate: bool | Sequence[str] = False,
) -> Thresholds:
    """Verdicts on every task and metric of a long table of ability scores.

    abilities: a pandas DataFrame with the columns of the abilities table (task, metric, score or correct and
    items, the axis column; optional seed, chance, stderr, cluster), or a Runs that holds one as `.abilities`.
    axis: params, tokens, flops or loss_nats. seed_sd: standard deviation between seeds in logits, for tables
    with one seed a size. alpha: level, for the false discovery rate over tasks. draws: most simulated data
    sets per series. calibrate: also measure false positives and power on this very design, for all series or
    for those of the metrics named.

    Raises InputError, with every problem of the table at once.
    """
    from analysis.thresholds.detector import run

    return run(abilities, axis, seed_sd, alpha, draws, seed, calibrate)
