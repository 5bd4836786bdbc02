"""Profile likelihood: all values of a quantity that the table does not refuse, whatever the rest must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.errors import InputError
from analysis.fits.edges import Place, edge_of, together
from analysis.fits.held import Held, bent
from analysis.fits.results import Fit
from analysis.intervals.bootstrap import Interval
from analysis.intervals.resample import inflated
from analysis.laws.frontier import exponents, optimum, separable, spends_compute
from analysis.laws.law import Law
from analysis.solve.centre import centred
from analysis.solve.estimator import Optimum, curvature, minimise
from analysis.solve.objectives import Rho
from analysis.solve.scale import CORNER, few_factor, noise_of, spanned, tangent

# Weight of the row that holds a quantity near its place, over the curvature of the others along it. A stiffer
# one takes hundreds of steps along a bent surface.
HOLD = 100.0
# What may be left of the objective at a point of the profile: a hundred-thousandth of what is allowed to
# rise.
ROUGHLY = {"tolerance": 1e-7, "steps": 100}
# Steps more for a point that is no optimum by then: along the valleys of a law of six parameters it takes
# hundreds, and what is not minimised can refuse nothing.
PATIENT = 1000


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
    return _profiles(fit, [_quantity(law, what, flops, params, tokens, fit)], level)[what]


def student_quantile(fit: Fit, level: float) -> float:
    """Student's, with as many degrees of freedom as clusters leave."""
    from scipy.special import stdtrit

    count = min(len(fit.rows), int(fit.rows.clusters.max()) + 1)
    return float(stdtrit(max(count - len(fit.law.names), 1), 0.5 + level / 2))


@dataclass(frozen=True)
class Quantity:
    """What is profiled: a function of parameters in the table's units, each (B,), that gives (B,). logs:
    whether it is the logarithm of what is asked for."""

    name: str
    public: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    logs: bool = False


