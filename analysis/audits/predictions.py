"""Predictions of single runs by a fit, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.audits.blend import Blend, about
from analysis.audits.results import Cell, Score
from analysis.fits.prediction import prediction_interval
from analysis.fits.results import Fit
from analysis.laws.repeated import loss_at
from analysis.tables.sample import Sample
from analysis.tables.table import Runs

AXES = ("params", "tokens", "flops")


def flops_of(rows: Sample) -> np.ndarray:
    if "flops" in rows.inputs:
        return rows.inputs["flops"]
    return rows.inputs["params"] * rows.inputs["tokens"] * 6


def cells_of(fitted: Fit, held: Sample, runs: Runs, level: float, blend: Blend | None = None) -> list[Cell]:
    """Each row of `held` as `fitted` predicts it, or a blend of laws that `fitted` leads."""
    if not len(held):
        return []
    loss, low, high = predicted(fitted, held.inputs, level, blend)
    names = runs.columns.get("run_id")
    absent = np.full(len(held), np.nan)
    columns = [held.inputs.get(name, absent) for name in AXES]
    cells = []
    for index, row in enumerate(held.rows.tolist()):
        measured = float(held.loss[index])
        error = float(loss[index]) - measured
        inside = None if low is None else bool(low[index] <= measured <= high[index])
        cells.append(
            Cell(
                row,
                f"row {row}" if names is None else str(names[row]),
                *(float(values[index]) for values in columns),
                float(loss[index]),
                None if low is None else float(low[index]),
                None if high is None else float(high[index]),
                measured,
                error,
                100 * error / measured,
                inside,
            )
        )
    return sorted(cells, key=lambda cell: (cell.flops, cell.params))


def predicted(
    fitted: Fit, inputs: Mapping[str, np.ndarray], level: float, blend: Blend | None = None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """(loss, low, high), the last two None without draws."""
    if not fitted.draws:
        if blend is None:
            return loss_at(fitted.law, fitted.params, inputs), None, None
        return np.exp(blend.predict(inputs)[0]), None, None
    low, high = prediction_interval(fitted, inputs, level, True)
    if blend is None:
        return loss_at(fitted.law, fitted.params, inputs), low, high
    return about(blend, inputs, low, high, level)


def score_of(cells: Sequence[Cell], kept: Sample) -> Score | None:
    if not cells:
        return None
    percent = np.array([cell.error_percent for cell in cells])
    inside = [cell.inside for cell in cells if cell.inside is not None]
    return Score(
        cells=len(cells),
        mean_abs_error_percent=float(np.abs(percent).mean()),
        max_abs_error_percent=float(np.abs(percent).max()),
        bias_percent=float(percent.mean()),
        coverage=float(np.mean(inside)) if inside else None,
        compute_ratio=float(max(cell.flops for cell in cells) / flops_of(kept).max()),
    )
