"""What is measured on one series: gates, noise, significance, shapes, locations; `verdict` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.notes import Note
from analysis.thresholds import calibration, fits, gates, likelihood, locations, null, outliers, seeds, shapes
from analysis.thresholds.likelihood import Scale
from analysis.thresholds.null import Design, Evidence
from analysis.thresholds.result import Places, SeedSd
from analysis.thresholds.scores import Cells
from analysis.thresholds.tails import f_quantile, f_tail, student_both

SMOOTH = ("smooth", "power_law", "sigmoid")
BENT = ("hinge", "step", "broken_power_law")
FEWEST_SIZES = 4
# Seeds of one size differ by that much at the least, in logits and in the log of a continuous measure; a
# break that needs them to agree better is none that leads.
_SEEDS_DIFFER = {False: 0.1, True: 0.01}
_BELOW = 3.0  # standard errors below chance at which it is no floor
_EVEN = 30.0  # most nats over least, up to which they may fall evenly with the logarithm of size
_TWO_KINKS = 6  # parameters of a curve with two
_FITS = 0.01  # level of the test that any curve fits within the seeds' spread


@dataclass(frozen=True)
class Findings:
    """design and data (C,) as fitted; freedom: degrees of freedom of the seed sd (0: not estimated).

    p_value: of a rising break; None where seeds are unknown or sizes too few. slope_p: of any trend, with its
    sign in `trend`. change: 95 % interval of the score's change from the smallest to the largest size under
    the smooth curve. falls, rises: p-values of a fall before and a rise after a turn (`turn_up`), or the
    reverse. bimodal: sizes whose seeds fall into two modes. beats_chance (K,). resolved: sizes whose score is
    neither at its floor nor at its ceiling. power: of seeing a strong break here, for a trend without a
    significant one. withstands: largest seed sd at which the break of a series without seeds would still be
    significant. wide_sd: the spread that p_value was taken at, where no curve fits within that of the seeds.
    """

    cells: Cells
    design: Design
    data: np.ndarray
    seed_sd: SeedSd
    freedom: int
    shapes: tuple[shapes.Shape, ...] = ()
    weights: tuple[tuple[str, float], ...] = ()
    evidence: Evidence | None = None
    p_value: float | None = None
    slope_p: float | None = None
    trend: int = 0
    change: tuple[float, float] = (-np.inf, np.inf)
    turn_p: float | None = None
    turn_up: bool = True
    turn_size: float = 0.0
    bimodal: tuple[int, ...] = ()
    beats_chance: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    resolved: int = 0
    withstands: float | None = None
    wide_sd: float | None = None
    power: float | None = None
    places: Places = field(default_factory=Places)
    below_chance: bool = False

    def shape(self, *names: str) -> shapes.Shape | None:
        """The best-ranked shape, of `names` if any are given."""
        for name, _ in self.weights:
            if not names or name in names:
                return next(s for s in self.shapes if s.name == name)
        return None

    def curve(self, shape: shapes.Shape, x: np.ndarray) -> np.ndarray:
        """Scores of one of the shapes, in the metric's own unit."""
        score = shape.score(x)
        return self.cells.measure.score(score) if self.cells.continuous else score

    def weight(self, *names: str) -> float:
        return sum(w for name, w in self.weights if name in names)


def design_of(cells: Cells, given_sd: float | None) -> tuple[Design, np.ndarray, bool]:
    """Design, data (C,), and whether scores lie so far below chance that it is no floor for them."""
    linear = cells.axis == "tokens"
    if cells.continuous:
        real = Design(cells.x, cells.size, None, cells.variance, 0.0, given_sd=given_sd, linear=linear)
        if cells.measure.nats:
            even = bool(cells.score.min() > cells.score.max() / _EVEN)
            real = replace(real, links=("gold", "nats") if even else ("gold",))
        return real, cells.value, False
    total = np.bincount(cells.size, cells.items)
    deficit = (cells.chance - cells.pooled) / np.sqrt(
        np.maximum(cells.chance * (1 - cells.chance), 1e-12) / total
    )
    below = bool(cells.chance > 0 and deficit.max() > _BELOW)
    floor = 0.0 if below else cells.chance
    design = Design(cells.x, cells.size, cells.items, None, floor, given_sd=given_sd, linear=linear)
    return design, cells.correct, below


