"""Rows that are checkpoints of one run, copies of one record, or a sweep, as the columns tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from analysis.tables.columns import normal
from analysis.tables.units import labelled

# Sizes and budgets closer than this are one.
SAME = 1e-3
# Checkpoints are saved at even steps; budgets of separate runs are spaced by factors.
EVEN, CHECKPOINTS = 0.05, 8
# Of the rows, from which share on a table is one of checkpoints.
MOST = 0.5
# Columns that say how far a run had come.
_PROGRESS = re.compile(
    r"^(currentsteps?|globalstep|checkpoint|ckpt|checkpointstep|iter|iteration|step|progress)$"
)
_TUNED = re.compile(
    r"(^|max|peak|base|best)(lr|learningrate)$|learningrate|batchsize|batchtokens|gbsz?$|^bs$|weightdecay|^wd$"
    r"|warmup|dropout|optimi[sz]er$|schedule|beta[12]$|^momentum$|clip"
)
COPIES = "exact copies are one"
UNFINISHED = "losses before a schedule's end lie above those of finished runs"


def segments(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """For each row the number of its stretch (n,), in the table's order, of one size and rising tokens."""
    cut = (np.abs(np.diff(np.log(params))) > SAME) | (np.diff(tokens) <= 0)
    return np.concatenate([[0], cut.cumsum()])


def evenly(tokens: np.ndarray) -> bool:
    """Whether rising tokens lie at even steps, a last shorter one aside."""
    steps = np.diff(tokens)
    if len(tokens) < CHECKPOINTS or steps.min() <= 0:
        return False
    middle = float(np.median(steps))
    return bool(np.mean(np.abs(steps - middle) < EVEN * middle) >= 0.8)


def checkpoints(
    params: np.ndarray, tokens: np.ndarray, columns: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """The run of each row (n,), where most rows are checkpoints of runs, else None. columns: of these rows.

    Runs are told by the table's order: one size, tokens rising in even steps, or beside a column of steps. In
    a table of another order a run is what shares size and all columns of text, where its tokens never repeat.
    """
    step = [
        values
        for name, values in columns.items()
        if _PROGRESS.match(normal(name)) and values.dtype.kind in "fiu"
    ]
    keyed = _sorted(params, tokens, columns)
    for run in (segments(params, tokens), keyed):
        if run is None:
            continue
        count = np.bincount(run)
        if len(count) == len(run) or len(count) < 2:
            continue
        found = 0
        for one in np.flatnonzero(count >= CHECKPOINTS):
            rows = np.flatnonzero(run == one)
            rows = rows[np.argsort(tokens[rows], kind="stable")]
            rising = any((np.diff(values[rows]) > 0).all() for values in step)
            found += len(rows) * bool(rising or evenly(tokens[rows]))
        if found > MOST * len(run):
            return _fewer(run, keyed)
    return None


def _sorted(params: np.ndarray, tokens: np.ndarray, columns: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The rows (n,) numbered by size and columns of text, or None where one of these repeats its tokens."""
    texts = [values for values in columns.values() if values.dtype.kind == "O"]
    labels = [labelled(values.tolist())[1] for values in texts]
    labels = [label for label in labels if label.max() + 1 <= len(params) / 2]
    key = np.stack([np.round(np.log(params) / SAME).astype(int), *labels])
    run = np.unique(key, axis=1, return_inverse=True)[1].ravel()
    places = np.stack([run, np.round(np.log(tokens) / SAME).astype(int)])
    return run if np.unique(places, axis=1).shape[1] == len(params) else None


def _fewer(run: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """The coarser of two ways to number runs: a file that is not in order cuts them to pieces."""
    return run if other is None or other.max() >= run.max() else other


def copies(*values: np.ndarray) -> np.ndarray | None:
    """For each row the number of its record (n,), where some repeat another in all values, else None."""
    index = np.unique(np.stack(values), axis=1, return_inverse=True)[1].ravel()
    return index if len(index) and index.max() + 1 < len(index) else None


def swept(
    params: np.ndarray, tokens: np.ndarray, loss: np.ndarray, columns: Mapping[str, np.ndarray]
) -> str | None:
    """What to say where runs of equal params and tokens differ in a rate, a batch or the like, else None."""
    cell = np.unique(np.round(np.log(np.stack([params, tokens])) / SAME), axis=1, return_inverse=True)[
        1
    ].ravel()
    several = np.flatnonzero(np.bincount(cell) > 1)
    names, cells = [], set()
    for name, values in columns.items():
        if not _TUNED.search(normal(re.split(r"[/.]", name)[-1])):
            continue
        labels = labelled(values.tolist())[1]
        differ = {int(one) for one in several if np.ptp(labels[cell == one]) > 0}
        if len(differ) > 0.2 * (cell.max() + 1):
            names.append(name)
            cells |= differ
    if not names:
        return None
    spread = float(np.median([np.ptp(np.log(loss[cell == one])) for one in cells]))
    if spread < 0.002:
        return None
    percent = float(f"{100 * spread:.2g}")
    return (
        f"{len(cells)} of {cell.max() + 1} pairs of params and tokens have runs that differ in "
        f"{' and '.join(map(repr, names[:3]))}, by {percent:g} % of the loss: the law goes "
        f"through all of them; --lowest keeps the best run of each pair"
    )


def distinct(values: np.ndarray) -> np.ndarray:
    """Values that differ by more than a tenth of a percent, rising."""
    if not len(values):
        return values
    # Rounded first, so that a million values stay a few thousand; then each at least SAME above the last.
    fine, first = np.unique(np.round(np.log(values) / (SAME / 10)), return_index=True)
    kept, last = [], -np.inf
    for place, index in zip(fine.tolist(), first.tolist(), strict=True):
        if place - last > 10:
            kept.append(index)
            last = place
    return values[kept]
