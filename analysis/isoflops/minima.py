"""IsoFLOP curves: at equal compute, the size at which the loss is lowest, and how it grows with compute.

Approach 2 of Hoffmann et al. (arXiv 2203.15556), with what it is known to get wrong: minima at the edge are
refused, compute is never rounded to labels, and the parabola's bias is measured against a fitted law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.errors import InputError
from analysis.fits.results import Fit
from analysis.intervals.bootstrap import interval
from analysis.intervals.resample import WEBB
from analysis.isoflops.bias import bias_of, spent_at
from analysis.isoflops.curves import LIGHT, METHODS, CurveFit, robust_weights
from analysis.isoflops.levels import Level, levels_of, shown, sizes_of
from analysis.isoflops.lines import USABLE, line_through, power_law, slopes_of
from analysis.isoflops.results import Approach, Curve, Envelope, IsoFlop, Minimum, PowerLaw
from analysis.laws.frontier import separable, spends_compute
from analysis.notes import Note
from analysis.tables.sample import Sample, sample
from analysis.tables.table import as_runs

# A minimum within this share of the curve's width of its ends is seen from one side only.
MARGIN = 0.1
FACTORS = {"parabola": 3, "cubic": 4, "akima": 4, "law": 3}
NEEDED = {"parabola": 4, "cubic": 6, "akima": 5, "law": 4}
# Exponents further apart than this are a disagreement where no interval says what noise could do.
APART = 0.03
# Values that differ by less than this part of them are equal but for rounding.
SAME = 1e-9


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

    This is approach 2 of arXiv 2203.15556. runs: Runs, a path or a DataFrame. method: parabola, cubic or
    akima in log params, or law, the valley that `law` itself has at equal compute (its exponents, but each
    level's own factors: without bias where the law is right); auto is cubic where most levels have six sizes
    (a parabola is biased on wide grids), else parabola. Where the table has no levels of equal compute, each
    size's losses are interpolated along tokens to common ones. law: a fit that the method's bias is measured
    by, that the losses of uneven levels are moved along, and whose own exponent stands beside the minima's.
    bootstrap: draws for the intervals at `level`, 0 for none. Raises InputError when the table has no level
    with enough sizes, or the method lacks its law.
    """
    if method not in ("auto", *METHODS):
        raise InputError(f"method: {method!r} is none of auto, {', '.join(METHODS)}")
    runs = as_runs(runs)
    rows = sample(runs, ("params", "tokens", "flops")).without_held_out(exclude_held_out)
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
    signs = rng.choice(
        np.concatenate([-WEBB, WEBB]), size=(bootstrap, 1 + max(g.clusters.max() for g in levels))
    )
    levels = [_moved(one, law) for one in levels]
    steady = powers or (_powers(law) if law is not None and separable(law.law) is not None else None)
    weights = robust_weights([(_log_sizes(one)[1], one.loss) for one in levels], steady)
    lines = _through(levels, weights, method, law, powers, signs, level)
    plain = None if method == "parabola" else _through(levels, weights, "parabola", law, None, signs, level)
    approaches = () if law is None else _approaches(law, lines, plain, method, rows)
    said = [] if law is None else _unsure(law, lines, bootstrap)
    return IsoFlop(
        curves=tuple(lines.curves),
        params_law=lines.params,
        tokens_law=lines.tokens,
        corrected_law=lines.corrected,
        approaches=approaches,
        method=method,
        interpolated=interpolated,
        level=level,
        resampled="residuals within levels, wild bootstrap with Webb weights" if bootstrap else "nothing",
        draws=bootstrap,
        points=len(rows),
        excluded=rows.excluded,
        warnings=(
            *_remarks(lines.curves, lines.good),
            *said,
            *_disagreement(approaches),
            *_shapes(lines, plain, method, level),
        ),
        notes=(*rows.notes, *notes),
    )


@dataclass(frozen=True, eq=False)
class Lines:
    """What one method makes of the levels. good: the curves with a minimum; draws, off (good, draws): log
    params of their minima, and the bias by draws of the law (0 without one)."""

    curves: list[Curve]
    good: list[int]
    params: PowerLaw | None
    tokens: PowerLaw | None
    corrected: PowerLaw | None
    flops: np.ndarray
    draws: np.ndarray
    off: np.ndarray