def own_seed_sd(cells: Cells) -> tuple[float | None, int]:
    """Seed sd by pure error and its degrees of freedom; None below three, which say next to nothing."""
    freedom = int((cells.seeds - 1).sum())
    if cells.recipes or freedom < 3:
        return None, freedom
    design, data, _ = design_of(cells, None)
    return float(null.seed_sd_of(design, data[None])[0]), freedom


def study(
    cells: Cells, sd: SeedSd, freedom: int, alpha: float, draws: int, rng: np.random.Generator
) -> Findings:
    """Everything about one series whose data passed the gates. sd: as decided for this series."""
    given = None if sd.source in ("estimated", "unknown") else sd.value
    design, data, below = design_of(cells, given)
    freedom = freedom if sd.source == "estimated" else 0
    known = sd.source != "unknown"
    bimodal = (
        ()
        if cells.continuous or cells.recipes
        else tuple(seeds.two_modes(cells.correct, cells.items, cells.size))
    )
    with_mixture = not cells.continuous and cells.seeds.max() >= 2
    found = shapes.candidates(design, data, sd.value if known else None, with_mixture)
    if not cells.continuous:
        design = replace(design, ceilings=shapes.ceilings(found))
    ranked = shapes.weights(found, cells.size.size)
    out = {"cells": cells, "design": design, "data": data, "seed_sd": sd, "freedom": freedom}
    out |= {"shapes": found, "weights": ranked, "bimodal": bimodal, "below_chance": below}
    if not cells.continuous:
        out["beats_chance"] = locations.detectable_sizes(data[None], cells.items, cells.size, cells.chance)[0]
        out["resolved"] = _resolved(cells)
    else:
        out["resolved"] = cells.x.size
    if cells.x.size >= 2 and known:
        out |= _trend(design, data, found, sd.value, freedom, rng)
    if cells.x.size >= FEWEST_SIZES:
        if known:
            evidence = null.weigh(design, data[None])
            out["evidence"] = evidence
            out["p_value"], _ = null.p_value(design, evidence, draws, rng)
            if out["p_value"] <= alpha:
                wide = _unfitted_sd(design, data, found, sd.value, freedom)
                if wide is not None:
                    out["wide_sd"] = wide
                    trial = replace(design, given_sd=wide)
                    p, _ = null.p_value(trial, null.weigh(trial, data[None]), draws, rng)
                    out["p_value"] = max(p, out["p_value"])
            out |= _turn(design, data, found, sd.value, freedom)
        else:
            out |= _scatter(cells)
            out["withstands"] = _withstands(design, data, alpha, rng)
            if (out["withstands"] or 0.0) < _SEEDS_DIFFER[cells.continuous]:
                straight = tuple(shape for shape in found if shape.name not in BENT)
                out["shapes"], out["weights"] = straight, shapes.weights(straight, cells.size.size)
        result = Findings(**out)
        shape = result.shape(*BENT) if _bent(result, alpha) else result.shape(*SMOOTH, *BENT)
        if shape is not None and result.shape().name not in ("flat",):
            out["places"] = locations.locate(cells, design, data, shape, freedom, rng)
    return Findings(**out)


def sharpen(found: Findings, draws: int, rng: np.random.Generator) -> Findings:
    """The same with a p-value of more simulated tables: among many tests a lone break needs a smaller one
    than few tables can show."""
    design = found.design if found.wide_sd is None else replace(found.design, given_sd=found.wide_sd)
    evidence = found.evidence if found.wide_sd is None else null.weigh(design, found.data[None])
    return replace(found, p_value=null.p_value(design, evidence, draws, rng)[0])


def with_power(found: Findings, level: float, rng: np.random.Generator) -> Findings:
    """The same with the power for a strong break at the level of a call."""
    return replace(found, power=calibration.power(found.design, found.evidence, level, rng, 200))


def _bent(result: Findings, alpha: float) -> bool:
    return result.p_value is not None and result.p_value <= alpha


def _resolved(cells: Cells) -> int:
    total = np.bincount(cells.size, cells.items)
    hits = np.bincount(cells.size, cells.correct)
    floor = cells.chance * total
    above = hits - floor > np.maximum(2 * np.sqrt(floor), 3)
    return int((above & (total - hits > 3)).sum())


def _line_loglik(design: Design, scale: Scale, data: np.ndarray, sd: float, *designs: np.ndarray):
    tables = fits.tabulate(scale, null.profiles_of(design, scale, data[None], np.array([sd])))
    return [fits.fit_tables(tables, d) for d in designs]