def _profiles(fit: Fit, asked: Sequence[Quantity], level: float) -> dict[str, Interval]:
    if not asked:
        return {}

    def public(at: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.stack([one.public(at) for one in asked], axis=1)

    ends = profiles_of(fit, public, level, [one.name for one in asked])
    with np.errstate(over="ignore"):
        return {
            one.name: tuple(float(end) for end in (np.exp(pair) if one.logs else pair))
            for one, pair in zip(asked, ends.T, strict=True)
        }


def profiles_of(fit: Fit, public, level: float, names: Sequence[str]) -> np.ndarray:
    """(2, K) ends of quantities, a function of parameters in the table's units, each (B,), that gives (B, K).

    All ends are looked for at once: each is a fit of few rows, and many of them are hardly dearer than one.
    """
    law, rho, rows = fit.law, fit.rho, fit.rows
    x, target, centre = centred(rows, law, rho)
    theta = law.to_inner(fit.params, centre)

    def raw(at: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return public(law.to_public(at, centre))

    here = raw(theta[None])[0]
    if not np.isfinite(here).all():
        raise InputError(f"profile: the fit has no {names[int(np.argmin(np.isfinite(here)))]}")
    _, (slopes,), (bends,) = bent(raw, theta[None])
    quantile = student_quantile(fit, level)
    scales = [_scale(law, x, target, rho, theta, rows.clusters, slope) for slope in slopes.T]
    unit, error = np.array(scales).T
    held = Held(law, lambda at: raw(at) - here, len(here))
    wide = np.concatenate([x, np.zeros((len(x), len(here)))], axis=1)
    more = np.ones(len(here))
    longer = rho if rho.scale is None else replace(rho, scale=np.append(rho.scale, more))
    stiff = HOLD * np.maximum(unit, 1e-300) / np.maximum(error, 1e-9) ** 2
    if rho.name != "squared":
        # Beyond its corner the added row would pull with a constant force.
        stiff = stiff * np.maximum(1.0, error / rho.delta)
    base = float(rho.exact(rho.residual(target, law.log_loss(theta[None], x)[0])).sum())
    alone = np.array([_alone(law, *each) for each in zip(names, slopes.T, bends.T, strict=True)])

    def rise(which: np.ndarray, offsets: np.ndarray, begin: np.ndarray) -> list[Place]:
        """The lowest objective with quantities pulled towards their offsets, one a row. Where it comes to
        rest is a point of the profile, however near the goal that is; so it is the offset it has that counts.
        Parameters that are fitted as they stand are held exactly."""
        count = np.arange(len(which))
        goal = np.column_stack([np.tile(target, (len(which), 1)), np.zeros((len(which), len(here)))])
        weights = np.column_stack([np.ones((len(which), len(target))), np.zeros((len(which), len(here)))])
        # What holds it gives way by its share.
        goal[count, len(target) + which] = offsets * (1 + 1 / HOLD)
        weights[count, len(target) + which] = np.where(alone[which] < 0, stiff[which], 0.0)
        low, high = (np.broadcast_to(limit, begin.shape).copy() for limit in law.bounds)
        mine = np.flatnonzero(alone[which] >= 0)
        place = alone[which[mine]]
        at = np.clip(theta[place] + offsets[mine], low[mine, place], high[mine, place])
        low[mine, place] = high[mine, place] = at

        def settled(some: np.ndarray, start: np.ndarray, **how) -> Optimum:
            bounds = low[some], high[some]
            start = np.clip(start, *bounds)
            how = {**ROUGHLY, **how}
            return minimise(
                held, wide, goal[some], longer, start, weights[some], direct=True, bounds=bounds, **how
            )

        found = settled(count, begin)
        for steps in (ROUGHLY["steps"], PATIENT):
            again = np.flatnonzero(~found.converged)
            if not len(again):
                break
            anew = steps == ROUGHLY["steps"]
            second = settled(
                again, np.tile(theta, (len(again), 1)) if anew else found.theta[again], steps=steps
            )
            better = second.converged | ~(second.value > found.value[again])
            for name in ("theta", "value", "converged"):
                getattr(found, name)[again[better]] = getattr(second, name)[better]
        with np.errstate(all="ignore"):
            away = raw(found.theta)[count, which] - here[which]
            value = rho.exact(rho.residual(target, law.log_loss(found.theta, x))).sum(axis=1)
        risen = np.where(np.isfinite(value), np.maximum(value - base, 0.0), np.inf)
        return [
            Place(float(away[i]), float(risen[i]), found.theta[i], bool(found.converged[i])) for i in count
        ]

    steps = np.stack([-error * quantile, error * quantile])
    allowed = quantile**2 * unit / 2
    index = np.tile(np.arange(len(here)), 2)
    edges = [edge_of(theta, step, allowed[k]) for k, step in zip(index, steps.ravel(), strict=True)]
    found = together(edges, index, rise)
    return here + np.reshape(found, (2, len(here)))


def constant(law: Law, name: str) -> bool:
    """Whether a parameter is an offset of the loss that may vanish, such as E."""
    parameter = law.parameters[law.names.index(name)]
    return parameter.vanishes and dict(parameter.units) == {"loss": 1}


def _alone(law: Law, name: str, slope: np.ndarray, bend: np.ndarray) -> int:
    """Which of the fitted numbers is this quantity, or its logarithm, but for a constant; -1 for none. slope
    (P,) and bend (P, P) of it in those: the coupled law is fitted in gamma alpha, and alpha is none of them.
    """
    if name not in law.names:
        return -1
    place = law.names.index(name)
    same = np.abs(slope - np.eye(len(slope))[place]).max() < 1e-4 and np.abs(bend).max() < 1e-4
    return place if same else -1


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
    """(what a chi-square of one unit is in the objective, standard error of the quantity). fitted: where
    residuals are taken, if not at theta.

    Independent rows give it by the mean square of rho' over the mean of rho'', with the degrees of freedom
    that are left: for squared errors Student's theory to the letter, for Huber's with his factor for few rows
    (`few_factor`). Dependent ones give it by cluster.
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
        basis = spanned(tangent(law, x, target, rho, theta)[1])
        unit *= few_factor(residual, np.minimum((basis**2).sum(axis=1), 1.0), rho) ** 2
        return unit, float(np.sqrt(max(unit * plain, 1e-300)))
    # The fit hides part of its own rows' noise: freed from its pull as the jackknife would (CR3).
    pull = around.jacobian[0] * inflated(around.jacobian[0], pull, clusters, 1.0)
    total = np.zeros((count, len(theta)))
    np.add.at(total, clusters, pull.T)
    variance = float(np.sum((total / scale @ along) ** 2))
    return variance / plain, float(np.sqrt(max(variance, 1e-300)))


def _quantity(law: Law, what: str, flops, params, tokens, fit: Fit) -> Quantity:
    if what in law.names:
        index = law.names.index(what)
        logs = law.parameters[index].positive
        if logs and not fit.params[what] > 0:
            raise InputError(f"profile: {what} has vanished from this fit")
        return Quantity(what, (lambda at: np.log(at[what])) if logs else (lambda at: at[what]), logs)
    if what == "loss":
        place = {"params": params, "tokens": tokens, "flops": flops}
        inputs = {name: np.array([value], float) for name, value in place.items() if value is not None}
        if "flops" in law.inputs and flops is None and params and tokens:
            inputs["flops"] = 6 * inputs["params"] * inputs["tokens"]
        inputs = law.need(inputs)

        def log_loss(at):
            shaped = {name: values[:, None] for name, values in at.items()}
            return np.log(law.loss(shaped, inputs)[:, 0])

        return Quantity(what, log_loss, True)
    if not spends_compute(law) or what not in ("params_exponent", "params", "tokens"):
        raise InputError(f"profile: {law.name} has no {what!r}; it has {', '.join(law.names)}, loss")
    if what == "params_exponent":
        most = flops or float((6 * fit.data["params"] * fit.data["tokens"]).max())
        return Quantity(what, lambda at: exponents(law, at, most))
    if not flops:
        raise InputError(f"profile: compute-optimal {what} need flops")
    if what == "params":
        return Quantity(what, lambda at: optimum(law, at, flops), True)
    return Quantity(what, lambda at: np.log(flops / 6) - optimum(law, at, flops), True)


def profiled(fit: Fit, names: Sequence[str]) -> dict[str, Interval]:
    """Intervals of those parameters that have not vanished, of factors that have, and of whatever else."""
    present = [name for name in names if fit.params.get(name) != 0]
    empty = [name for name in names if name not in present and constant(fit.law, name)]
    asked = [_quantity(fit.law, name, None, None, None, fit) for name in present]
    return {**_profiles(fit, asked, fit.level), **{name: profile_interval(fit, name) for name in empty}}


def by_profile(fit: Fit) -> Fit:
    """The fit with the intervals of its parameters and its exponent by profile likelihood."""
    exponents = fit.exponents
    # Where the optimum is searched for, a profile would take thousands of searches; draws take one each.
    drawn = fit.few and not separable(fit.law)
    more = [] if exponents is None or drawn else ["params_exponent"]
    intervals = profiled(fit, [*fit.law.names, *more])
    if more and exponents is not None:
        exponents = replace(exponents, interval=intervals.pop("params_exponent"))
    if fit.few:
        text = f"profile likelihood; allocations: {fit.resampled}"
    else:
        text = f"profile likelihood; predictions: {fit.resampled}"
    return replace(fit, intervals={**fit.intervals, **intervals}, exponents=exponents, resampled=text)
