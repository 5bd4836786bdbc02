"""The candidate curves fitted to one series, ranked by BIC over cells.

BIC only ranks (the number of places tried for an elbow is no parameter it knows of): whether there is a
break is decided by `null`. Its sample size is the number of cells, runs that could have differed, not items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.thresholds import fits, likelihood, seeds
from analysis.thresholds.likelihood import Scale
from analysis.thresholds.null import Design, evenly, placed, profiles_of

_CEILINGS = (0.97, 0.93, 0.88, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.12, 0.06)
# Where seeds are unknown a curve may take the spread that suits it, but none at all suits only a curve that
# follows the noise: seeds of every published ability differ by a tenth of a logit or more.
_UNKNOWN_SD = {"logit": np.geomspace(0.1, 3.0, 14), "identity": np.geomspace(0.01, 3.0, 18)}
_LEAST_BRANCH = 0.2  # of the longer branch; a shorter one is a wobble at the end of a rise, not a turn
_BRANCH_SIGMAS = 2.5  # standard errors from the turn to either end
_ON_THE_SLOPE = (0.1, 0.9)  # share of a sigmoid's rise; two sizes must lie inside, or it is any step


@dataclass(frozen=True)
class Shape:
    """One fitted curve: eta = c0 + c1 x + c2 times max(x - elbow, 0), or [x > elbow], or x^2 by its `kind`;
    of kind `linear` it is c0 + c1 10^x, straight on the axis itself.

    freedom: number of parameters. sd: the seed sd it was fitted with.
    """

    name: str
    freedom: int
    loglik: float
    scale: Scale
    coefficients: np.ndarray
    elbow: float | None
    sd: float
    kind: str = "kink"  # kink, step, square or linear
    mixture: seeds.Mixture | None = None

    def eta(self, x: np.ndarray) -> np.ndarray:
        a, b, c = self.coefficients
        if self.kind == "linear":
            return a + b * 10.0**x
        if self.elbow is None:
            return a + b * x + c * x * x
        return a + b * x + c * (np.maximum(x - self.elbow, 0.0) if self.kind == "kink" else x > self.elbow)

    def score(self, x: np.ndarray) -> np.ndarray:
        """Mean score on the fitting axis x; for a continuous metric its value (`Metric.score` undoes it)."""
        if self.mixture is not None:
            low, high = likelihood.mean_score(self.scale, self.mixture.modes)
            return low + (high - low) * self.mixture.success(x)
        return likelihood.mean_score(self.scale, self.eta(x))


def candidates(design: Design, data: np.ndarray, sd: float | None, with_mixture: bool) -> tuple[Shape, ...]:
    """Every candidate at its best. data (C,); sd None: unknown, so each shape takes the sd that suits it."""
    link = "identity" if design.items is None else "logit"
    sds = np.array([sd]) if sd is not None else _UNKNOWN_SD[link]
    table = np.repeat(data[None], sds.size, 0)
    extra = int(sd is None)
    if design.items is None:
        scale = _identity(data)
        found = _on_scale(design, scale, table, sds, ("flat", "power_law", "broken_power_law"), extra)
        if design.links:
            gold, *even = (likelihood.LOSS_SCALES[link](data) for link in design.links)
            gold = _on_scale(design, gold, table, sds, ("flat", "smooth", "hinge"), extra)
            smooth = [s for s in gold if s.name == "smooth"]
            smooth += [s for each in even for s in _slowing(design, each, table, sds, extra)]
            best = max(smooth, key=lambda s: s.loglik - 0.5 * s.freedom * np.log(design.size.size))
            found += (best, *(s for s in gold if s.name == "hinge"))
        return found
    logit = likelihood.count_scale("logit", design.chance)
    found = list(_on_scale(design, logit, table, sds, ("flat", "smooth", "hinge"), extra))
    if sd is not None:  # near its floor a straight score is at home with any spread that nobody measured
        even = _even(design, table, sds, extra)
        found = [max(s, even, key=lambda one: one.loglik) if s.name == "smooth" else s for s in found]
    loglog = likelihood.count_scale("loglog", design.chance)
    found += [
        shape
        for shape in _on_scale(design, loglog, table, sds, ("flat", "power_law", "broken_power_law"), extra)
        if shape.name in ("power_law", "broken_power_law")
    ]
    capped = [
        _line(design, likelihood.count_scale("logit", design.chance, top), table, sds, extra)
        for top in _CEILINGS
        if top > 1.05 * design.chance
    ]
    sigmoid = max(capped, key=lambda shape: shape.loglik)
    if _resolved(sigmoid, design.x):
        found.append(sigmoid)
    if with_mixture:
        mixture = seeds.fit_mixture(logit, data, design.items, design.x, design.size)
        if mixture is not None:
            none = np.zeros(3)
            found.append(
                Shape(
                    "seed_mixture", mixture.freedom, mixture.loglik, logit, none, None, 0.0, mixture=mixture
                )
            )
    return tuple(found)


def _resolved(sigmoid: Shape, x: np.ndarray) -> bool:
    """Do sizes lie on the slope of a sigmoid? Between two of them it may be as steep as one likes."""
    unit = likelihood.unit_score(sigmoid.scale.link, sigmoid.eta(x))
    on = (unit > _ON_THE_SLOPE[0]) & (unit < _ON_THE_SLOPE[1])
    return bool(sigmoid.coefficients[1] > 0 and on.sum() >= 2)


def weights(shapes: tuple[Shape, ...], cells: int) -> tuple[tuple[str, float], ...]:
    """(name, weight), the best first; weights exp(-BIC / 2) that sum to 1."""
    half = np.array([shape.loglik - 0.5 * shape.freedom * np.log(cells) for shape in shapes])
    share = np.exp(half - half.max())
    share /= share.sum()
    order = np.argsort(-share)
    return tuple((shapes[i].name, float(share[i])) for i in order)


def ceilings(shapes: tuple[Shape, ...]) -> tuple[float, ...]:
    """Upper limits for the break test: 1, and the sigmoid's where the data ask for one."""
    best = {shape.name: shape for shape in shapes}
    if "sigmoid" not in best or best["sigmoid"].coefficients[1] <= 0:
        return (1.0,)
    gain = 2 * (best["sigmoid"].loglik - best["smooth"].loglik)
    return (1.0, best["sigmoid"].scale.ceiling) if gain > 4 else (1.0,)