def _tail(ratio: float, freedom: int) -> float:
    return f_tail(ratio, 1, freedom)


def _trend(
    design: Design, data: np.ndarray, found, sd: float, freedom: int, rng: np.random.Generator
) -> dict:
    scale = next(s for s in found if s.name == "flat").scale
    flat, line = _line_loglik(design, scale, data, sd, fits.flat_design(design.x), fits.line_design(design.x))
    ratio = max(0.0, 2 * float(line.loglik[0, 0] - flat.loglik[0, 0]))
    a, b = line.coefficients[0, 0]
    tables = null.simulate(design, scale, a + b * design.x, sd, rng, 200)
    profiles = null.profiles_of(design, scale, tables, np.full(200, sd))
    again = fits.fit(scale, profiles, fits.line_design(design.x)).coefficients[:, 0]
    ends = again[:, :1] + again[:, 1:] * design.x[[0, -1]]
    score = likelihood.mean_score(scale, ends)
    change = np.quantile(score[:, 1] - score[:, 0], (0.025, 0.975))
    return {
        "slope_p": _tail(ratio, freedom),
        "trend": int(np.sign(b)),
        "change": (float(change[0]), float(change[1])),
    }


def _scatter(cells: Cells) -> dict:
    """Trend and change of a series without seeds, by the scatter of its sizes about a straight line, of which
    that of seeds is a part: good enough to say that nothing rises, and no less than the items make of it."""
    x = cells.x
    if cells.continuous:
        y = np.bincount(cells.size, cells.value) / np.bincount(cells.size)
        least = float(np.mean(cells.variance))
    else:
        y = cells.pooled
        total = np.bincount(cells.size, cells.items)
        least = float(np.mean(np.maximum(y * (1 - y), 0.25 / total) / total))
    z = x - x.mean()
    slope = float(z @ y / (z @ z))
    rest = y - y.mean() - slope * z
    left = x.size - 2
    error = np.sqrt(max(float(rest @ rest) / left, least) / (z @ z))
    reach = np.ptp(x) * error * np.sqrt(f_quantile(0.95, 1, left))
    change = slope * np.ptp(x)
    return {
        "slope_p": student_both(abs(slope) / max(error, 1e-12), left),
        "trend": int(np.sign(slope)) if y.argmin() >= x.size // 2 or slope > 0 else 0,
        "change": (change - reach, change + reach),
    }


def _turn(design: Design, data: np.ndarray, found, sd: float, freedom: int) -> dict:
    """Is there a turn: slopes of both signs, each significant by itself (an intersection-union test)?"""
    scale = next(s for s in found if s.name == "flat").scale
    hinge = fits.hinge_design(design.x, design.elbows)
    plateau = hinge.copy()
    plateau[..., 1] -= hinge[..., 2]  # min(x, elbow): no slope after the elbow
    full, level, after = _line_loglik(
        design, scale, data, sd, hinge, hinge[..., [0, 2]], plateau[..., [0, 1]]
    )
    before = full.coefficients[0, :, 1]
    beyond = before + full.coefficients[0, :, 2]
    value = np.where(before * beyond < 0, full.loglik[0], -np.inf)
    which = int(value.argmax())
    if not np.isfinite(value[which]):
        return {"turn_p": 1.0}
    left = _tail(max(0.0, 2 * float(value[which] - level.loglik.max())), freedom)
    right = _tail(max(0.0, 2 * float(value[which] - after.loglik.max())), freedom)
    eta = hinge[which] @ full.coefficients[0, which]
    score = likelihood.mean_score(scale, eta)
    up = bool(before[which] < 0)
    extreme = score.min() if up else score.max()
    sides = sorted((abs(float(score[0] - extreme)), abs(float(score[-1] - extreme))))
    size = sides[0] if sides[0] > 0.1 * sides[1] else 0.0  # a dip before a long rise is no second branch
    return {"turn_p": max(left, right), "turn_up": up, "turn_size": size}


