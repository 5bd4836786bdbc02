"""Predicts runs that were not fitted, and scores the predictions that can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.audits.blend import Blend, blended
from analysis.audits.conformal import FACTORS, misses, widening
from analysis.audits.predictions import cells_at, cells_of, flops_of, score_of
from analysis.audits.ranking import rank
from analysis.audits.results import Cell, Forecast, Rival, Score
from analysis.errors import InputError
from analysis.fits.calibration import calibrated
from analysis.fits.fitting import Settings, fit_sample
from analysis.fits.results import Fit
from analysis.laws.law import Law
from analysis.laws.named import LAWS, find
from analysis.notes import Note
from analysis.solve.objectives import objective as make_objective
from analysis.tables.sample import Sample, sample
from analysis.tables.table import as_runs


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
    noise: str = "",
    calibrate: int = 0,
) -> Forecast:
    """The law fitted to some rows, its predictions for the others.

    Held out are the rows that the table marks (column held_out), or with holdout_factor f the rows of more
    than 1/f of the largest compute; without either the largest f of 10, 5, 3, 2 that leaves a table to fit.
    law: a name, a Law, or `auto` for a blend of laws, weighed by how well each forecast one step earlier, on
    the fitted rows alone.
    at: further (params, tokens) to predict; then nothing is held out unless asked for. noise, calibrate: as
    `fit` takes them.
    Raises InputError when no split leaves a table from which the law can be determined.
    """
    rho = make_objective(objective, delta, residual, over_weight)
    chosen = find(law) if law != "auto" else LAWS["chinchilla"]
    if holdout_factor is not None and not (np.isfinite(holdout_factor) and holdout_factor > 1):
        raise InputError(f"holdout factor: {holdout_factor} is not a number above 1")
    if bad := [pair for pair in at if not all(np.isfinite(v) and v > 0 for v in pair)]:
        raise InputError(*(f"params and tokens must be positive numbers, not {pair}" for pair in bad))
    runs = as_runs(runs)
    rows = sample(runs, chosen.inputs, noise)
    if rows.held_out.all() and holdout_factor is None:
        raise InputError(
            f"{runs.source}: all {len(rows)} usable rows are marked as held out; none is left to fit"
        )
    settings = Settings(rho, bootstrap, method, level, seed)
    first = settings if law != "auto" else replace(settings, bootstrap=0)
    fitted, held, rule = _split(rows, holdout_factor, bool(at), chosen, first, runs.source)
    rivals: tuple[Rival, ...] = ()
    blend: Blend | None = None
    laws: tuple[Law, ...] = ()
    weights: tuple[float, ...] = ()
    if law == "auto":
        rivals = rank(rows.where(~held), rows.where(held), runs, rho)
        chosen = find(rivals[0].law)
        fitted = fit_sample(rows.where(~held, "held out"), chosen, runs.source, settings)
        laws, weights = tuple(find(one.law) for one in rivals), tuple(one.weight for one in rivals)
        blend = blended(rows.where(~held), laws, weights, rho, runs.source)
    if calibrate:
        fitted = calibrated(fitted, calibrate, bootstrap, method, seed)
    cells = cells_of(fitted, rows.where(held), runs, level, blend) + cells_at(fitted, at, level, blend)
    widened = None
    if fitted.draws and cells:
        earlier = misses(rows.where(~held), chosen, settings, runs, laws, weights)
        known = 1.0 if fitted.calibration is None else fitted.calibration.widest
        top = float(flops_of(rows)[~held].max())
        factors = [widening(earlier, level, cell.flops / top, blend is not None) for cell in cells]
        # Earlier misses are in units of intervals that were not calibrated.
        factors = [None if factor is None else max(1.0, factor / known) for factor in factors]
        cells = [_widen(cell, factor or 1.0) for cell, factor in zip(cells, factors, strict=True)]
        widened = max((factor for factor in factors if factor is not None), default=None)
    score = score_of([cell for cell in cells if cell.measured is not None], rows.where(~held))
    said = (*_scored(score, level), *fitted.warnings)
    return Forecast(fitted, tuple(cells), score, rule, level, said, widened, rivals)


def _widen(cell: Cell, factor: float) -> Cell:
    """The cell with its interval stretched about the prediction, in logs."""
    if cell.low is None or cell.high is None or factor == 1.0:
        return cell
    low = cell.predicted * (cell.low / cell.predicted) ** factor
    high = cell.predicted * (cell.high / cell.predicted) ** factor
    inside = None if cell.measured is None else bool(low <= cell.measured <= high)
    return replace(cell, low=low, high=high, inside=inside)


def _split(
    rows: Sample, factor: float | None, asked: bool, law: Law, settings: Settings, source: str
) -> tuple[Fit, np.ndarray, str]:
    """(the fit, which rows are held out, the rule in words)."""

    def fitted(held: np.ndarray) -> Fit:
        return fit_sample(rows.where(~held, "held out"), law, source, settings)

    if rows.held_out.any() and factor is None:
        return (
            fitted(rows.held_out),
            rows.held_out,
            "rows that the table marks as held out",
        )
    flops = flops_of(rows)
    if factor is None and asked:
        nothing = np.zeros(len(rows), bool)
        return fitted(nothing), nothing, "nothing: all rows were fitted"
    problems: tuple[str, ...] = ()
    for trial in FACTORS if factor is None else (factor,):
        held = flops > flops.max() / trial
        try:
            found = fitted(held)
        except InputError as error:
            problems = problems or error.problems
            continue
        return found, held, f"rows of more than 1/{trial:g} of the largest compute ({flops.max():.3g} FLOPs)"
    # A table that determines no law as a whole says more by its own faults than by those of its part.
    fitted(np.zeros(len(rows), bool))
    raise InputError(*problems, "a smaller --holdout-factor leaves more rows to fit")


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
