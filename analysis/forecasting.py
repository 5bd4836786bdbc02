"""Predicts runs that were not fitted, and scores the predictions that can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.cells import AXES, cells_at, cells_of, flops_of, score_of
from analysis.errors import InputError
from analysis.fitting import fit_sample
from analysis.forecasts import Cell, Forecast, Rival, Rollout, Score, Step
from analysis.identify import distinct
from analysis.law import Law
from analysis.laws import LAWS, find
from analysis.notes import Note
from analysis.objectives import objective as make_objective
from analysis.ranking import rank
from analysis.results import Fit
from analysis.sample import Sample, sample
from analysis.table import Runs, as_runs

# Ten times the fitted compute is the distance at which forecasts are compared; less where the table is small.
FACTORS = (10.0, 5.0, 3.0, 2.0)
# Held-out cells from which a quantile of their misses can be taken.
ENOUGH = 5


def forecast(
    runs: Any,
    law: str | Law = "auto",
    objective: str = "huber",
    delta: float | None = None,
    residual: str = "log",
    over_weight: float | None = None,
    bootstrap: int = 1000,
    method: str = "auto",
    level: float = 0.9,
    seed: int = 0,
    holdout_factor: float | None = None,
    at: Sequence[tuple[float, float]] = (),
) -> Forecast:
    """The law fitted to some rows, its predictions for the others.

    Held out are the rows that the table marks (column held_out), or with holdout_factor f the rows of more
    than 1/f of the largest compute; without either the largest f of 10, 5, 3, 2 that leaves a table to fit.
    law: a name, a Law, or `auto` for the one that did best one step earlier, on the fitted rows alone.
    at: further (params, tokens) to predict; then nothing is held out unless asked for.
    Raises InputError when no split leaves a table from which the law can be determined.
    """
    rho = make_objective(objective, delta, residual, over_weight)
    chosen = find(law) if law != "auto" else LAWS["chinchilla"]
    if holdout_factor is not None and not (np.isfinite(holdout_factor) and holdout_factor > 1):
        raise InputError(f"holdout factor: {holdout_factor} is not a number above 1")
    if bad := [pair for pair in at if not all(np.isfinite(v) and v > 0 for v in pair)]:
        raise InputError(*(f"params and tokens must be positive numbers, not {pair}" for pair in bad))
    runs = as_runs(runs)
    rows = sample(runs, chosen.inputs)
    options = (chosen, rho, bootstrap if law != "auto" else 0, method, level, seed, runs.source)
    fitted, held, rule = _split(rows, holdout_factor, bool(at), options)
    rivals: tuple[Rival, ...] = ()
    if law == "auto":
        rivals = rank(rows.where(~held), rows.where(held), runs, rho)
        options = (find(rivals[0].law), rho, bootstrap, method, level, seed, runs.source)
        fitted = _fit(rows, held, options)
    widened = _one_step_earlier(rows.where(~held), options, runs, level) if fitted.draws else None
    cells = cells_of(fitted, rows.where(held), runs, level) + cells_at(fitted, at, level)
    cells = [_widen(cell, widened or 1.0) for cell in cells]
    score = score_of([cell for cell in cells if cell.measured is not None], rows.where(~held))
    said = (*_scored(score, level), *fitted.warnings)
    return Forecast(fitted, tuple(cells), score, rule, level, said, widened, rivals)


def _one_step_earlier(rows: Sample, options, runs: Runs, level: float) -> float | None:
    """By how much the fitted runs' own last stretch of compute asks to widen the intervals, at least 1.

    The law is fitted without it and predicts it; the factor is the level's quantile of |error| / half-width
    (split-conformal, Lei et al. 2018, with the split along compute). A law that bends shows it there first.
    """
    flops = flops_of(rows)
    law, rho, bootstrap, method, _, seed, source = options
    for trial in FACTORS:
        held = flops > flops.max() / trial
        if held.sum() < ENOUGH:
            continue
        try:
            earlier = fit_sample(
                rows.where(~held), law, rho, min(bootstrap, 300), method, level, seed, source
            )
        except InputError:
            continue
        cells = cells_of(earlier, rows.where(held), runs, level)
        misses = []
        for cell in cells:
            edge = cell.high if cell.measured > cell.predicted else cell.low
            half = max(abs(np.log(edge / cell.predicted)), 1e-12)
            misses.append(abs(np.log(cell.measured / cell.predicted)) / half)
        rank = min(int(np.ceil((len(misses) + 1) * level)), len(misses)) - 1
        return max(1.0, float(np.sort(misses)[rank]))
    return None


def _widen(cell: Cell, factor: float) -> Cell:
    """The cell with its interval stretched about the prediction, in logs."""
    if cell.low is None or factor == 1.0:
        return cell
    low = cell.predicted * (cell.low / cell.predicted) ** factor
    high = cell.predicted * (cell.high / cell.predicted) ** factor
    inside = None if cell.measured is None else bool(low <= cell.measured <= high)
    return replace(cell, low=low, high=high, inside=inside)


def _split(rows: Sample, factor: float | None, asked: bool, options) -> tuple[Fit, np.ndarray, str]:
    """(the fit, which rows are held out, the rule in words)."""
    if rows.held_out.any() and factor is None:
        return _fit(rows, rows.held_out, options), rows.held_out, "rows that the table marks as held out"
    flops = flops_of(rows)
    if factor is None and asked:
        nothing = np.zeros(len(rows), bool)
        return _fit(rows, nothing, options), nothing, "nothing: all rows were fitted"
    problems = None
    for trial in FACTORS if factor is None else (factor,):
        held = flops > flops.max() / trial
        try:
            fitted = _fit(rows, held, options)
        except InputError as error:
            problems = problems or error
            continue
        return fitted, held, f"rows of more than 1/{trial:g} of the largest compute ({flops.max():.3g} FLOPs)"
    raise InputError(*problems.problems, "a smaller --holdout-factor leaves more rows to fit")


def _fit(rows: Sample, held: np.ndarray, options) -> Fit:
    law, rho, bootstrap, method, level, seed, source = options
    kept = rows.where(~held, "held out")
    return fit_sample(kept, law, rho, bootstrap, method, level, seed, source)


def _scored(score: Score | None, level: float) -> list[Note]:
    if score is None or score.coverage is None or score.cells < 5:
        return []
    # Three standard deviations of a binomial share; cells of one run are alike, so this is no sharp test.
    slack = 3 * np.sqrt(level * (1 - level) / score.cells)
    if score.coverage < level - slack:
        text = (
            f"{score.coverage:.0%} of the held-out cells lie in their {level:.0%} interval; do not go further"
        )
        return [Note("held_out_missed", text)]
    return []


def rollout(
    runs: Any,
    axis: str = "flops",
    law: str | Law = "chinchilla",
    objective: str = "huber",
    delta: float | None = None,
    windows: int = 6,
) -> Rollout:
    """Fits up to a limit of `axis` and scores on everything beyond, for growing limits (no intervals).

    Windows from which the law cannot be determined are left out. Raises InputError when none remains.
    """
    if axis not in AXES:
        raise InputError(f"axis: {axis!r} is none of {', '.join(AXES)}")
    law = find(law)
    rho = make_objective(objective, delta, "log", None)
    runs = as_runs(runs)
    rows = sample(runs, tuple(dict.fromkeys((*law.inputs, axis))))
    along = rows.inputs[axis]
    limits = distinct(along)[:-1]
    chosen = (
        limits[np.unique(np.linspace(0, len(limits) - 1, 4 * windows).astype(int))] if len(limits) else []
    )
    steps = []
    for limit in chosen:
        inside = along <= limit * (1 + 1e-3)
        try:
            fitted = fit_sample(rows.where(inside), law, rho, 0, "auto", 0.9, 0, runs.source)
        except InputError:
            continue
        cells = cells_of(fitted, rows.where(~inside), runs, 0.9)
        if cells:
            score = score_of(cells, rows.where(inside))
            steps.append(Step(float(limit), int(inside.sum()), score))
    if not steps:
        raise InputError(f"{runs.source}: {law.name} cannot be fitted to any window along {axis}")
    picked = np.unique(np.linspace(0, len(steps) - 1, windows).astype(int))
    return Rollout(axis, law.name, tuple(steps[i] for i in picked))
