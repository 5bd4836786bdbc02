"""Single runs that do not go with the others: a fall between sizes, and a model far off every curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.notes import Note
from analysis.thresholds import fits, scores
from analysis.thresholds.scores import Cells
from analysis.thresholds.tails import student_both

_FEWEST = 6  # sizes needed to say that one is odd
_LEVEL = 0.05  # of a run being called odd, over all of a series
_FALL = 5.0  # standard errors of the items between neighbouring sizes
_LEAST_FALL = 0.05  # of score
_SCATTERED = 3  # such falls from which no single run is the odd one


def falls(cells: Cells) -> list[Note]:
    """A remark where a rising score falls from one size to a larger one by far more than its items allow."""
    if cells.continuous or cells.x.size < 3:
        return []
    total = np.bincount(cells.size, cells.items)
    score = cells.pooled
    error2 = np.maximum(score * (1 - score), 0.25 / total) / total
    inner = [
        np.var(cells.score[cells.size == i], ddof=1) / n if n > 1 else 0.0 for i, n in enumerate(cells.seeds)
    ]
    error2 = np.maximum(error2, inner)
    drop = score[:-1] - score[1:]
    sigmas = drop / np.sqrt(error2[:-1] + error2[1:])
    odd = np.flatnonzero((sigmas > _FALL) & (drop > _LEAST_FALL))
    if odd.size == 0 or score[-1] <= score[0]:
        return []
    at = odd[drop[odd].argmax()]
    if odd.size >= _SCATTERED and cells.x.size >= 10:
        text = (
            f"{odd.size} falls between neighbours, by up to {drop.max():.2g}: models of different recipes "
            "in one series, so what holds along it need not hold within any of them"
        )
        return [Note("mixed_models", text)]
    text = (
        f"not monotone: {score[at + 1]:.3g} at {cells.place[at + 1]:.4g} {cells.axis} after {score[at]:.3g} "
        f"at {cells.place[at]:.4g}, lower by {sigmas[at]:.0f} standard errors: runs differ by more than that"
    )
    return [Note("non_monotone", text)]


def mixed(cells: Cells) -> bool:
    """Are these models of different recipes, by the scatter of their scores?"""
    return any(note.code == "mixed_models" for note in falls(cells))


def set_aside(cells: Cells) -> Cells:
    """The cells without those that lie far off the curve of all others, each named in a note.

    Where every size has one run, or different models share a size, one of them can have a fault of its own (a
    format it was not made for, a tokenizer) that is no property of its size. Up to a tenth of the runs, one
    at a time, in a series of different recipes only those that are low: the largest externally studentised
    residual, in logits, about the best of a line, a bend and a step through the other runs, at 5 % over all
    runs (Bonferroni). A last run that is high stays: that is what an ability that appears looks like.
    """
    cells = begun(cells)
    assumed = any(note.code == "replicates_assumed" for note in cells.notes)
    if cells.faults or cells.x.size < _FEWEST or (cells.seeds.max() > 1 and not assumed):
        return cells
    low_only, out = mixed(cells), cells
    for _ in range(max(1, cells.size.size // 10)):
        found = _oddest(out, low_only)
        if found is None:
            break
        index, expected = found
        text = (
            f"{out.score[index]:.3g} at {out.place[out.size[index]]:.4g} {out.axis}, where all others "
            f"lead one to expect about {expected:.2g}: a run with its own fault? Left out of the curves"
        )
        out = _without(out, index, Note("outlier", text))
        if out.x.size < _FEWEST - 1:
            break
    return out


def begun(cells: Cells) -> Cells:
    """The cells without places, at the beginning of an axis other than size, that score exactly 0 where
    chance cannot: models that do not answer yet. To come up to chance is no ability."""
    if cells.continuous or cells.axis == "params" or not cells.chance:
        return cells
    hits = np.bincount(cells.size, cells.correct)
    first = int(np.argmax(hits > 0)) if hits.any() else 0
    if first == 0 or cells.x.size - first < 2:
        return cells
    kept = scores.take(cells, np.flatnonzero(cells.size >= first))
    return replace(kept, size=kept.size - first, x=kept.x[first:], place=kept.place[first:])


def _oddest(cells: Cells, low_only: bool) -> tuple[int, float] | None:
    """Index of the cell that is farthest off, and the score expected of it; None where all go together."""
    y, error2 = _values(cells)
    x = cells.x[cells.size]
    last = x == x.max()
    p_least, found = _LEVEL / y.size, None
    designs = _designs(cells.x)
    for i in range(y.size):
        rest = np.arange(y.size) != i
        if x[i] == x.min() or not _apart(y, x, i):
            continue  # where a curve begins is free
        best = None
        for design in designs:
            full = design[cells.size]
            weight = 1 / np.sqrt(error2 + np.median(error2) + 1e-4)
            a, b = full[rest] * weight[rest, None], y[rest] * weight[rest]
            theta, _, rank, _ = np.linalg.lstsq(a, b, rcond=None)
            left = rest.sum() - rank
            if rank < full.shape[1] or left < 2:
                continue
            rss = float(((b - a @ theta) ** 2).sum())
            size = rest.sum()
            # A bend and a step have a place besides, which is a parameter too.
            score = size * np.log(max(rss, 1e-12) / size) + (rank + (rank > 2)) * np.log(size)
            if best is None or score < best[0]:
                best = score, theta, full[i], rss / left, left, np.linalg.pinv(a.T @ a), weight[i]
        if best is None:
            continue
        _, theta, row, variance, left, inverse, weight = best
        expected = float(row @ theta)
        off = y[i] - expected
        if off > 0 and (last[i] or low_only):
            continue
        # The residual variance of few runs that happen to agree is no less than what their items make of it.
        scale = np.sqrt(max(variance, _least(error2, weight)) * (1 / weight**2 + row @ inverse @ row))
        p = student_both(abs(off) / scale, left)
        if p < p_least:
            p_least, found = p, (i, _score(cells, expected))
    return found


def _apart(y: np.ndarray, x: np.ndarray, index: int) -> bool:
    """Beyond the values of all its neighbours, two places on either side: the first run on a plateau is far
    off the curve below it, and no fault."""
    order = np.unique(x)
    place = int(np.searchsorted(order, x[index]))
    near = order[max(place - 2, 0) : place + 3]
    others = y[np.isin(x, near) & (np.arange(y.size) != index)]
    if not others.size:
        return False
    wide = max(0.5, 0.5 * float(np.ptp(others)))
    return bool(y[index] > others.max() + wide or y[index] < others.min() - wide)


def _least(error2: np.ndarray, weight: float) -> float:
    """Smallest residual variance believed, in units of the weights: seeds differ by a tenth of a logit."""
    return (0.01 + float(np.median(error2))) * weight**2


def _values(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Logits less what chance gives, or the values of a continuous metric, and their known variance."""
    if cells.continuous:
        return cells.value, cells.variance
    k, n = cells.correct, cells.items
    return np.log((k + 0.5) / (n - k + 0.5)), 1 / (k + 0.5) + 1 / (n - k + 0.5)


def _score(cells: Cells, value: float) -> float:
    return (
        float(cells.measure.score(np.array(value))) if cells.continuous else float(1 / (1 + np.exp(-value)))
    )


def _designs(x: np.ndarray) -> list[np.ndarray]:
    """Designs (K, Q) of a line, of every bend at a size and of every step between two."""
    line = fits.line_design(x)[0]
    bends = list(fits.hinge_design(x, x[1:-1]))
    steps = list(fits.step_design(x)[0])
    return [line, *bends, *steps]


def _without(cells: Cells, index: int, note: Note) -> Cells:
    keep = np.arange(cells.size.size) != index
    kept = scores.take(cells, np.flatnonzero(keep))
    used = np.unique(kept.size)
    size = np.searchsorted(used, kept.size)
    return replace(kept, size=size, x=kept.x[used], place=kept.place[used], notes=(*kept.notes, note))
