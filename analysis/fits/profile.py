"""Profile likelihood: all values of a quantity that the table does not refuse, whatever the rest must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analysis.errors import InputError
from analysis.fits.results import Fit
from analysis.intervals.bootstrap import Interval
from analysis.intervals.resample import inflated
from analysis.laws.frontier import exponents, optimum, spends_compute
from analysis.laws.law import Law
from analysis.solve.centre import centred
from analysis.solve.estimator import curvature, minimise
from analysis.solve.objectives import Rho
from analysis.solve.scale import CORNER, noise_of

# Weight of the row that holds the quantity near its place, over the sum of the others' curvature.
HOLD = 1e4
STEP = 1e-6
# How often an end is looked for further out, each time up to FURTHER times as far, and how often between.
OUTWARD, FURTHER = 14, 3.0
BETWEEN = 20
# An end is found when the root of the rise is this near to what is allowed.
NEAR_ENOUGH = 5e-3
# What may be left of the objective at a point of the profile: a hundred-thousandth of what is allowed to
# rise.
ROUGHLY = {"tolerance": 1e-7, "steps": 100}


@dataclass(frozen=True, eq=False)
class Held(Law):
    """A law with one more row, whose `log loss` is a quantity of the parameters: a weight on it holds it."""

    base: Law
    quantity: Callable[[np.ndarray], np.ndarray]

    @property
    def parameters(self):
        return self.base.parameters

    @property
    def bounds(self):
        return self.base.bounds

    def prepare(self, x: np.ndarray):
        inner = self.base.prepare(x[:, :-1])
        return lambda theta: HeldEvaluation(
            inner(theta), self.quantity(theta), gradient(self.quantity, theta)
        )

    def log_loss(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.column_stack([self.base.log_loss(theta, x[:, :-1]), self.quantity(theta)])


class HeldEvaluation:
    """value (B, n + 1), jacobian (B, P, n + 1); the quantity's own curvature is left out of the Hessian."""

    def __init__(self, inner, value: np.ndarray, slope: np.ndarray):
        self.inner, self.slope = inner, slope
        self.value = np.column_stack([inner.value, value])
        self.jacobian = np.concatenate([inner.jacobian, slope[:, :, None]], axis=2)

    def hessian(self, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        rows = self.inner.hessian(outer[:, :-1], inner[:, :-1])
        return rows + outer[:, -1, None, None] * self.slope[:, :, None] * self.slope[:, None]


def gradient(quantity, theta: np.ndarray) -> np.ndarray:
    """(B, P) by central differences."""
    moves = STEP * np.eye(theta.shape[1])
    return np.stack([(quantity(theta + m) - quantity(theta - m)) / (2 * STEP) for m in moves], axis=1)


def profile_interval(
    fit: Fit,
    what: str,
    level: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    tokens: float | None = None,
) -> Interval:
    """(low, high) of a parameter, of `params_exponent`, of compute-optimal `params` or `tokens` at flops, or
    of the law's `loss` at params and tokens.

    The objective is scaled so that twice its rise is a chi-square of one degree (Schrader and Hettmansperger
    1980, Biometrika 67), with Student's t for few rows and the variance of dependent rows by cluster. An end
    that the table does not bound is infinite, or zero for positive quantities.
    Raises InputError for a quantity that the law does not have, and for l1, whose objective has no curvature.
    """
    law, rho = fit.law, fit.rho
    level = level or fit.level
    if what in law.names and fit.params[what] == 0 and constant(law, what):
        x, target, centre = centred(fit.rows, law, rho)
        place, theta = law.names.index(what), law.to_inner(fit.params, centre)
        quantile = student_quantile(fit, level)
        return _vanished(law, x, target, centre, rho, theta, fit.rows.clusters, place, quantile)
    if rho.name == "l1":
        raise InputError("profile: l1 has no curvature to scale its rise by; fit huber with a small delta")
    quantity, logs = _quantity(law, what, flops, params, tokens, fit)
    low, high = profile_of(fit, quantity, level, what)
    if logs:
        with np.errstate(over="ignore"):
            return float(np.exp(low)), float(np.exp(high))
    return low, high


def student_quantile(fit: Fit, level: float) -> float:
    """Student's, with as many degrees of freedom as clusters leave."""
    from scipy.special import stdtrit

    count = min(len(fit.rows), int(fit.rows.clusters.max()) + 1)
    return float(stdtrit(max(count - len(fit.law.names), 1), 0.5 + level / 2))


def profile_of(fit: Fit, public, level: float, what: str) -> Interval:
    """(low, high) of a quantity, a function of parameters in the table's units, each (B,), that gives (B,)."""
    law, rho, rows = fit.law, fit.rho, fit.rows
    x, target, centre = centred(rows, law, rho)
    theta = law.to_inner(fit.params, centre)

    def quantity(at: np.ndarray) -> np.ndarray:
        return public(law.to_public(at, centre))

    here = float(quantity(theta[None])[0])
    if not np.isfinite(here):
        raise InputError(f"profile: the fit has no {what}")
    quantile = student_quantile(fit, level)
    unit, error = _scale(law, x, target, rho, theta, rows.clusters, gradient(quantity, theta[None])[0])
    allowed = quantile**2 * unit / 2
    held = Held(law, lambda at: quantity(at) - here)
    wide = np.concatenate([x, np.zeros((len(x), 1))], axis=1)
    longer = rho if rho.scale is None else replace(rho, scale=np.append(rho.scale, 1.0))
    stiff = HOLD * max(unit, 1e-300) / max(error, 1e-9) ** 2
    if rho.name != "squared":
        # Beyond its corner the added row would pull with a constant force.
        stiff *= max(1.0, error / rho.delta)
    weights = np.append(np.ones(len(target)), stiff)
    base = float(rho.exact(rho.residual(target, law.log_loss(theta[None], x)[0])).sum())

    def rise(offset: float, begin: np.ndarray) -> Place:
        """The lowest objective with the quantity pulled towards `offset`. Where it comes to rest is a point
        of the profile, however near the goal that is; so it is the offset it has that counts."""
        goal = np.append(target, offset)
        for start in (begin, theta):
            found = minimise(held, wide, goal, longer, start[None], weights, direct=True, **ROUGHLY)
            if found.converged[0]:
                break
        at = found.theta[0]
        away = float(quantity(at[None])[0]) - here
        return Place(away, _risen(law, x, target, rho, at, base), at, bool(found.converged[0]))

    def rise_held(offset: float, begin: np.ndarray) -> Place:
        """The same of a parameter that is fitted as it stands, which can be held exactly."""
        at = np.clip(theta[index] + offset, low_[index], high_[index])
        bounds = low_[None].copy(), high_[None].copy()
        bounds[0][0, index] = bounds[1][0, index] = at
        for start in (begin, theta):
            start = start[None].copy()
            start[0, index] = at
            found = minimise(law, x, target, rho, start, bounds=bounds, direct=True, **ROUGHLY)
            if found.converged[0]:
                break
        there = found.theta[0]
        return Place(
            at - theta[index], _risen(law, x, target, rho, there, base), there, bool(found.converged[0])
        )

    low_, high_ = (np.broadcast_to(limit, theta.shape) for limit in law.bounds)
    index = law.names.index(what) if what in law.names and _alone(law, what) else -1
    rise = rise if index < 0 else rise_held
    low, high = (_edge(rise, theta, sign * error * quantile, allowed) for sign in (-1.0, 1.0))
    return here + low, here + high


def _risen(law: Law, x, target, rho: Rho, theta: np.ndarray, base: float) -> float:
    value = float(rho.exact(rho.residual(target, law.log_loss(theta[None], x)[0])).sum())
    return max(value - base, 0.0) if np.isfinite(value) else np.inf


def constant(law: Law, name: str) -> bool:
    """Whether a parameter is an offset of the loss that may vanish, such as E."""
    parameter = law.parameters[law.names.index(name)]
    return parameter.vanishes and dict(parameter.units) == {"loss": 1}


def _alone(law: Law, name: str) -> bool:
    """Whether a parameter's value, or its logarithm, is a fitted number but for a constant."""
    units = law.parameters[law.names.index(name)].units
    return all(unit == "loss" and isinstance(power, int | float) for unit, power in units.items())


@dataclass(frozen=True)
class Place:
    """A point of the profile: offset of the quantity, rise of the objective, theta (P,), whether it is an optimum."""

    offset: float
    rise: float
    theta: np.ndarray
    optimum: bool

    def within(self, allowed: float) -> bool:
        """An objective that was not minimised is above its minimum: it can accept an offset, never refuse one."""
        return self.rise <= allowed or not self.optimum


def _edge(rise: Callable[[float, np.ndarray], Place], theta, step: float, allowed: float) -> float:
    """The offset, on the side of `step`, at which the objective has risen by `allowed`; infinite where it does not.

    The root of the rise is nearly a straight line in the offset, so the end is looked for along it, outwards
    first and then between what is within and what is not.
    """
    inside, outside = Place(0.0, 0.0, theta, True), None
    asked, goal = step, float(np.sqrt(allowed))
    for _ in range(OUTWARD):
        there = rise(asked, inside.theta)
        if not np.isfinite(there.offset):
            return float(np.sign(step) * np.inf)
        if not there.within(allowed):
            outside = there
            break
        if abs(there.offset - inside.offset) < 1e-3 * abs(asked - inside.offset) or there.offset * step <= 0:
            return float(np.sign(step) * np.inf)  # the law's domain ends here, and the table allows it
        root = float(np.sqrt(min(there.rise, allowed)))
        inside, asked = there, there.offset * min(FURTHER, 1.1 * goal / max(root, 1e-300))
    if outside is None:
        return float(np.sign(step) * np.inf)
    for _ in range(BETWEEN):
        first, last = float(np.sqrt(inside.rise)), float(np.sqrt(outside.rise))
        near = abs(outside.offset - inside.offset) < 1e-3 * abs(outside.offset)
        if near or last - goal < NEAR_ENOUGH * goal:
            break
        part = (goal - first) / (last - first) if last > first else 0.5
        asked = inside.offset + min(max(part, 0.05), 0.95) * (outside.offset - inside.offset)
        there = rise(asked, inside.theta)
        if not abs(inside.offset) < abs(there.offset) < abs(outside.offset):
            break
        inside, outside = (there, outside) if there.within(allowed) else (inside, there)
    return outside.offset


def _vanished(
    law: Law, x, target, centre, rho: Rho, theta, clusters, index: int, quantile: float
) -> Interval:
    """(0, the largest value of a factor that the table does not refuse), where its best value is 0.

    Its logarithm is minus infinity there and its slope zero: it is held at values from far out to near, and
    the scale is that of a term of a hundredth of the loss.
    """
    bounds = [np.broadcast_to(limit, (2, len(theta))).copy() for limit in law.bounds]
    # A kinked objective is rough near its bound, and an l1 fit has no curvature at all.
    size = noise_of(law, x, target, rho, theta).size
    smooth = rho if rho.name == "squared" else replace(rho, name="huber", delta=max(CORNER * size, 1e-12))
    best = minimise(law, x, target, smooth, theta[None], direct=True)
    middle = best.theta[0].copy()
    middle[index] = max(np.log(0.01) + float(target.mean()), law.bounds[0][index])
    slope = np.zeros(len(theta))
    slope[index] = 1.0
    unit, _ = _scale(law, x, target, smooth, middle, clusters, slope, best.theta[0])
    allowed = quantile**2 * unit / 2

    def refused(value: float, begin: np.ndarray) -> tuple[bool, np.ndarray]:
        for limit in bounds:
            limit[:, index] = value
        starts = np.stack([begin, middle])
        starts[:, index] = value
        sides = bounds[0], bounds[1]
        found = minimise(law, x, target, smooth, starts, bounds=sides, direct=True, **ROUGHLY)
        at = int(np.argmin(np.where(np.isfinite(found.value), found.value, np.inf)))
        return bool(found.converged[at] and found.value[at] - best.value[0] > allowed), found.theta[at]

    inside, at = float(middle[index]), middle
    outside = inside
    for _ in range(20):
        no, there = refused(outside, at)
        if no:
            break
        inside, at, outside = outside, there, outside + 1.0
    else:
        return 0.0, np.inf
    while inside == outside or refused(inside, middle)[0]:
        outside, inside = inside, inside - 1.0
        if inside < law.bounds[0][index]:
            break
    while outside - inside > 2e-3:
        value = 0.5 * (inside + outside)
        no, there = refused(value, at)
        inside, outside, at = (inside, value, at) if no else (value, outside, there)
    found = at.copy()
    found[index] = outside
    return 0.0, float(law.to_public(found[None], centre)[law.names[index]][0])


def _scale(law: Law, x, target, rho: Rho, theta, clusters, slope, fitted=None) -> tuple[float, float]:
    """(what a chi-square of one unit is in the objective, standard error of the quantity). fitted: where residuals
    are taken, if not at theta.

    Independent rows give it by the mean square of rho' over the mean of rho'', with the degrees of freedom
    that are left: for squared errors Student's theory to the letter. Dependent ones give it by cluster.
    """
    around = law.evaluate(theta[None], x)
    here = around.value[0] if fitted is None else law.log_loss(fitted[None], x)[0]
    residual = np.abs(rho.residual(target, here))
    corner = max(rho.delta if rho.name == "huber" else 0.0, 0.3 * float(np.median(residual)))
    smooth = rho if rho.name == "squared" else replace(rho, name="huber", delta=corner)
    factor = rho.delta / corner if rho.name == "huber" else 1.0
    bent = factor * curvature(law, x, target, smooth, theta)
    scale = np.sqrt(np.maximum(np.abs(np.diag(bent)), 1e-300))
    inverse = np.linalg.pinv(bent / np.outer(scale, scale), rcond=1e-10, hermitian=True)
    along = inverse @ (slope / scale)
    plain = max(float(along @ (slope / scale)), 1e-300)
    pull = rho.in_log_loss(target, here)[1]
    count = int(clusters.max()) + 1
    if count == len(target):
        bend = factor * float(np.mean(smooth.in_log_loss(target, here)[2]))
        unit = float((pull**2).sum()) / max(count - len(theta), 1) / max(bend, 1e-300)
        return unit, float(np.sqrt(max(unit * plain, 1e-300)))
    # The fit hides part of its own rows' noise: freed from its pull as the jackknife would (CR3).
    pull = around.jacobian[0] * inflated(around.jacobian[0], pull, clusters, 1.0)
    total = np.zeros((count, len(theta)))
    np.add.at(total, clusters, pull.T)
    variance = float(np.sum((total / scale @ along) ** 2))
    return variance / plain, float(np.sqrt(max(variance, 1e-300)))


def _quantity(law: Law, what: str, flops, params, tokens, fit: Fit):
    """(parameters in the table's units, each (B,) -> (B,); whether that is a logarithm)."""
    if what in law.names:
        index = law.names.index(what)
        logs = law.parameters[index].positive
        if logs and not fit.params[what] > 0:
            raise InputError(f"profile: {what} has vanished from this fit")
        return (lambda at: np.log(at[what]) if logs else at[what]), logs
    if what == "loss":
        place = {"params": params, "tokens": tokens, "flops": flops}
        inputs = {name: np.array([value], float) for name, value in place.items() if value is not None}
        if "flops" in law.inputs and flops is None and params and tokens:
            inputs["flops"] = 6 * inputs["params"] * inputs["tokens"]
        inputs = law.need(inputs)

        def log_loss(at):
            shaped = {name: values[:, None] for name, values in at.items()}
            return np.log(law.loss(shaped, inputs)[:, 0])

        return log_loss, True
    if not spends_compute(law) or what not in ("params_exponent", "params", "tokens"):
        raise InputError(f"profile: {law.name} has no {what!r}; it has {', '.join(law.names)}, loss")
    if what == "params_exponent":
        most = flops or float((6 * fit.data["params"] * fit.data["tokens"]).max())
        return (lambda at: exponents(law, at, most)), False
    if not flops:
        raise InputError(f"profile: compute-optimal {what} need flops")
    if what == "params":
        return (lambda at: optimum(law, at, flops)), True
    return (lambda at: np.log(flops / 6) - optimum(law, at, flops)), True


def profiled(fit: Fit, names) -> dict[str, Interval]:
    """Intervals of those of the parameters that have not vanished, and of factors that have."""
    return {
        name: profile_interval(fit, name)
        for name in names
        if fit.params[name] != 0 or constant(fit.law, name)
    }


def by_profile(fit: Fit) -> Fit:
    """The fit with the intervals of its parameters and its exponent by profile likelihood."""
    intervals = profiled(fit, fit.law.names)
    allocation = fit.allocation
    if allocation is not None:
        allocation = replace(allocation, interval=profile_interval(fit, "params_exponent"))
    if fit.few:
        text = f"profile likelihood; allocations: {fit.resampled}"
    else:
        text = f"profile likelihood; predictions: {fit.resampled}"
    return replace(fit, intervals={**fit.intervals, **intervals}, allocation=allocation, resampled=text)
