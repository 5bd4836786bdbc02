"""Scores of a downstream task: a loss law and its link to the score, fitted together, or one direct law.

Two steps in a chain (arXiv 2412.04403) lose the uncertainty of the first in the second. Here both are one
fit: every run gives its loss and its score, the loss law's parameters are shared, and one bootstrap moves
all. The rival predicts the score from params and tokens directly (compare arXiv 2512.08894); which of them is
used is decided by forecasts within the fitted runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from analysis.errors import InputError
from analysis.fits.estimator import minimise
from analysis.fits.fitting import fit_sample
from analysis.fits.objectives import Rho
from analysis.fits.results import Interval
from analysis.intervals.bootstrap import interval, widened
from analysis.intervals.resample import pairs
from analysis.laws import jets
from analysis.laws.law import FormulaLaw, Parameter, coefficient
from analysis.laws.links import exponential_link, logit_link, sigmoid_link
from analysis.laws.named import CHINCHILLA
from analysis.notes import Note
from analysis.tables.columns import nearest
from analysis.tables.sample import Sample, sample
from analysis.tables.table import Runs, as_runs, numbers

LINKS = {"sigmoid": sigmoid_link, "logit": logit_link, "exponential": exponential_link}
# Huber's corner on residuals in units of their own scatter: 95 % efficient on normal noise.
CORNER = 1.345
# Corner of the pilot fits, in units of the score: a percent is what benchmarks scatter by.
PILOT = 0.01
# The runs' own last third and half of log compute play the future.
SPLITS = (3.0, 2.0)
SMALLEST = 1e-9


@dataclass(frozen=True)
class Way:
    """One way to predict the score. Errors are mean absolute ones, in units of the score: of forecasts within
    the fitted runs, by which ways are chosen, and of held-out runs; None where it could not be tried."""

    name: str
    parameters: int
    earlier_error: float | None
    held_out_error: float | None


@dataclass(frozen=True)
class ScoreCell:
    """A run that was not fitted, or is only asked about (measured None). error: predicted minus measured."""

    row: int | None
    params: float
    tokens: float
    predicted: float
    low: float | None
    high: float | None
    measured: float | None
    error: float | None
    inside: bool | None


@dataclass(frozen=True, repr=False, eq=False)
class Downstream:
    """A fitted way from params and tokens to the score, chosen among `ways` (best first).

    params, intervals: of loss law and link, or of the direct law. noise (points,): residuals of the score.
    """

    ways: tuple[Way, ...]
    formula: str
    params: Mapping[str, float]
    intervals: Mapping[str, Interval]
    cells: tuple[ScoreCell, ...]
    score: str
    level: float
    points: int
    warnings: tuple[Note, ...]
    notes: tuple[Note, ...]
    law: FormulaLaw
    draws: Mapping[str, np.ndarray] = field(default_factory=dict)
    noise: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def predict(self, params, tokens) -> np.ndarray:
        """The score at params and tokens (arrays broadcast)."""
        return _scores(self.law, self.params, params, tokens)

    def predict_interval(self, params, tokens, level: float | None = None, new_run: bool = True):
        """(low, high) for the score of a new run, or with new_run=False of the law. InputError without
        draws."""
        if not self.draws:
            raise InputError("this fit has no bootstrap draws; fit with bootstrap > 0 for intervals")
        middle = self.predict(params, tokens)
        count = len(next(iter(self.draws.values())))
        draws = {name: v.reshape(count, *(1,) * middle.ndim) for name, v in self.draws.items()}
        values = _scores(self.law, draws, params, tokens)
        if new_run:
            values = values + np.random.default_rng(0).choice(self.noise, size=values.shape)
        low, high = widened(middle, values, level or self.level, 1.0, False)
        return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "way": self.ways[0].name,
            "score": self.score,
            "formula": self.formula,
            "params": dict(self.params),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "level": self.level,
            "ways": [asdict(one) for one in self.ways],
            "cells": [asdict(one) for one in self.cells],
            "points": self.points,
            "warnings": [note.to_dict() for note in self.warnings],
            "notes": [note.to_dict() for note in self.notes],
        }

    def __repr__(self) -> str:
        return f"Downstream({self.score} by {self.ways[0].name}: {self.points} runs)"


def fit_downstream(
    runs: Any,
    score: str,
    chance: float | None = None,
    ways: Sequence[str] = (*LINKS, "direct"),
    bootstrap: int = 300,
    level: float = 0.9,
    seed: int = 0,
    at: Sequence[tuple[float, float]] = (),
) -> Downstream:
    """The score in the column `score` (0 to 1) as a function of params and tokens.

    In a store a score is named task/metric. chance: the score of guessing, where it is known; else it is a
    parameter. ways: the links to try with the loss law, and `direct` for the law without a loss. Rows marked
    as held out are predicted and play no part in fit or choice. at: further (params, tokens) to predict.
    Raises InputError when the column is missing or no way can be fitted.
    """
    if bad := [name for name in ways if name not in (*LINKS, "direct")]:
        raise InputError(*(f"--ways: no {name!r}{nearest(name, (*LINKS, 'direct'))}" for name in bad))
    if chance is not None and not 0 <= chance < 1:
        raise InputError(f"--chance: {chance} is not between 0 and 1")
    runs = as_runs(runs)
    rows, values = _scored(runs, score)
    held = rows.held_out
    kept, seen = rows.where(~held, "held out for the forecast"), values[~held]
    found, problems = [], []
    parts = _splits(kept, runs.source)
    for name in ways:
        try:
            whole = _fit(name, kept, seen, chance, runs.source, parts[0][1])
        except InputError as error:
            problems += error.problems
            continue
        earlier = _earlier(name, kept, seen, chance, runs.source, parts[1:])
        beyond = _error(whole, rows.where(held), values[held]) if held.any() else None
        found.append((Way(name, len(whole.law.names), earlier, beyond), whole))
    if not found:
        raise InputError(*dict.fromkeys(problems))
    found.sort(key=lambda pair: float("inf") if pair[0].earlier_error is None else pair[0].earlier_error)
    best = found[0][1]
    draws = _draws(best, kept, bootstrap, seed)
    noise = seen - _scores(best.law, best.params, kept.inputs["params"], kept.inputs["tokens"])
    noise = noise * np.sqrt(len(noise) / max(len(noise) - len(best.law.names) / 2, 1))
    intervals = {
        name: interval(best.params[name], drawn, level, positive=False) for name, drawn in draws.items()
    }
    result = Downstream(
        tuple(way for way, _ in found), best.formula, best.params, intervals, (), score, level, len(kept),
        tuple(_said(best, found, chance)), (*rows.notes,), best.law, draws, noise,
    )  # fmt: skip
    return replace(result, cells=_cells(result, rows.where(held), values[held], at))


def _scored(runs: Runs, score: str) -> tuple[Sample, np.ndarray]:
    rows = sample(runs, ("params", "tokens"))
    if score in runs.columns:
        column = numbers(runs.columns[score])
    elif runs.store and "/" in score:
        task, metric = score.split("/", 1)
        same = [row for row in runs.ability_rows if (row["task"], row["metric"]) == (task, metric)]
        if not same:
            known = {f"{row['task']}/{row['metric']}" for row in runs.ability_rows}
            raise InputError(f"{runs.source}: no score {score!r}{nearest(score, sorted(known))}")
        by_run = {row["run_id"]: row["score"] for row in same}
        column = np.array([by_run.get(run, np.nan) for run in runs.columns["run_id"].tolist()], float)
    else:
        names = [name for name, values in runs.columns.items() if values.dtype.kind in "fiu"]
        raise InputError(f"{runs.source}: no column {score!r} to be the score{nearest(score, names)}")
    values = column[rows.rows]
    good = np.isfinite(values)
    if not good.any() or (values[good] < 0).any() or (values[good] > 1).any():
        raise InputError(f"{runs.source}: {score} must be a share from 0 to 1 (of items answered correctly)")
    return rows.where(good, f"{score} is missing"), values[good]


@dataclass(frozen=True, eq=False)
class _Joint:
    """A way fitted: the law with its values, and what `minimise` needs to fit it again."""

    law: FormulaLaw
    params: Mapping[str, float]
    formula: str
    x: np.ndarray
    target: np.ndarray
    theta: np.ndarray
    copies: int


def _splits(rows: Sample, source: str) -> list[tuple[np.ndarray, Mapping[str, float] | None]]:
    """(which rows come later, the loss law's values on the others), for no row and for the last stretches."""
    flops = rows.inputs["params"] * rows.inputs["tokens"]
    out = []
    for late in [np.zeros(len(rows), bool), *(flops > flops.max() / split for split in SPLITS)]:
        values = None
        if not late.all() and (late.any() or not out):
            try:
                fitted = fit_sample(
                    rows.where(~late), CHINCHILLA, Rho("huber", 1e-3, False), 0, "auto", 0.9, 0, source
                )
                values = fitted.params
            except InputError:
                if not out:
                    raise
        out.append((late, values))
    return out


def _fit(
    name: str, rows: Sample, score: np.ndarray, chance: float | None, source: str, losses: Mapping[str, float]
) -> _Joint:
    if name == "direct":
        law = _direct(chance)
        scores = replace(rows, loss=np.maximum(score, SMALLEST))
        pilot = fit_sample(scores, law, Rho("huber", PILOT, True), 0, "auto", 0.9, 0, source)
        spread = _scatter(score - law.loss(pilot.params, rows.inputs))
        return _polished(law, pilot.params, law.formula, rows, [(score, spread, 1.0)])
    fitted = CHINCHILLA.loss(losses, rows.inputs)
    link = LINKS[name](floor=chance)
    steps = replace(
        rows, inputs={"task_loss": fitted}, loss=np.maximum(score, SMALLEST), groups={}, clustered_by="none"
    )
    second = fit_sample(steps, link, Rho("huber", PILOT, True), 0, "auto", 0.9, 0, source)
    law = _joint(link, chance)
    spread = _scatter(score - link.loss(second.params, {"task_loss": fitted}))
    values = {**losses, **second.params}
    formula = f"{link.formula.replace('task_loss', 'loss')}, {CHINCHILLA.formula}"
    parts = [(rows.loss, _scatter(np.log(rows.loss / fitted)) * fitted, 0.0), (score, spread, 1.0)]
    return _polished(law, values, formula, rows, parts)


def _scatter(residual: np.ndarray) -> float:
    return max(1.4826 * float(np.median(np.abs(residual))), 1e-4)


def _joint(link: FormulaLaw, chance: float | None) -> FormulaLaw:
    """Loss and score of a run over their scatters, in one law; x["kind"] is 1 for a score, next to 0 else."""

    def value(p, x):
        loss = (
            p["E"] + p["A"] * x["params"] ** (-1.0 * p["alpha"]) + p["B"] * x["tokens"] ** (-1.0 * p["beta"])
        )
        score = link.function(p, {"task_loss": loss})
        return ((1.0 - x["kind"]) * loss + x["kind"] * score) * (1.0 / x["scatter"])

    return FormulaLaw(
        f"joint-{link.name}",
        value,
        ("params", "tokens", "kind", "scatter"),
        (*CHINCHILLA.parameters, *link.parameters),
        link.formula,
        link.source,
        absolute=True,
    )


def _direct(chance: float | None) -> FormulaLaw:
    """score = floor + (ceiling - floor) exp(-(A/params^alpha + B/tokens^beta))"""
    free = () if chance is not None else (Parameter("floor", high=1.0, start=(0.0, 0.5)),)

    def value(p, x):
        floor = p["floor"] if chance is None else chance
        worse = p["A"] * x["params"] ** (-1.0 * p["alpha"]) + p["B"] * x["tokens"] ** (-1.0 * p["beta"])
        score = floor + (p["ceiling"] - floor) * jets.exp(-1.0 * worse)
        return score * (1.0 / x["scatter"]) if "scatter" in x else score

    return FormulaLaw(
        "direct",
        value,
        ("params", "tokens"),
        (
            coefficient("A", {"params": "alpha"}),
            coefficient("B", {"tokens": "beta"}),
            Parameter("alpha", low=1e-3, start=(0.05, 1.5)),
            Parameter("beta", low=1e-3, start=(0.05, 1.5)),
            Parameter("ceiling", high=1.0, start=(0.5, 1.0)),
            *free,
        ),
        "score = floor + (ceiling - floor) exp(-(A/params^alpha + B/tokens^beta))",
        "compare Krajewski et al. 2025, arXiv 2512.08894",
    )


def _polished(law: FormulaLaw, values: Mapping[str, float], formula: str, rows: Sample, parts) -> _Joint:
    """The common optimum from the pilot's values. parts: (measured (n,), scatter, kind) of each quantity."""
    count = len(rows)
    scatter = np.concatenate([np.broadcast_to(np.asarray(part[1], float), count) for part in parts])
    kind = np.repeat([max(part[2], 1e-300) for part in parts], count)
    inputs = {name: np.tile(rows.inputs[name], len(parts)) for name in ("params", "tokens")}
    inputs |= {"kind": kind, "scatter": scatter}
    law = replace(law, inputs=("params", "tokens", "kind", "scatter"), absolute=True)
    x = np.log(np.stack([inputs[name] for name in law.inputs]))
    measured = np.concatenate([part[0] for part in parts]) / scatter
    target = np.log(np.maximum(measured, SMALLEST))
    theta = np.array(
        [np.log(max(values[p.name], 1e-300)) if p.positive else values[p.name] for p in law.parameters]
    )
    found = minimise(law, x, target, Rho("huber", CORNER, True), np.clip(theta, *law.bounds)[None])
    best = found.theta[0]
    public = {
        p.name: float(np.exp(v) if p.positive else v) for p, v in zip(law.parameters, best, strict=True)
    }
    return _Joint(law, public, formula, x, target, best, len(parts))


def _scores(law: FormulaLaw, values: Mapping[str, Any], params, tokens) -> np.ndarray:
    inputs = {"params": np.asarray(params, float), "tokens": np.asarray(tokens, float)}
    return law.loss(values, {**inputs, "kind": 1.0, "scatter": 1.0})


def _earlier(name: str, rows: Sample, score: np.ndarray, chance, source: str, parts) -> float | None:
    """Mean absolute error of forecasts of the last stretches of compute from what lies below them."""
    misses = []
    for late, losses in parts:
        if losses is None:
            continue
        try:
            early = _fit(name, rows.where(~late), score[~late], chance, source, losses)
        except InputError:
            return None
        misses.append(_error(early, rows.where(late), score[late]))
    return float(np.mean(misses)) if misses else None


def _error(fitted: _Joint, rows: Sample, score: np.ndarray) -> float:
    predicted = _scores(fitted.law, fitted.params, rows.inputs["params"], rows.inputs["tokens"])
    return float(np.abs(predicted - score).mean())


def _draws(fitted: _Joint, rows: Sample, count: int, seed: int) -> dict[str, np.ndarray]:
    """Refits with clusters of runs drawn with replacement; a run's loss and score are drawn together."""
    if not count:
        return {}
    weights = np.tile(pairs(rows.clusters, count, seed), (1, fitted.copies))
    starts = np.repeat(fitted.theta[None], count, axis=0)
    found = minimise(fitted.law, fitted.x, fitted.target, Rho("huber", CORNER, True), starts, weights)
    theta = found.theta[np.isfinite(found.value)]
    with np.errstate(over="ignore"):
        return {
            p.name: np.exp(theta[:, i]) if p.positive else theta[:, i]
            for i, p in enumerate(fitted.law.parameters)
        }


def _cells(result: Downstream, held: Sample, score: np.ndarray, at) -> tuple[ScoreCell, ...]:
    columns = (held.rows, held.inputs["params"], held.inputs["tokens"], score)
    places = [*zip(*(column.tolist() for column in columns), strict=True)]
    places += [(None, float(n), float(d), None) for n, d in at]
    cells = []
    for row, n, d, measured in places:
        predicted = float(result.predict(n, d))
        low, high = (float(v) for v in result.predict_interval(n, d)) if result.draws else (None, None)
        error = None if measured is None else predicted - measured
        inside = None if measured is None or low is None else bool(low <= measured <= high)
        cells.append(ScoreCell(row, n, d, predicted, low, high, measured, error, inside))
    return tuple(cells)


def _said(best: _Joint, found, chance: float | None) -> list[Note]:
    said = []
    for parameter in best.law.parameters:
        value = best.params[parameter.name]
        if not parameter.positive and value <= parameter.low + 1e-6 and parameter.name != "floor":
            said.append(Note("bound_hit", f"{parameter.name} lies at its bound {value:.4g}"))
        if parameter.name == "ceiling" and value >= 1 - 1e-6:
            said.append(
                Note("ceiling_at_bound", "the ceiling is 1: the runs do not show where the score ends")
            )
        if parameter.name == "E" and value < 1e-6:
            said.append(Note("E_at_bound", "E is 0: the losses do not show where they end"))
    if len(found) > 1 and found[0][0].earlier_error is not None and found[1][0].earlier_error is not None:
        first, second = found[0][0], found[1][0]
        if second.earlier_error < 1.1 * first.earlier_error:
            text = f"{first.name} and {second.name} forecast equally well within the fitted runs"
            said.append(Note("ways_tie", text))
    return said
