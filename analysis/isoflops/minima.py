"""IsoFLOP curves: at equal compute, the size at which the loss is lowest, and how it grows with compute.

Approach 2 of Hoffmann et al. (arXiv 2203.15556), with what it is known to get wrong: minima at the edge are
refused, compute is never rounded to labels, and the parabola's bias is measured against a fitted law.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.errors import InputError
from analysis.fits.results import Fit
from analysis.intervals.bootstrap import interval
from analysis.intervals.freedom import student
from analysis.intervals.resample import WEBB
from analysis.isoflops.curves import LIGHT, METHODS, CurveFit, robust_weights
from analysis.isoflops.levels import Level, levels_of, sizes_of
from analysis.isoflops.results import Approach, Curve, Envelope, IsoFlop, Minimum, PowerLaw
from analysis.laws.frontier import optimum, separable, spends_compute
from analysis.notes import Note
from analysis.tables.sample import Sample, sample
from analysis.tables.table import as_runs

# A minimum within this share of the curve's width of its ends is seen from one side only.
MARGIN = 0.1
FACTORS = {"parabola": 3, "cubic": 4, "akima": 4, "law": 3}
NEEDED = {"parabola": 4, "cubic": 6, "akima": 5, "law": 4}
# Exponents further apart than this are a disagreement where no interval says what noise could do.
APART = 0.03


def isoflop(
    runs: Any,
    method: str = "auto",
    law: Fit | None = None,
    bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    exclude_held_out: bool = True,
) -> IsoFlop:
    """Curves of equal compute with their minima, and the power laws of compute-optimal params and tokens.

    method: parabola, cubic or akima in log params, or law, the valley that `law` itself has at equal compute
    (its exponents, but each level's own factors: without bias where the law is right); auto is cubic where
    most levels have six sizes (a parabola is biased on wide grids), else parabola. Where the table has no
    levels of equal compute, each size's losses are interpolated along tokens to common ones. law: a fit that
    the method's bias is measured by, that the losses of uneven levels are moved along, and whose own
    exponent stands beside the minima's.
    Raises InputError when the table has no level with enough sizes, or the method lacks its law.
    """
    if method not in ("auto", *METHODS):
        raise InputError(f"method: {method!r} is none of auto, {', '.join(METHODS)}")
    runs = as_runs(runs)
    rows = sample(runs, ("params", "tokens", "flops"))
    if exclude_held_out and rows.held_out.any():
        rows = rows.where(~rows.held_out, "held out for the forecast")
    return minima_of(rows, runs.source, method, law, bootstrap, level, seed)


def minima_of(
    rows: Sample,
    source: str,
    method: str = "auto",
    law: Fit | None = None,
    bootstrap: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> IsoFlop:
    """`isoflop` on rows that are already chosen."""
    powers = _powers(law) if method == "law" else None
    levels, interpolated, notes = levels_of(rows, source)
    if method == "auto":
        rich = [sizes_of(one.params) >= NEEDED["cubic"] for one in levels]
        method = "cubic" if np.mean(rich) > 0.5 else "parabola"
    rng = np.random.default_rng(seed)
    curves, drawn = [], []
    signs = rng.choice(
        np.concatenate([-WEBB, WEBB]), size=(bootstrap, 1 + max(g.clusters.max() for g in levels))
    )
    levels = [_moved(one, law) for one in levels]
    steady = powers or (_powers(law) if law is not None and separable(law.law) is not None else None)
    weights = robust_weights([(_log_sizes(one)[1], one.loss) for one in levels], steady)
    for one, weight in zip(levels, weights, strict=True):
        curve, minima = _curve(one, weight, method, law, powers, signs, level)
        curves.append(curve)
        drawn.append(minima)
    good = [index for index, curve in enumerate(curves) if curve.minimum is not None]
    flops = np.array([curves[index].flops for index in good])
    best = [
        np.array([getattr(curves[index].minimum, name) for index in good]) for name in ("params", "tokens")
    ]
    draws = np.array([drawn[index] for index in good]).reshape(len(good), bootstrap)
    # The noise is known from the points that the curves leave free: few levels of five sizes leave few.
    used = (np.unique(levels[i].clusters[weights[i] >= LIGHT]).size - FACTORS[method] for i in good)
    spread = float(student(max(sum(used), 1), level))
    # Along a level tokens fall as params rise: where a minimum moves up, its tokens move down by as much.
    mirrored = np.log(best[0] * best[1])[:, None] - draws
    params_law, tokens_law = (
        _power(flops, values, moved, level, spread)
        for values, moved in zip(best, (draws, mirrored), strict=True)
    )
    corrected = None
    biases = [found.bias for i in good if (found := curves[i].minimum) is not None and found.bias is not None]
    if law is not None and len(good) > 1 and len(biases) == len(good):
        bias = np.array(biases)
        corrected = _power(flops, best[0] * np.exp(-bias), draws - bias[:, None], level, spread)
    approaches = () if law is None else _approaches(law, params_law, corrected, method, rows)
    return IsoFlop(
        curves=tuple(curves),
        params_law=params_law,
        tokens_law=tokens_law,
        corrected_law=corrected,
        approaches=approaches,
        method=method,
        interpolated=interpolated,
        level=level,
        resampled="residuals within levels, wild bootstrap with Webb weights" if bootstrap else "nothing",
        draws=bootstrap,
        points=len(rows),
        excluded=rows.excluded,
        warnings=(*_remarks(curves, good), *_disagreement(approaches)),
        notes=(*rows.notes, *notes),
    )


def _power(
    flops: np.ndarray, values: np.ndarray, draws: np.ndarray, level: float, spread: float
) -> PowerLaw | None:
    """The power law through the minima; its interval from the draws of log values (levels, draws), `spread`
    times as wide.
    """
    if len(flops) < 2:
        return None
    exponent, coefficient = power_law(flops, values)
    pair = None
    if draws.shape[1] and len(flops) > 2:
        x = np.log(flops) - np.log(flops).mean()
        seen = np.isfinite(draws)
        count = seen.sum(axis=0)
        y, weight = np.where(seen, draws, 0.0), seen * 1.0
        middle = (weight * x[:, None]).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-300)
        moved = (x[:, None] - middle) * seen
        slopes = (weight * moved * y).sum(axis=0) / np.maximum((weight * moved**2).sum(axis=0), 1e-300)
        usable = slopes[count >= 3]
        pair = interval(exponent, usable, level, spread) if len(usable) > 20 else None
    return PowerLaw(exponent, coefficient, pair)


def power_law(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """(exponent, coefficient) of y = coefficient x^exponent by (weighted) least squares on the logs."""
    log_x, log_y = np.log(x), np.log(y)
    weight = np.ones(len(log_x)) if weight is None else np.asarray(weight, float)
    middle_x, middle_y = np.average(log_x, weights=weight), np.average(log_y, weights=weight)
    moved = log_x - middle_x
    exponent = float((weight * moved * (log_y - middle_y)).sum() / (weight * moved**2).sum())
    return exponent, float(np.exp(middle_y - exponent * middle_x))


def _powers(law: Fit | None) -> tuple[float, float]:
    closed = None if law is None else separable(law.law)
    if law is None or closed is None:
        raise InputError(
            "method law: it needs a law with one term of params and one of tokens, as chinchilla"
        )
    return law.params[closed[1]], law.params[closed[3]]


def _approaches(
    law: Fit, minima: PowerLaw | None, corrected: PowerLaw | None, method: str, rows: Sample
) -> tuple[Approach, ...]:
    """Approaches 3, 2 and 1 of arXiv 2203.15556 side by side, where the table gives them."""
    out = []
    if law.allocation is not None:
        out.append(Approach(f"law ({law.law.name})", law.allocation.params_exponent, law.allocation.interval))
    if minima is not None:
        out.append(Approach(f"minima ({method})", minima.exponent, minima.interval))
    if corrected is not None:
        out.append(Approach("minima, bias taken off", corrected.exponent, corrected.interval))
    if (line := envelope_of(rows).params_law) is not None:
        out.append(Approach("envelope", line.exponent))
    return tuple(out)


def _disagreement(approaches: tuple[Approach, ...]) -> list[Note]:
    said = []
    known = [one for one in approaches if not one.name.startswith("envelope")]
    for index, first in enumerate(known):
        for second in known[index + 1 :]:
            one, other = first.interval, second.interval
            if one is None or other is None:
                apart = abs(first.exponent - second.exponent) > APART
            else:
                apart = max(one[0], other[0]) > min(one[1], other[1])
            if apart and not (first.name.startswith("minima") and second.name.startswith("minima")):
                said.append(f"{first.name} {first.exponent:.3f} and {second.name} {second.exponent:.3f}")
    if not said:
        return []
    text = f"the exponents differ by more than their intervals allow: {'; '.join(said)}"
    return [Note("approaches_disagree", text)]


def _log_sizes(one: Level) -> tuple[float, np.ndarray]:
    """(centre, log(params / centre) (n,))"""
    centre = float(np.exp(np.log(one.params).mean()))
    return centre, np.log(one.params / centre)


def _curve(
    one: Level,
    weight: np.ndarray,
    method: str,
    law: Fit | None,
    powers: tuple[float, float] | None,
    signs: np.ndarray,
    level: float,
) -> tuple[Curve, np.ndarray]:
    """The curve of a level, and its bootstrap's log best params (draws,), NaN where a draw has none."""
    centre, x = _log_sizes(one)
    none = np.full(len(signs), np.nan)
    curve = Curve(
        one.flops, one.params, one.tokens, one.loss, one.rows, centre, None, None, None, one.notes
    )  # fmt: skip
    off = weight < LIGHT
    if off.any():
        rows = ", ".join(
            "an interpolated one" if row < 0 else f"row {row}" for row in one.rows[off].tolist()[:5]
        )
        text = f"{off.sum()} of {len(off)} points lie far off the level's curve and do not count: {rows}"
        curve = replace(curve, notes=(*curve.notes, Note("outliers", text)))
    sizes = sizes_of(one.params[~off])
    if sizes < NEEDED[method]:
        return replace(curve, refusal=f"{sizes} sizes; {method} needs {NEEDED[method]}"), none
    shape = CurveFit(method if method in ("cubic", "law") else "parabola", x, weight, powers)
    curve = replace(curve, parabola=tuple(shape.coefficients(one.loss).tolist()), powers=powers)
    valley = CurveFit(method, x, weight) if method == "akima" else shape
    at, why = valley.minimum(one.loss)
    if why:
        return replace(curve, refusal=why), none
    draws = none
    pair = None
    if len(signs):
        fitted, residual = valley.fitted(one.loss), valley.residual(one.loss, one.clusters)
        draws = valley.minima(fitted + signs[:, one.clusters] * residual)
        inside = np.isfinite(draws)
        if inside.mean() < 0.5:
            why = "fewer than half of the bootstrap draws have an inner minimum"
            return replace(curve, refusal=why), none
        draws = draws + np.log(centre)
        pair = tuple(np.exp(interval(np.log(centre) + at, draws, level)))
    params = centre * float(np.exp(at))
    bias = None if law is None else _bias(one, valley, law, centre)
    loss = float(valley.value(one.loss, at))
    found = Minimum(params, one.flops / float(_spent(one, params)) / params, loss, pair, bias)
    notes = list(curve.notes)
    if not x.min() + MARGIN * np.ptp(x) <= at <= x.max() - MARGIN * np.ptp(x):
        notes.append(Note("off_centre", "the minimum lies in the outer tenth of the sizes"))
    return replace(curve, minimum=found, notes=tuple(notes)), draws


def _moved(one: Level, law: Fit | None) -> Level:
    """The level with each loss moved along the law to the level's compute: digitised FLOPs scatter.

    At equal params the loss of a run that spent a tenth more is a percent lower: as much as a valley is deep.
    """
    if law is None or not spends_compute(law.law) or np.ptp(np.log(one.spent)) < 1e-3:
        return one
    ratio = one.flops / one.spent
    here = {"params": one.params, "tokens": one.tokens, "flops": one.spent}
    there = {"params": one.params, "tokens": one.tokens * ratio, "flops": one.spent * ratio}
    factor = law.law.loss(law.params, there) / law.law.loss(law.params, here)
    if not np.isfinite(factor).all():
        return one
    return replace(one, loss=one.loss * factor, tokens=there["tokens"], spent=np.full(len(ratio), one.flops))


def _spent(one: Level, params: ArrayLike) -> np.ndarray:
    """FLOPs for each of params times tokens at these sizes: 6, or what the table's compute says it was."""
    log_n, first = np.unique(np.log(one.params), return_inverse=True)
    ratio = np.log(one.spent / (one.params * one.tokens))
    return np.exp(np.interp(np.log(params), log_n, np.bincount(first, ratio) / np.bincount(first)))


def _bias(one: Level, valley: CurveFit, law: Fit, centre: float) -> float | None:
    """What the method does to the law's own losses at these sizes: log(its minimum / the law's optimum)."""

    def loss(params: np.ndarray) -> np.ndarray:
        tokens = one.flops / (_spent(one, params) * params)
        return law.law.loss(law.params, {"params": params, "tokens": tokens, "flops": 6 * params * tokens})

    at, why = valley.minimum(loss(one.params))
    ratio = one.spent / (one.params * one.tokens)
    if np.ptp(ratio) < 1e-6 * ratio.mean():
        true = float(optimum(law.law, law.params, one.flops * 6 / float(ratio.mean())))
    else:
        # Where the share of attention or of a head changes with size, the optimum has no closed form.
        grid = np.linspace(np.log(one.params.min()) - 1, np.log(one.params.max()) + 1, 4001)
        lowest = int(np.argmin(loss(np.exp(grid))))
        true = float(grid[lowest]) if 0 < lowest < len(grid) - 1 else float("nan")
    return None if why or not np.isfinite(true) else float(np.log(centre) + at - true)


def _remarks(curves: list[Curve], good: list[int]) -> list[Note]:
    said = []
    refused = [curve for curve in curves if curve.refusal]
    if refused:
        shown = "; ".join(f"{curve.flops:.3g} FLOPs: {curve.refusal}" for curve in refused[:5])
        said.append(
            Note("minima_refused", f"{len(refused)} of {len(curves)} levels have no minimum: {shown}")
        )
    if len(good) < 2:
        said.append(Note("no_exponent", "an exponent needs at least two minima"))
    elif len(good) < 4:
        said.append(Note("few_levels", f"the exponent rests on {len(good)} minima"))
    if len(good) > 1:
        span = curves[good[-1]].flops / curves[good[0]].flops
        if span < 10:
            said.append(Note("one_decade", f"the minima span a factor of {span:.3g} in compute only"))
    shifts = [
        np.log(found.params / curves[i].centre) / max(np.ptp(np.log(curves[i].params)), 1e-9)
        for i in good
        if (found := curves[i].minimum) is not None
    ]
    if len(shifts) > 2 and abs(np.polyfit(range(len(shifts)), shifts, 1)[0]) * (len(shifts) - 1) > 0.3:
        said.append(
            Note("drift", "the minima wander across the grids as compute grows, which bends the exponent")
        )
    return said


def envelope(runs: Any, exclude_held_out: bool = False) -> Envelope:
    """The runs that no run of less or equal compute beats, and power laws through them (Approach 1).

    Raises InputError when the table has no usable row.
    """
    rows = sample(as_runs(runs), ("params", "tokens", "flops"))
    if exclude_held_out and rows.held_out.any():
        rows = rows.where(~rows.held_out, "held out for the forecast")
    return envelope_of(rows)


def envelope_of(rows: Sample) -> Envelope:
    """`envelope` of rows that are already chosen."""
    flops, loss = rows.inputs["flops"], rows.loss
    order = np.lexsort((loss, flops))
    lowest = np.minimum.accumulate(loss[order])
    first = np.concatenate([[True], lowest[1:] < lowest[:-1]])
    kept = order[first]
    picked = {name: rows.inputs[name][kept] for name in ("flops", "params", "tokens")}
    laws = [
        PowerLaw(*power_law(picked["flops"], values)) if len(kept) > 2 else None
        for values in (picked["params"], picked["tokens"], loss[kept])
    ]
    return Envelope(rows.rows[kept], picked["flops"], picked["params"], picked["tokens"], loss[kept], *laws)
