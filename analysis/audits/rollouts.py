"""Expanding windows: a law fitted up to a limit and scored on what lies beyond it, for growing limits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from analysis.audits.predictions import AXES, cells_of, score_of
from analysis.audits.results import Distance, Miss, Rollout, Step
from analysis.errors import InputError
from analysis.fits.fitting import Settings, fit_sample
from analysis.fits.identify import refuse
from analysis.laws.law import Law
from analysis.laws.named import find
from analysis.solve.objectives import Rho
from analysis.solve.objectives import objective as make_objective
from analysis.tables.sample import Sample, sample
from analysis.tables.table import Runs, as_runs
from analysis.tables.trajectories import distinct

WINDOWS = 6
# Distances at which errors are summed up, in factors beyond the window.
BINS = (1.0, 2.0, 5.0, 10.0, 100.0, float("inf"))


def rollout(
    runs: Any,
    axis: str = "flops",
    law: str | Law = "chinchilla",
    objective: str = "huber",
    delta: float | None = None,
    windows: int = WINDOWS,
) -> Rollout:
    """Fits up to a limit of `axis` and scores on everything beyond, for growing limits (no intervals).

    axis: params, tokens or flops. objective, delta: as `fit` takes them. windows: most limits that are tried.
    Windows from which the law cannot be determined are left out. Raises InputError when none remains.
    """
    if axis not in AXES:
        raise InputError(f"axis: {axis!r} is none of {', '.join(AXES)}")
    law = find(law)
    rho = make_objective(objective, delta, "log", None)
    runs = as_runs(runs)
    return roll(sample(runs, tuple(dict.fromkeys((*law.inputs, axis)))), axis, law, rho, runs, windows)


def roll(
    rows: Sample,
    axis: str,
    law: Law,
    rho: Rho,
    runs: Runs,
    windows: int,
) -> Rollout:
    """`rollout` on rows that are already chosen."""
    along = rows.inputs[axis]
    tried = _candidates(along, 2 * windows)
    limits = [limit for limit in tried if _determines(rows.where(_within(along, limit)), law, runs)]
    # The first and the last window, and an even choice between them, before any of them is paid for.
    picked = np.unique(np.linspace(0, len(limits) - 1, windows).astype(int)).tolist() if limits else []
    steps, missed = [], []
    for limit in (limits[i] for i in picked):
        inside = _within(along, limit)
        try:
            fitted = fit_sample(rows.where(inside), law, runs.source, Settings(rho))
        except InputError:
            continue
        cells = cells_of(fitted, rows.where(~inside), runs, 0.9)
        score = score_of(cells, rows.where(inside))
        if score is not None and np.isfinite([cell.predicted for cell in cells]).all():
            steps.append(Step(float(limit), int(inside.sum()), score))
            missed.append(
                [
                    Miss(float(limit), getattr(cell, axis) / float(limit), cell.row, cell.error_percent)
                    for cell in cells
                    if cell.error_percent is not None
                ]
            )
    if not steps:
        raise InputError(f"{runs.source}: {law.name} cannot be fitted to any window along {axis}")
    kept = tuple(miss for window in missed for miss in window)
    return Rollout(axis, law.name, tuple(steps), kept, tuple(by_distance(kept)), slope(kept))


def _within(along: np.ndarray, limit: float) -> np.ndarray:
    return along <= limit * (1 + 1e-3)


def _determines(rows: Sample, law: Law, runs: Runs) -> bool:
    try:
        refuse(rows, law, runs.source)
    except InputError:
        return False
    return True


def _candidates(along: np.ndarray, most: int) -> np.ndarray:
    """Limits among the distinct places, at even steps of log, never the last: beyond it there is nothing."""
    places = distinct(along)[:-1]
    if len(places) <= most:
        return places
    even = np.geomspace(places[0], places[-1], most)
    return places[np.unique(np.searchsorted(places, even * (1 - 1e-9)).clip(0, len(places) - 1))]


def by_distance(misses: Sequence[Miss]) -> list[Distance]:
    """Errors in bins of distance; bins without a prediction are left out."""
    where = np.array([miss.distance for miss in misses])
    error = np.array([miss.error_percent for miss in misses])
    out = []
    for low, high in pairwise(BINS):
        inside = (where > low) & (where <= high)
        if inside.any():
            part = error[inside]
            far = min(high, float(where[inside].max()))
            out.append(Distance(low, far, int(inside.sum()), float(np.abs(part).mean()), float(part.mean())))
    return out


def slope(misses: Sequence[Miss]) -> float | None:
    """Points of |error| in percent for each factor of ten in distance, by least squares."""
    where = np.log10([miss.distance for miss in misses])
    if len(where) < 3 or np.ptp(where) < 0.1:
        return None
    moved = where - where.mean()
    return float((moved * np.abs([miss.error_percent for miss in misses])).sum() / (moved**2).sum())