def _through(
    levels: Sequence[Level],
    weights: Sequence[np.ndarray],
    method: str,
    law: Fit | None,
    powers: tuple[float, float] | None,
    signs: np.ndarray,
    level: float,
) -> Lines:
    """The curves of one method with the power laws through their minima."""
    found = [_curve(*pair, method, law, powers, signs, level) for pair in zip(levels, weights, strict=True)]
    curves = [curve for curve, _, _ in found]
    good = [index for index, curve in enumerate(curves) if curve.minimum is not None]
    flops = np.array([curves[index].flops for index in good])
    params, tokens = (
        np.array([getattr(curves[index].minimum, name) for index in good]) for name in ("params", "tokens")
    )
    draws = np.array([found[index][1] for index in good]).reshape(len(good), len(signs))
    freedom = _freedom([levels[i] for i in good], [weights[i] for i in good], FACTORS[method])
    # Along a level tokens fall as params rise: where a minimum moves up, its tokens move down by as much.
    mirrored = np.log(params * tokens)[:, None] - draws
    lines = [
        line_through(flops, values, moved, level, freedom)
        for values, moved in ((params, draws), (tokens, mirrored))
    ]
    biases = [one.bias for i in good if (one := curves[i].minimum) is not None and one.bias is not None]
    corrected, off = None, np.zeros_like(draws)
    if law is not None and len(good) > 1 and len(biases) == len(good):
        off = np.array([found[index][2] for index in good]).reshape(len(good), len(signs))
        corrected = line_through(flops, params * np.exp(-np.array(biases)), draws - off, level, freedom)
    return Lines(curves, good, lines[0], lines[1], corrected, flops, draws, off)


def _freedom(levels: Sequence[Level], weights: Sequence[np.ndarray], factors: int) -> int:
    """How many points tell the noise: those that the curves leave free; where levels share clusters, trunks
    or interpolated sizes, no more than there are clusters less one."""
    counted = [np.unique(one.clusters[weight >= LIGHT]) for one, weight in zip(levels, weights, strict=True)]
    if not counted:
        return 1
    free = sum(len(some) - factors for some in counted)
    every = np.unique(np.concatenate(counted))
    shared = len(every) < sum(map(len, counted))
    return max(min(free, len(every) - 1) if shared else free, 1)


def _powers(law: Fit | None) -> tuple[float, float]:
    closed = None if law is None else separable(law.law)
    if law is None or closed is None:
        raise InputError(
            "method law: it needs a law with one term of params and one of tokens, as chinchilla"
        )
    return law.params[closed[1]], law.params[closed[3]]


def _approaches(
    law: Fit, lines: Lines, plain: Lines | None, method: str, rows: Sample
) -> tuple[Approach, ...]:
    """Approaches 3, 2 and 1 of arXiv 2203.15556 side by side, where the table gives them."""
    out = []
    if law.exponents is not None:
        out.append(Approach(f"law ({law.law.name})", law.exponents.params_exponent, law.exponents.interval))
    named = {f"minima ({method})": lines.params, "minima, bias taken off": lines.corrected}
    named |= {} if plain is None else {"minima (parabola)": plain.params}
    out += [Approach(name, one.exponent, one.interval) for name, one in named.items() if one is not None]
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


def _unsure(law: Fit, lines: Lines, bootstrap: int) -> list[Note]:
    """The interval of a corrected exponent by a law without draws says so."""
    if not bootstrap or law.draws or lines.corrected is None:
        return []
    text = "the law was fitted without draws: the interval with its bias taken off takes that bias as known"
    return [Note("bias_taken_as_known", text)]


