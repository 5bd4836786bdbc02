"""The column of scores, or why it cannot be one."""

from __future__ import annotations

import numpy as np

from analysis.errors import InputError
from analysis.tables.columns import nearest
from analysis.tables.formulas import FormulaError, evaluate
from analysis.tables.sample import Sample, sample
from analysis.tables.table import Runs, numbers


def scored(runs: Runs, score: str) -> tuple[Sample, np.ndarray]:
    """(rows that have a loss and a score, the scores). In a store a score is named task/metric; elsewhere it
    is a column or a formula over columns: `1-error`, `0.01*percent`.

    Raises InputError when there is no such column, or its values are no shares of items.
    """
    rows = sample(runs, ("params", "tokens"))
    column = _column(runs, score)
    values = column[rows.rows]
    good = np.isfinite(values)
    if not good.any():
        raise InputError(f"{runs.source}: {score} has no number in the {len(rows)} rows with a loss")
    low, high = float(values[good].min()), float(values[good].max())
    if 2 < high <= 100 and low >= 0:
        raise InputError(
            f"{runs.source}: {score} runs from {low:g} to {high:g}, as percent do; a score is a share from 0 "
            f"to 1: --score '0.01*{score}'"
        )
    bad = np.flatnonzero(good & ((values < 0) | (values > 1)))
    if len(bad):
        shown = ", ".join(f"row {rows.rows[i]} has {values[i]:g}" for i in bad[:3])
        more = f", and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise InputError(
            f"{runs.source}: {score} must be a share from 0 to 1 of items answered correctly: {shown}{more}"
        )
    if low == high:
        raise InputError(f"{runs.source}: {score} is {low:g} in every usable row; there is nothing to fit")
    return rows.where(good, f"{score} is missing"), values[good]


def _column(runs: Runs, score: str) -> np.ndarray:
    if score in runs.columns:
        return numbers(runs.columns[score])
    if runs.store and "/" in score:
        task, metric = score.split("/", 1)
        same = [row for row in runs.ability_rows if (row["task"], row["metric"]) == (task, metric)]
        if not same:
            known = {f"{row['task']}/{row['metric']}" for row in runs.ability_rows}
            raise InputError(f"{runs.source}: no score {score!r}{nearest(score, sorted(known))}")
        by_run = {row["run_id"]: row["score"] for row in same}
        return np.array([by_run.get(run, np.nan) for run in runs.columns["run_id"].tolist()], float)
    try:
        return evaluate(score, runs.columns)  # tables of errors, and of percent
    except FormulaError as error:
        name = error.unknown or score
        if not error.unknown:
            raise InputError(f"{runs.source}: --score: {error}") from None
    names = [name for name, values in runs.columns.items() if values.dtype.kind in "fiu"]
    raise InputError(f"{runs.source}: no column {name!r} to be the score{nearest(name, names)}")
