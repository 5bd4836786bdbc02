"""Scores of a downstream task: a loss law and its link to the score, fitted together, or one direct law.

Two steps in a chain (arXiv 2412.04403) lose the uncertainty of the first in the second. Here both are one
fit: every run gives its loss and its score, the loss law's parameters are shared, and one bootstrap moves
all. The rival predicts the score from params and tokens directly (compare arXiv 2512.08894). They are mixed
by how well each forecast the later of the fitted runs from the earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.downstreams.fitting import Fitted, fit_way, losses_of
from analysis.downstreams.laws import TO_ONE, WAYS, variants
from analysis.downstreams.mixing import Mixture, earlier_errors, mixed, weights_of, windows
from analysis.downstreams.results import Downstream, ScoreCell, Way
from analysis.downstreams.score_column import scored
from analysis.errors import InputError
from analysis.intervals.bootstrap import interval
from analysis.notes import Note
from analysis.tables.columns import nearest
from analysis.tables.sample import Sample
from analysis.tables.table import as_runs

# Ways whose predictions differ by more than this are not said to agree.
APART = 0.05
# A fitted ceiling this close to 1 says what a ceiling of 1 says.
ALIKE = 1e-3


def fit_downstream(
    runs: Any,
    score: str,
    chance: float | None = None,
    ways: Sequence[str] = WAYS,
    bootstrap: int = 300,
    level: float = 0.9,
    seed: int = 0,
    at: Sequence[tuple[float, float]] = (),
    holdout_factor: float | None = None,
) -> Downstream:
    """The score in the column `score` (0 to 1) as a function of params and tokens.

    A score follows a loss, and that a law (arXiv 2412.04403). In a store a score is named task/metric.
    chance: the score of guessing, where it is known; else it is a parameter. ways: the links to try with the
    loss law, and `direct` for the law without a loss. Held out are the rows that the table marks, or with
    holdout_factor f those of more than 1/f of the largest compute; they are predicted and play no part in fit
    or weights. bootstrap: draws for intervals at `level`. at: further (params, tokens) to predict. Raises
    InputError when the column is missing or no way can be fitted.
    """
    if problems := _wrong(chance, ways, level, holdout_factor, at):
        raise InputError(*problems)
    runs = as_runs(runs)
    rows, values = scored(runs, score)
    held = rows.held_out
    if holdout_factor is not None:
        flops = rows.inputs["params"] * rows.inputs["tokens"]
        held = flops > flops.max() / holdout_factor
    if held.all():
        raise InputError(
            f"{runs.source}: all {len(rows)} rows with a score are held out; none is left to fit"
        )
    kept, seen = rows.where(~held, "held out for the forecast"), values[~held]
    if chance is not None and seen.max() <= chance:
        text = (
            f"no fitted run scores above chance ({seen.max():g} of {chance:g}): nothing shows where it lifts"
        )
        raise InputError(f"{runs.source}: {score}: {text}")
    losses = losses_of(kept, runs.source)
    fitted, problems = {}, []
    for name in variants(ways):
        try:
            fitted[name] = fit_way(name, kept, seen, chance, runs.source, losses)
        except InputError as error:
            problems += error.problems
    if not fitted:
        raise InputError(*dict.fromkeys(problems))
    for name in [name for name in fitted if name + TO_ONE in fitted]:
        if fitted[name].params["ceiling"] > 1 - ALIKE:
            del fitted[name]
    found = windows(kept, seen, tuple(fitted), chance, runs.source)
    errors = earlier_errors(found, tuple(fitted))
    weights = weights_of(errors)
    mixture = mixed(fitted, weights, found, kept, bootstrap, seed)
    best = mixture.parts[0]
    late = rows.where(held)
    said = [*_said(best.fitted, seen, chance), *_remarks(mixture, found, late, at, kept)]
    result = Downstream(
        _ways(fitted, weights, errors, late, values[held]),
        best.fitted.law.formula,
        best.fitted.params,
        {
            name: interval(best.fitted.params[name], drawn, level, positive=False)
            for name, drawn in best.draws.items()
        },
        (),
        score,
        level,
        len(kept),
        len(found),
        None,
        None,
        tuple(said),
        (*rows.notes,),
        mixture,
    )
    cells = _cells(result, late, values[held], at)
    missed = [abs(cell.error) for cell in cells if cell.error is not None]
    inside = [cell.inside for cell in cells if cell.inside is not None]
    return replace(
        result,
        cells=cells,
        held_out_error=float(np.mean(missed)) if missed else None,
        coverage=float(np.mean(inside)) if inside else None,
    )


def _wrong(
    chance: float | None,
    ways: Sequence[str],
    level: float,
    factor: float | None,
    at: Sequence[tuple[float, float]],
) -> list[str]:
    out = [f"--ways: no {name!r}{nearest(name, WAYS)}" for name in ways if name not in WAYS]
    if not ways:
        out.append(f"--ways: name at least one of {', '.join(WAYS)}")
    if chance is not None and not 0 <= chance < 1:
        hint = f"; {chance:g} % is {chance / 100:g}" if 1 < chance < 100 else ""
        out.append(f"--chance: {chance} is not a share from 0 to below 1{hint}")
    if not 0 < level < 1:
        out.append(f"--level: {level} is not between 0 and 1")
    if factor is not None and not (np.isfinite(factor) and factor > 1):
        out.append(f"--holdout-factor: {factor} is not a number above 1")
    out += [
        f"params and tokens must be positive numbers, not {pair}"
        for pair in at
        if not all(np.isfinite(v) and v > 0 for v in pair)
    ]
    return out


def _ways(
    fitted: Mapping[str, Fitted],
    weights: Mapping[str, float],
    errors: Mapping[str, float | None],
    late: Sample,
    measured: np.ndarray,
) -> tuple[Way, ...]:
    out = []
    for name, one in fitted.items():
        beyond = None
        if len(late):
            predicted = one.scores(one.params, late.inputs["params"], late.inputs["tokens"])
            beyond = float(np.abs(predicted - measured).mean())
        out.append(Way(name, len(one.law.names), weights.get(name, 0.0), errors[name], beyond))
    return tuple(sorted(out, key=lambda way: -way.weight))


def _cells(
    result: Downstream, held: Sample, score: np.ndarray, at: Sequence[tuple[float, float]]
) -> tuple[ScoreCell, ...]:
    rows = [*held.rows.tolist(), *([None] * len(at))]
    params = np.array([*held.inputs["params"], *(n for n, _ in at)], float)
    tokens = np.array([*held.inputs["tokens"], *(d for _, d in at)], float)
    if not rows:
        return ()
    predicted = result.predict(params, tokens)
    bounds = result.predict_interval(params, tokens) if result.mixture.parts[0].draws else None
    cells = []
    for i, row in enumerate(rows):
        low = None if bounds is None else float(bounds[0][i])
        high = None if bounds is None else float(bounds[1][i])
        measured = None if row is None else float(score[i])
        error = None if measured is None else float(predicted[i]) - measured
        inside = None if measured is None or low is None or high is None else bool(low <= measured <= high)
        place = (float(params[i]), float(tokens[i]), float(predicted[i]))
        cells.append(ScoreCell(row, *place, low, high, measured, error, inside))
    return tuple(cells)


def _said(best: Fitted, score: np.ndarray, chance: float | None) -> list[Note]:
    said = []
    for parameter in best.law.parameters:
        value = best.params[parameter.name]
        if not parameter.positive and value <= parameter.low + 1e-6 and parameter.name != "floor":
            said.append(Note("bound_hit", f"{parameter.name} lies at its bound {value:.4g}"))
        if parameter.name == "E" and value < 1e-6:
            said.append(Note("E_at_bound", "E is 0: the losses do not show where they end"))
    if chance is None:
        floor = best.params["floor"]
        text = f"the floor {floor:.3g} is fitted to runs of {score.min():.3g} and more; --chance says it"
        said.append(Note("floor_fitted", text))
    return said


def _remarks(
    mixture: Mixture, found: Sequence[Any], late: Sample, at: Sequence[tuple[float, float]], kept: Sample
) -> list[Note]:
    """What stands behind the weights and intervals, and how far the ways part where it matters."""
    said = []
    if not found:
        text = (
            "the runs are too few for any earlier forecast: ways weigh alike, intervals are the bootstrap's"
        )
        said.append(Note("untested", text))
    places = [*zip(late.inputs["params"], late.inputs["tokens"], strict=True), *at]
    if not places:
        text = (
            "nothing to predict: mark rows in a column held_out, or give --holdout-factor, or --params and "
        )
        said.append(Note("nothing_predicted", text + "--tokens"))
        return said
    far = max(places, key=lambda place: place[0] * place[1])
    values = {
        part.fitted.name: float(part.fitted.scores(part.fitted.params, *far))
        for part in mixture.parts
        if part.weight >= 0.1
    }
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    if values[high] - values[low] > APART:
        text = f"at {far[0]:.3g} params {low} says {values[low]:.3f} and {high} {values[high]:.3f}"
        said.append(Note("ways_disagree", text))
    distance = float(far[0] * far[1]) / mixture.top
    reach = max(mixture.misses.distances, default=1.0)
    if found and distance > reach**2:
        text = (
            f"{distance:.3g} times the fitted compute is asked; earlier forecasts reached {reach:.3g} times"
        )
        said.append(Note("far_beyond", text))
    return said