def _unfitted_sd(design: Design, data: np.ndarray, found, sd: float, freedom: int) -> float | None:
    """The spread of runs that sizes show about the best of all curves, in terms of a seed sd, where no curve
    fits within the spread that seeds show; None where one does.

    Sizes differ by more than their seeds do: recipes, widths, learning rates that suit one size better. A
    break found in such a wobble is none. Sizes are pooled, since what is shared by the seeds of a size is no
    noise of theirs, and the sum of squares is divided by the degrees of freedom left.
    """
    sizes = design.x.size
    best = max(
        (s for s in found if s.mixture is None), key=lambda s: s.loglik - 0.5 * s.freedom * np.log(sizes)
    )
    left = sizes - best.freedom
    scale = _own_levels(design, data)
    profiles = null.profiles_of(design, scale, data[None], np.array([sd]))
    lack = 2 * float(profiles.max(-1).sum() - best.loglik)
    if left < 1 or f_tail(lack / left, left, freedom or 1e6) > _FITS:
        return None
    bounded = np.inf
    if design.items is None and sizes > _TWO_KINKS:
        # what breaks and then saturates is no wobble; for counts a sigmoid with a ceiling has said so
        free = sizes - _TWO_KINKS
        curve = fits.fit(scale, profiles, fits.two_kinks_design(design.x, design.elbows))
        up, down = curve.coefficients[0, :, 2], curve.coefficients[0, :, 3]
        reached = np.where((up > 0) & (down < 0), curve.loglik[0], -np.inf).max()
        lack = 2 * float(profiles.max(-1).sum() - reached)
        if f_tail(lack / free, free, freedom or 1e6) > _FITS:
            return None
        bounded = sd * np.sqrt(lack / free)
    count = np.bincount(design.size)
    sums = np.zeros((sizes, design.size.size))
    sums[design.size, np.arange(design.size.size)] = 1
    if design.items is None:
        pooled = replace(
            design, size=np.arange(sizes), variance=sums @ design.variance / count**2, given_sd=None
        )
        table = sums @ data / count
    else:
        pooled = replace(design, size=np.arange(sizes), items=sums @ design.items, given_sd=None)
        table = sums @ data
    same = [s for s in shapes.candidates(pooled, table, None, False) if s.name == best.name]
    if not same:
        return None
    return max(sd, min(bounded, float(same[0].sd * np.sqrt(sizes / left * count.mean()))))


def _own_levels(design: Design, data: np.ndarray) -> Scale:
    """The scale on which every size may have a level of its own."""
    return null.scales_of(replace(design, ceilings=(1.0,)), data)[0]


def _withstands(design: Design, data: np.ndarray, alpha: float, rng: np.random.Generator) -> float | None:
    """Largest seed sd (of a coarse list) at which the break is still significant; None if at none."""
    tried = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 1.8)
    if design.items is None:
        tried = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
    low, high = -1, len(tried)  # significant at low, not at high
    while high - low > 1:
        middle = (low + high) // 2
        trial = replace(design, given_sd=tried[middle])
        p, _ = null.p_value(trial, null.weigh(trial, data[None]), 200, rng, enough=20)
        low, high = (middle, high) if p <= alpha else (low, middle)
    return None if low < 0 else tried[low]


def check_gates(cells: Cells, built: Sequence[Cells] = ()) -> Cells:
    """The cells with their faults and remarks; other metrics of the task, in `built`, may speak for one."""
    others = [other for other in built if other.task == cells.task and other is not cells]
    faults, remarks = gates.check(cells, others)
    return replace(cells, faults=faults, notes=(*cells.notes, *remarks, *outliers.falls(cells)))


def spread_zero_faults(built: list[Cells]) -> list[Cells]:
    """A model whose exact zeros are impossible on two tasks is not believed in its zeros on the others."""
    counts: dict[float, set[str]] = {}
    zeros = []
    for one in built:
        empty = set()
        if not one.continuous:
            empty = set(one.place[np.bincount(one.size, one.correct, one.x.size) == 0].tolist())
        zeros.append(empty)
        if any(note.code == "exact_zero" for note in one.faults):
            for place in empty:
                counts.setdefault(place, set()).add(one.task)
    doubtful = {place for place, tasks in counts.items() if len(tasks) >= 2}
    out = []
    for one, empty in zip(built, zeros, strict=True):
        shared = empty & doubtful
        if shared and not one.faults and len(empty) < one.x.size:
            at = ", ".join(f"{place:.4g}" for place in sorted(shared))
            text = f"exactly 0 at {at} {one.axis}, where zeros on other tasks are impossible: a faulty run"
            one = replace(one, faults=(Note("exact_zero", text),))
        out.append(one)
    return out
