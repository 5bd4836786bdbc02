"""Predicts runs that were not fitted, and scores the predictions that can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.audits.blend import Blend
from analysis.audits.forecaster import Forecaster
from analysis.audits.leading import lead
from analysis.audits.misses import Misses, misses
from analysis.audits.predictions import cells_of, flops_of, score_of
from analysis.audits.results import Cell, Forecast, Score
from analysis.audits.windows import Past, parted, past_of
from analysis.errors import InputError
from analysis.fits.calibration import calibrated
from analysis.fits.fitting import Settings, fit_sample
from analysis.fits.kept import beside
from analysis.fits.reach import beyond
from analysis.fits.results import Fit
from analysis.laws.law import Law
from analysis.laws.named import LAWS, find
from analysis.notes import Note
from analysis.solve.objectives import objective as make_objective
from analysis.tables.sample import Sample, sample
from analysis.tables.table import as_runs

# What is held out where nothing says so: ten times the fitted compute is the distance at which forecasts are
# compared, less where the table is small.
FACTORS = (10.0, 5.0, 3.0, 2.0)


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
    unique_tokens: float | np.ndarray | None = None,
) -> Forecast:
    """The law fitted to some rows, its predictions for the others.

    Held out are the rows that the table marks (column held_out), or with holdout_factor f the rows of more
    than 1/f of the largest compute; without either the largest f of 10, 5, 3, 2 that leaves a table to fit.
    law: a name, a Law, or `auto` for a blend of laws, weighed by how well each forecast one step earlier, on
    the fitted rows alone.
    at: further (params, tokens) to predict; then nothing is held out unless asked for. unique_tokens: so many
    of their tokens are distinct, where data are repeated. `Forecast.predict` predicts more of them later.
    noise, calibrate: as `fit` takes them.
    Raises InputError when no split leaves a table from which the law can be determined.
    """
    rho = make_objective(objective, delta, residual, over_weight)
    chosen = find(law) if law != "auto" else LAWS["chinchilla"]
    if holdout_factor is not None and not (np.isfinite(holdout_factor) and holdout_factor > 1):
        raise InputError(f"holdout factor: {holdout_factor} is not a number above 1")
    runs = as_runs(runs)
    rows = sample(runs, chosen.inputs, noise)
    if rows.held_out.all() and holdout_factor is None:
        raise InputError(
            f"{runs.source}: all {len(rows)} usable rows are marked as held out; none is left to fit"
        )
    settings = Settings(rho, bootstrap, method, level, seed, beside(runs)).checked()
    first = settings if law != "auto" else replace(settings, bootstrap=0)
    fitted, kept, held, rule, split = _split(rows, holdout_factor, bool(at), chosen, first, runs.source)
    blend: Blend | None = None
    past = None
    if law == "auto":
        fitted, ranked = lead(kept, runs, settings, held)
        blend, past = ranked.blend, ranked.past
    if calibrate:
        fitted = calibrated(fitted, calibrate, bootstrap, method, seed)
    earlier = None
    if fitted.draws:
        past = past or past_of(kept, [chosen], settings, runs.source)
        earlier = misses(past, settings, runs.source)
    ahead = Forecaster(fitted, blend, earlier, float(flops_of(kept).max()), level)
    cells = cells_of(fitted, held, runs, level, blend)
    factors = ahead.factors(np.array([cell.flops for cell in cells]))
    cells = [_widen(cell, factor) for cell, factor in zip(cells, factors, strict=True)]
    score = score_of(cells, kept)
    asked, said = _asked(ahead, at, unique_tokens)
    factors = np.append(factors, ahead.factors(np.array([cell.flops for cell in asked])))
    widened = float(np.nanmax(factors)) if np.isfinite(factors).any() else None
    said = [*said, *split, *_unscored(fitted, earlier, past), *_scored(score, level), *fitted.warnings]
    return Forecast(
        fitted, (*cells, *asked), score, rule, level, tuple(said), widened,
        () if fitted.leading is None else fitted.leading.rivals, ahead,
    )  # fmt: skip


def _asked(
    ahead: Forecaster, at: Sequence[tuple[float, float]], unique_tokens: float | np.ndarray | None
) -> tuple[list[Cell], list[Note]]:
    """Predictions of runs that have not been trained, and the warnings that belong to them."""
    if not at:
        return [], []
    params, tokens = (np.array(values, float) for values in zip(*at, strict=True))
    found = ahead.predict(params, tokens, unique_tokens)
    low = found.low if found.low is not None else [None] * len(at)
    high = found.high if found.high is not None else [None] * len(at)
    cells, said = [], ahead.said({} if unique_tokens is None else {"unique_tokens": unique_tokens})
    for n, d, loss, down, up in zip(params, tokens, found.loss, low, high, strict=True):
        bounded = down is not None and up is not None
        cells.append(
            Cell(
                row=None,
                name="asked",
                params=float(n),
                tokens=float(d),
                flops=float(6 * n * d),
                predicted=float(loss),
                low=float(down) if bounded else None,
                high=float(up) if bounded else None,
                measured=None,
                error=None,
                error_percent=None,
                inside=None,
            )
        )
    return cells, [*said, *beyond(ahead.fit, params, tokens)]


def _unscored(fitted: Fit, earlier: Misses | None, past: Past | None) -> list[Note]:
    """A forecast that nothing earlier stands behind, or only what shares its trunks, says so."""
    said = []
    if past is not None and past.split and past.windows:
        text = (
            "earlier forecasts were scored on branches of trunks that they were fitted to, since every trunk "
            "reaches the later rows: they share its luck, and runs of new trunks would be missed by more"
        )
        said.append(Note("windows_split_trunks", text))
    if fitted.leading is not None and not fitted.leading.scored:
        text = (
            "no law could be fitted to an earlier part of the runs and scored on a later one: "
            "the laws weigh alike, and which leads is a convention"
        )
        said.append(Note("laws_unscored", text))
    if earlier is not None and not earlier.distances:
        text = (
            "no earlier window scored this forecast: its intervals rest on the bootstrap alone, and how "
            "often they hold what comes is not known"
        )
        said.append(Note("forecast_unscored", text))
    return said


def _widen(cell: Cell, factor: float) -> Cell:
    """The cell with its interval stretched about the prediction, in logs; as it is where nothing can tell."""
    if cell.low is None or cell.high is None or not factor > 1.0:
        return cell
    with np.errstate(over="ignore"):
        ends = cell.predicted * np.power([cell.low / cell.predicted, cell.high / cell.predicted], factor)
    low, high = (float(end) for end in ends)
    inside = None if cell.measured is None else bool(low <= cell.measured <= high)
    return replace(cell, low=low, high=high, inside=inside)


def _split(
    rows: Sample, factor: float | None, asked: bool, law: Law, settings: Settings, source: str
) -> tuple[Fit, Sample, Sample, str, list[Note]]:
    """(the fit, the rows it may see, the rows held out, the rule in words, what to say of it)."""

    def fitted(kept: np.ndarray, held: np.ndarray) -> tuple[Fit, Sample]:
        reached = rows.where(kept | held, "of a trunk that reaches into the held-out rows")
        part = reached.where(~held[kept | held], "held out")
        return fit_sample(part, law, source, settings), part

    if rows.held_out.any() and factor is None:
        held = rows.held_out
        found, part = fitted(~held, held)
        said = [] if np.array_equal(parted(rows, held), ~held) else [_trunks_split(rows)]
        return found, part, rows.where(held), "rows that the table marks as held out", said
    flops = flops_of(rows)
    if factor is None and asked:
        nothing = np.zeros(len(rows), bool)
        return *fitted(~nothing, nothing), rows.where(nothing), "nothing: all rows were fitted", []
    problems: tuple[str, ...] = ()
    # Trunks are split only where no part that leaves them whole shows a law: a ladder of a trunk a size.
    for split in (False, True) if rows.clustered_by else (False,):
        for trial in FACTORS if factor is None else (factor,):
            held = flops > flops.max() / trial
            kept = ~held if split else parted(rows, held)
            try:
                found, part = fitted(kept, held)
            except InputError as error:
                problems = problems or error.problems
                continue
            rule = f"rows of more than 1/{trial:g} of the largest compute ({flops.max():.3g} FLOPs)"
            if not (kept | held).all():
                rule += "; fitted are no rows of a trunk that reaches there"
            return found, part, rows.where(held), rule, [_trunks_split(rows)] if split else []
    # A table that determines no law as a whole says more by its own faults than by those of its part.
    every = np.ones(len(rows), bool)
    fitted(every, ~every)
    raise InputError(*problems, "a smaller --holdout-factor leaves more rows to fit")


def _trunks_split(rows: Sample) -> Note:
    text = (
        f"rows that are held out share clusters ({rows.clustered_by}) with fitted ones, and so their luck: "
        "new ones would be missed by more"
    )
    return Note("trunks_split", text)


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