def _identity(data: np.ndarray) -> Scale:
    reach = max(float(np.ptp(data)), 1.0)
    return Scale("identity", np.linspace(data.min() - 2 * reach, data.max() + 2 * reach, 161))


def _line(design: Design, scale: Scale, table: np.ndarray, sds: np.ndarray, extra: int) -> Shape:
    profiles = profiles_of(design, scale, table, sds)
    fit = fits.fit(scale, profiles, fits.line_design(design.x))
    best = int(fit.loglik[:, 0].argmax())
    a, b = fit.coefficients[best, 0]
    return Shape(
        "sigmoid", 3 + extra, float(fit.loglik[best, 0]), scale, np.array([a, b, 0.0]), None, float(sds[best])
    )


def _on_scale(
    design: Design, scale: Scale, table: np.ndarray, sds: np.ndarray, names: tuple[str, str, str], extra: int
) -> tuple[Shape, ...]:
    """Flat, straight, bent upwards and non-monotone curves on one scale."""
    x = design.x
    tables = fits.tabulate(scale, profiles_of(design, scale, table, sds))
    flat = fits.fit_tables(tables, fits.flat_design(x))
    line = fits.fit_tables(tables, fits.line_design(x))
    found = [
        _best(names[0], 1 + extra, scale, flat, sds, lambda c: (c[0], 0.0, 0.0)),
        _best(names[1], 2 + extra, scale, line, sds, lambda c: (c[0], c[1], 0.0)),
    ]
    if design.linear:
        found[1] = max(found[1], _linear(design, scale, tables, names[1], sds, extra), key=lambda s: s.loglik)
    if x.size < 4:
        return tuple(found)
    elbows = design.elbows
    hinge = fits.fit_tables(tables, fits.hinge_design(x, elbows))
    found += _rising(design, scale, tables, table, hinge, elbows, sds, names[2], extra)
    if names[1] == "power_law" and scale.link == "loglog":
        return tuple(found)
    steps, places = fits.step_design(x)
    if places.size:
        step = fits.fit_tables(tables, steps)
        found += _rising(design, scale, tables, table, step, places, sds, "step", extra)
    sharp = np.stack([_two_branches(scale, fits.hinge_design(x, elbows), c) for c in hinge.coefficients])
    turning = fits.Fit(hinge.coefficients, np.where(sharp, hinge.loglik, -np.inf))
    shapes = []
    if np.isfinite(turning.loglik).any():
        shapes.append(_best("non_monotone", 4 + extra, scale, turning, sds, tuple, elbows))
    bowl = fits.fit_tables(tables, fits.quadratic_design(x))
    wide = np.stack([_two_branches(scale, fits.quadratic_design(x), c) for c in bowl.coefficients])
    bowl = fits.Fit(bowl.coefficients, np.where(wide, bowl.loglik, -np.inf))
    if np.isfinite(bowl.loglik).any():
        shapes.append(_best("non_monotone", 3 + extra, scale, bowl, sds, tuple))
    if shapes and _turns(design, table[0], sds.min()):
        found.append(max(shapes, key=lambda s: s.loglik - 0.5 * s.freedom * np.log(design.size.size)))
    return tuple(found)


def _even(design: Design, table: np.ndarray, sds: np.ndarray, extra: int) -> Shape:
    """Straight in the score itself."""
    scale = likelihood.count_scale("even", design.chance)
    line, value = evenly(design, fits.tabulate(scale, profiles_of(design, scale, table, sds)))
    best = int(value.argmax())
    coefficients = np.append(line[best], 0.0)
    return Shape("smooth", 2 + extra, float(value[best]), scale, coefficients, None, float(sds[best]))


