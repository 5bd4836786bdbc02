"""Intervals from bootstrap draws: of parameters, and of what follows from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.errors import InputError
from analysis.intervals.freedom import Freedom, student
from analysis.intervals.resample import (
    FEW,
    asymptotic,
    draws_linear,
    draws_of_rows,
    draws_wild,
    pairs,
    shares,
)
from analysis.intervals.student import draws_student
from analysis.laws.law import Law
from analysis.notes import Note
from analysis.solve.estimator import Optimum
from analysis.solve.objectives import Rho
from analysis.solve.scale import are_few
from analysis.tables.sample import Sample

Interval = tuple[float, float]
# From here on Student's t and the normal differ by less than a percent.
MANY = 150
METHODS = ("auto", "clusters", "wild", "rows", "profile")
# Above this many rows nothing is fitted again: the law is straight over what so many leave open.
HUGE = 20_000


def bootstrap(
    law: Law, x, target, rho: Rho, optima, rows: Sample, draws: int, method: str, level: float, seed: int
) -> tuple[str, float | Freedom, Optimum]:
    """(what was resampled, what to widen by, the refits). optima (C, P): the best one, then its rivals."""
    theta = optima[0]
    if method not in METHODS:
        raise InputError(f"method: {method!r} is none of {', '.join(METHODS)}")
    if method == "rows":
        rows = replace(rows, clusters=np.arange(len(rows)), clustered_by="")
    count = int(rows.clusters.max()) + 1
    unit = f"{count} clusters ({rows.clustered_by})" if rows.clustered_by else f"{count} rows"
    if not draws:
        empty = Optimum(np.zeros((0, len(theta))), np.zeros(0), np.zeros(0), np.zeros(0, bool))
        return "nothing", 1.0, empty
    if len(rows) > HUGE and count < MANY:
        drawn, freedom = draws_linear(law, x, target, rho, theta, rows.clusters, draws, seed)
        return f"nothing: draws from the covariance of {unit} (CR2), t by quantity", freedom, drawn
    if len(rows) > HUGE:
        drawn = asymptotic(law, x, target, rho, theta, rows.clusters, draws, seed)
        return f"nothing: normal draws from the covariance by {unit} (sandwich)", 1.0, drawn
    smooth = _smooth(law, x, target, rho, theta)
    if student_suits(rows, law, method) and smooth:
        drawn = draws_student(law, x, target, rho, optima, draws, seed)
        free = max(count - len(theta), 1)
        return f"{unit}: normal noise, Student's t with {degrees_text(free)}", 1.0, drawn
    # Weights on whole clusters say little of what their rows say by themselves.
    shared = 2 * count <= len(rows) and count < MANY
    if method == "wild" or (method in ("auto", "profile") and (count < FEW or shared)):
        drawn, freedom = draws_wild(law, x, target, rho, optima, rows.clusters, draws, seed, smooth)
        text = f"residuals of {unit}, wild bootstrap (CR2), t with degrees of freedom by quantity"
        return text, freedom, drawn
    if not smooth and count < MANY and method != "rows":
        drawn = draws_of_rows(law, x, target, rho, optima, shares(rows.clusters, draws, seed))
        return f"{unit}, weighted at random (exponential)", 1.0, drawn
    drawn = draws_of_rows(law, x, target, rho, optima, pairs(rows.clusters, draws, seed))
    if not smooth or count >= MANY:
        return f"{unit} with replacement", 1.0, drawn
    freedom = max(count - len(theta), 1)
    text = f"{unit} with replacement, t with {degrees_text(freedom)}"
    return text, float(student(freedom, level)), drawn


def student_suits(rows: Sample, law: Law, method: str) -> bool:
    """Whether rows are few and independent, and nobody has asked for another way."""
    return (
        method in ("auto", "profile")
        and int(rows.clusters.max()) + 1 == len(rows)
        and are_few(len(rows), len(law.names))
    )


def degrees_text(count: int) -> str:
    return f"{count} degree{'s' * (count != 1)} of freedom"


def _smooth(law: Law, x, target, rho: Rho, theta) -> bool:
    """Whether most residuals lie where the objective is a square.

    Then draws with replacement are too alike in small samples, as those of a mean are, and Student's t makes
    up for it. Where the objective is nearly l1 they are too wide instead, as those of a median are.
    """
    if rho.name != "huber":
        return rho.name == "squared"
    residual = np.abs(rho.residual(target, law.log_loss(theta[None], x)[0]))
    return bool(np.mean(residual <= rho.delta) > 0.5)


def interval(
    estimate: float, draws: np.ndarray, level: float, spread: float | Freedom = 1.0, positive: bool = False
) -> Interval:
    """Percentiles of the draws, moved away from the estimate by the factor `spread` (in logs if positive)."""
    low, high = widened(np.asarray(estimate, float), np.asarray(draws, float), level, spread, positive)
    return float(low), float(high)


def left_out(what: str, draws: np.ndarray) -> tuple[Note, ...]:
    """What to say of draws (B,) that have no finite value, of which an interval knows nothing."""
    lost = float(np.mean(~np.isfinite(draws)))
    if not lost > 0:
        return ()
    text = f"{lost:.1%} of the draws have no {what}; its interval is that of the others"
    return (Note("draws_left_out", text),)


def widened(estimate: np.ndarray, draws: np.ndarray, level: float, spread: float | Freedom, positive: bool):
    """(low, high) over the first axis of draws, ignoring draws that are not finite."""
    tails = [50 * (1 - level), 50 * (1 + level)]
    low, high = np.nanpercentile(np.where(np.isfinite(draws), draws, np.nan), tails, axis=0)
    if isinstance(spread, Freedom):
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = spread.factors(np.log(draws) if positive else draws, level)
    if np.all(spread == 1.0):
        return low, high
    if positive:
        # An end beyond all numbers is infinite: the table does not bound it.
        with np.errstate(divide="ignore", over="ignore"):
            middle, low, high = np.log(estimate), np.log(low), np.log(high)
            return np.exp(middle + spread * (low - middle)), np.exp(middle + spread * (high - middle))
    return estimate + spread * (low - estimate), estimate + spread * (high - estimate)