def _shapes(lines: Lines, plain: Lines | None, method: str, level: float) -> list[Note]:
    """The exponent by this method and by a parabola, where they part by more than noise lets them.

    Both come from the same draws of the runs, so their difference is known better than either.
    """
    if plain is None or lines.params is None or plain.params is None:
        return []
    mine, other = lines.corrected or lines.params, plain.params
    gap = mine.exponent - other.exponent
    if abs(gap) <= APART or not plain.draws.shape[1]:
        return []
    apart = slopes_of(lines.flops, lines.draws - lines.off).slope - slopes_of(plain.flops, plain.draws).slope
    apart = apart[np.isfinite(apart)]
    if len(apart) <= USABLE:
        return []
    low, high = interval(gap, apart, level)
    if low <= 0 <= high:
        return []
    who = f"{method}, bias taken off" if lines.corrected is not None else method
    text = (
        f"the exponent by {who}, is {mine.exponent:.3f} and by a parabola {other.exponent:.3f}, further "
        f"apart ({gap:+.3f} [{low:.3f}, {high:.3f}]) than noise explains: it rests on the curve's shape"
    )
    return [Note("curves_disagree", text)]


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
) -> tuple[Curve, np.ndarray, np.ndarray]:
    """The curve of a level, and its bootstrap's log best params and the bias in them (draws,), NaN where a
    draw has none."""
    centre, x = _log_sizes(one)
    none = np.full(len(signs), np.nan)
    curve = Curve(
        one.flops, one.params, one.tokens, one.loss, one.rows, centre, None, None, None, one.notes
    )  # fmt: skip
    off = weight < LIGHT
    if off.any():
        text = f"{off.sum()} of {len(off)} points lie far off the level's curve and do not count: "
        curve = replace(curve, notes=(*curve.notes, Note("outliers", text + shown(one.rows[off]))))
    sizes = sizes_of(one.params[~off])
    if sizes < NEEDED[method]:
        # Here, where the reason is read, and not only among the level's notes.
        lost = "".join(f"; {note.text}" for note in curve.notes)
        return replace(curve, refusal=f"{sizes} sizes; {method} needs {NEEDED[method]}{lost}"), none, none
    shape = CurveFit(method if method in ("cubic", "law") else "parabola", x, weight, powers)
    curve = replace(curve, parabola=tuple(shape.coefficients(one.loss).tolist()), powers=powers)
    valley = CurveFit(method, x, weight) if method == "akima" else shape
    at, why = valley.minimum(one.loss)
    if why:
        return replace(curve, refusal=why), none, none
    draws = none
    pair = None
    if len(signs):
        fitted, residual = valley.fitted(one.loss), valley.residual(one.loss, one.clusters)
        draws = valley.minima(fitted + signs[:, one.clusters] * residual)
        inside = np.isfinite(draws)
        if inside.mean() < 0.5:
            why = "fewer than half of the bootstrap draws have an inner minimum"
            return replace(curve, refusal=why), none, none
        draws = draws + np.log(centre)
        pair = tuple(np.exp(interval(np.log(centre) + at, draws, level)))
    params = centre * float(np.exp(at))
    bias, biases = None, np.zeros(len(signs))
    if law is not None:
        bias, biases = bias_of(one, valley, law, centre, len(signs))
    loss = float(valley.value(one.loss, at))
    found = Minimum(params, one.flops / float(spent_at(one, params)) / params, loss, pair, bias)
    notes = list(curve.notes)
    if not x.min() + MARGIN * np.ptp(x) <= at <= x.max() - MARGIN * np.ptp(x):
        notes.append(Note("off_centre", "the minimum lies in the outer tenth of the sizes"))
    return replace(curve, minimum=found, notes=tuple(notes)), draws, biases


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
    """The runs that no run of less or equal compute beats, and power laws through them.

    This is approach 1 of arXiv 2203.15556 on final losses: the frontier of params and of tokens in FLOPs.

    Raises InputError when the table has no usable row.
    """
    rows = sample(as_runs(runs), ("params", "tokens", "flops"))
    return envelope_of(rows.without_held_out(exclude_held_out))


def steps(values: np.ndarray) -> np.ndarray:
    """The rank (n,) of each value, equal for values that differ by no more than rounding."""
    order = np.argsort(values, kind="stable")
    raised = np.diff(values[order]) > SAME * np.abs(values[order][1:])
    ranks = np.empty(len(values), int)
    ranks[order] = np.concatenate([[0], np.cumsum(raised)])
    return ranks


def envelope_of(rows: Sample) -> Envelope:
    """`envelope` of rows that are already chosen."""
    flops, loss = rows.inputs["flops"], rows.loss
    # 6 params tokens of one budget differ in their last digits, which must not decide who comes first.
    order = np.lexsort((rows.inputs["params"], steps(loss), steps(flops)))
    lowest = np.minimum.accumulate(steps(loss)[order])
    first = np.concatenate([[True], lowest[1:] < lowest[:-1]])
    kept = order[first]
    picked = {name: rows.inputs[name][kept] for name in ("flops", "params", "tokens")}
    laws = [
        PowerLaw(*power_law(picked["flops"], values)) if len(kept) > 2 else None
        for values in (picked["params"], picked["tokens"], loss[kept])
    ]
    return Envelope(rows.rows[kept], picked["flops"], picked["params"], picked["tokens"], loss[kept], *laws)