def _linear(design: Design, scale: Scale, tables, name: str, sds, extra: int) -> Shape:
    """Straight in the tokens themselves, as what a run learns at a constant rate is."""
    fit = fits.fit_tables(tables, fits.line_design(10.0 ** (design.x - design.x[-1])))
    unit = 10.0 ** design.x[-1]
    return _best(name, 2 + extra, scale, fit, sds, lambda c: (c[0], c[1] / unit, 0.0), kind="linear")


def _slowing(design: Design, scale: Scale, table: np.ndarray, sds: np.ndarray, extra: int) -> list[Shape]:
    """Straight, and slowing down without a turn, on one scale: as smooth as the null has it."""
    tables = fits.tabulate(scale, profiles_of(design, scale, table, sds))
    line = fits.fit_tables(tables, fits.line_design(design.x))
    found = [_best("smooth", 2 + extra, scale, line, sds, lambda c: (c[0], c[1], 0.0))]
    bowl = fits.fit_tables(tables, fits.quadratic_design(design.x))
    slopes = bowl.coefficients[..., 1] + 2 * bowl.coefficients[..., 2] * design.x[-1]
    slows = fits.Fit(
        bowl.coefficients, np.where((bowl.coefficients[..., 2] < 0) & (slopes >= 0), bowl.loglik, -np.inf)
    )
    if np.isfinite(slows.loglik).any():
        found.append(_best("smooth", 3 + extra, scale, slows, sds, tuple))
    return found


def _turns(design: Design, data: np.ndarray, sd: float) -> bool:
    """Does the score itself, size by size, leave both of its ends, by more than the noise of two sizes?"""
    count = np.bincount(design.size)
    if design.items is None:
        mean = np.bincount(design.size, data) / count
        error2 = (np.bincount(design.size, design.variance) / count + sd**2) / count
    else:
        total = np.bincount(design.size, design.items)
        mean = np.bincount(design.size, data) / total
        spread = mean * (1 - mean)
        error2 = np.maximum(spread, 0.25 / total) / total + (spread * sd) ** 2 / count
    for sign in (1.0, -1.0):
        at = int((sign * mean).argmax())
        apart = [sign * (mean[at] - mean[end]) / np.sqrt(error2[at] + error2[end] + 1e-12) for end in (0, -1)]
        if min(apart) > _BRANCH_SIGMAS:
            return True
    return False


def _two_branches(scale: Scale, designs: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Which curves (P,) turn at an inner size, with a shorter branch that is no mere wobble of the score."""
    score = likelihood.mean_score(scale, np.einsum("pq,pkq->pk", coefficients, designs))
    start, end = score[:, 0], score[:, -1]
    high, low = score.max(1), score.min(1)
    over, under = high - np.maximum(start, end), np.minimum(start, end) - low
    branch, reach = np.maximum(over, under), high - low
    return branch > _LEAST_BRANCH * np.maximum(reach - branch, 1e-12)


def _rising(design, scale, tables, table, full: fits.Fit, places, sds, name: str, extra: int) -> list[Shape]:
    """The best curve that rises and breaks upwards; level before the break where BIC prefers that."""
    kind = "step" if name == "step" else "kink"
    designs = fits.step_design(design.x)[0] if kind == "step" else fits.hinge_design(design.x, places)
    before, bend = full.coefficients[..., 1], full.coefficients[..., 2]
    there = placed(design, table, places)
    rising = fits.Fit(full.coefficients, np.where((before >= 0) & (bend > 0) & there, full.loglik, -np.inf))
    level = fits.fit_tables(tables, designs[..., [0, 2]])
    level = fits.Fit(
        level.coefficients, np.where((level.coefficients[..., 1] > 0) & there, level.loglik, -np.inf)
    )
    found = []
    if np.isfinite(rising.loglik).any():
        found.append(_best(name, 4 + extra, scale, rising, sds, tuple, places, kind))
    if np.isfinite(level.loglik).any():
        found.append(_best(name, 3 + extra, scale, level, sds, lambda c: (c[0], 0.0, c[1]), places, kind))
    if not found:
        return []
    return [max(found, key=lambda s: s.loglik - 0.5 * s.freedom * np.log(design.size.size))]


def _best(name, freedom, scale, fit: fits.Fit, sds, spread, elbows=None, kind="kink") -> Shape:
    row, which = np.unravel_index(int(fit.loglik.argmax()), fit.loglik.shape)
    elbow = None if elbows is None else float(elbows[which])
    coefficients = np.array(spread(fit.coefficients[row, which]), float)
    return Shape(
        name, freedom, float(fit.loglik[row, which]), scale, coefficients, elbow, float(sds[row]), kind
    )
