"""Rows that depend on each other although no column says so: checkpoints, a law that bends otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.notes import Note
from analysis.tables.sample import Sample
from analysis.tables.trajectories import CHECKPOINTS, COPIES, EVEN, SAME, distinct

# Correlation of neighbours' residuals from which rows of one size are one cluster, and pairs to see it by.
CORRELATED, PAIRS = 0.3, 12


def size_groups(params: np.ndarray) -> np.ndarray:
    """For each row the number of its size (n,), rising."""
    # Half a step below the lowest of each size, so that rounding cannot split one.
    edges = np.log(distinct(params)) - SAME / 2
    return np.searchsorted(edges, np.log(params)) - 1


def dependent(rows: Sample, residual: np.ndarray) -> tuple[Sample, tuple[Note, ...]]:
    """The rows with those of one size as a cluster, where they depend on each other, and what to say.

    residual (n,) of the log loss. Rows that a column already puts into clusters are left as they are.
    """
    if (
        rows.clustered_by not in ("", COPIES)
        or not {"params", "tokens"} <= rows.inputs.keys()
        or len(rows) < PAIRS
    ):
        return rows, ()
    groups = size_groups(rows.inputs["params"])
    if int(groups.max()) + 1 < 3 or int(groups.max()) + 1 == len(rows):
        return rows, ()
    if _even(rows.inputs["tokens"], groups):
        text = "tokens rise in even steps at each size: the rows look like checkpoints of one run a size"
        note = Note("checkpoints", f"{text}; intervals take each size as one cluster")
        return replace(rows, clusters=groups, clustered_by="rows of one size"), (note,)
    correlation = _neighbours(rows, residual, groups)
    if correlation is None:
        return rows, ()
    text = (
        f"residuals of neighbours in tokens at one size correlate by {correlation:.2f}: the law bends "
        f"otherwise, or rows are checkpoints of one run; intervals take each size as one cluster"
    )
    return replace(rows, clusters=groups, clustered_by="rows of one size"), (Note("dependent_rows", text),)


def _even(tokens: np.ndarray, groups: np.ndarray) -> bool:
    even = 0
    for group in range(int(groups.max()) + 1):
        steps = np.diff(np.sort(tokens[groups == group]))
        if len(steps) + 1 >= CHECKPOINTS and steps.min() > 0 and steps.std() < EVEN * steps.mean():
            even += len(steps) + 1
    return even > len(tokens) / 2


def _neighbours(rows: Sample, residual: np.ndarray, groups: np.ndarray) -> float | None:
    scale = 1.4826 * float(np.median(np.abs(residual)))
    if scale < 1e-12:
        return None
    size = np.clip(residual / scale, -3, 3)
    tokens = rows.inputs["tokens"]
    order = np.lexsort((tokens, groups))
    pair = (np.diff(groups[order]) == 0) & (np.diff(np.log(tokens[order])) > SAME)
    if pair.sum() < PAIRS:
        return None
    before, after = size[order][:-1][pair], size[order][1:][pair]
    # Of these pairs alone: over the variance of all rows it could exceed 1.
    spread = np.sqrt(float(np.mean(before**2)) * float(np.mean(after**2)))
    correlation = float(np.mean(before * after)) / spread if spread > 0 else 0.0
    return correlation if correlation > max(CORRELATED, 2.6 / np.sqrt(pair.sum())) else None
