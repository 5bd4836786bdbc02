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

# Weight of the row that holds the quantity in its place, over the sum of the others' curvature.
HOLD = 1e6
STEP = 1e-6
DOUBLINGS = 12
BISECTIONS = 24


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
    from scipy.special import stdtrit

    law, rho, rows = fit.law, fit.rho, fit.rows
    if rho.name == "l1":
        raise InputError("profile: l1 has no curvature to scale its rise by; fit huber with a small delta")
    level = level or fit.level
    x, target, centre = centred(rows, law, rho)
    theta = law.to_inner(fit.params, centre)
    quantity, logs = _quantity(law, centre, what, flops, params, tokens, fit)
    here = float(quantity(theta[None])[0])
    if not np.isfinite(here):
        raise InputError(f"profile: the fit has no {what}")
    unit, error = _scale(law, x, target, rho, theta, rows.clusters, gradient(quantity, theta[None])[0])
    freedom = max(min(len(target), int(rows.clusters.max()) + 1) - len(theta), 1)
    allowed = float(stdtrit(freedom, 0.5 + level / 2)) ** 2 * unit / 2
    held = Held(law, lambda at: quantity(at) - here)
    wide = np.concatenate([x, np.zeros((len(x), 1))], axis=1)
    longer = rho if rho.scale is None else replace(rho, scale=np.append(rho.scale, 1.0))
    # Whatever the objective is, the added row is inside its corner or pays for leaving it.
    stiff = HOLD * max(fit.objective.value, 1e-12) / max(error, 1e-9) ** 2
    weights = np.append(np.ones(len(target)), stiff)
    base = float(rho.exact(rho.residual(target, law.log_loss(theta[None], x)[0])).sum())

    def rise(offset: float, begin: np.ndarray) -> tuple[float, np.ndarray]:
        goal = np.append(target, offset)
        found = minimise(held, wide, goal, longer, begin[None], weights, direct=True)
        at = found.theta[0]
        away = float(quantity(at[None])[0]) - here - offset
        value = float(rho.exact(rho.residual(target, law.log_loss(at[None], x)[0])).sum())
        return (value - base if abs(away) < 0.2 * abs(offset) + 1e-9 else np.inf), at

    low, high = (_edge(rise, theta, sign * error, allowed) for sign in (-1.0, 1.0))
    if logs:
        with np.errstate(over="ignore"):
            return float(np.exp(here + low)), float(np.exp(here + high))
    return here + low, here + high


def _edge(rise, theta, step: float, allowed: float) -> float:
    """The offset at which the objective has risen by `allowed`: doubling, then bisection."""
    inside, at = 0.0, theta
    outside = step
    for _ in range(DOUBLINGS):
        value, there = rise(outside, at)
        if value > allowed:
            break
        inside, at, outside = outside, there, 1.6 * outside
    else:
        return np.sign(step) * np.inf
    for _ in range(BISECTIONS):
        middle = 0.5 * (inside + outside)
        value, there = rise(middle, at)
        if value > allowed:
            outside = middle
        else:
            inside, at = middle, there
        if abs(outside - inside) < 1e-3 * abs(outside):
            break
    return 0.5 * (inside + outside)


def _scale(law: Law, x, target, rho: Rho, theta, clusters, slope) -> tuple[float, float]:
    """(what a chi-square of one unit is in the objective, standard error of the quantity).

    Independent rows give it by the mean square of rho' over the mean of rho'', with the degrees of freedom
    that are left: for squared errors Student's theory to the letter. Dependent ones give it by cluster.
    """
    around = law.evaluate(theta[None], x)
    residual = np.abs(rho.residual(target, around.value[0]))
    corner = max(rho.delta if rho.name == "huber" else 0.0, 0.3 * float(np.median(residual)))
    smooth = rho if rho.name == "squared" else replace(rho, name="huber", delta=corner)
    factor = rho.delta / corner if rho.name == "huber" else 1.0
    bent = factor * curvature(law, x, target, smooth, theta)
    scale = np.sqrt(np.maximum(np.abs(np.diag(bent)), 1e-300))
    inverse = np.linalg.pinv(bent / np.outer(scale, scale), rcond=1e-10, hermitian=True)
    along = inverse @ (slope / scale)
    plain = max(float(along @ (slope / scale)), 1e-300)
    pull = rho.in_log_loss(target, around.value[0])[1]
    count = int(clusters.max()) + 1
    if count == len(target):
        bend = factor * float(np.mean(smooth.in_log_loss(target, around.value[0])[2]))
        unit = float((pull**2).sum()) / max(count - len(theta), 1) / max(bend, 1e-300)
        return unit, float(np.sqrt(max(unit * plain, 1e-300)))
    # The fit hides part of its own rows' noise: freed from its pull as the jackknife would (CR3).
    pull = around.jacobian[0] * inflated(around.jacobian[0], pull, clusters, 1.0)
    total = np.zeros((count, len(theta)))
    np.add.at(total, clusters, pull.T)
    variance = float(np.sum((total / scale @ along) ** 2))
    return variance / plain, float(np.sqrt(max(variance, 1e-300)))


def _quantity(law: Law, centre, what: str, flops, params, tokens, fit: Fit):
    """(theta (B, P) -> (B,), whether it is a logarithm)."""
    if what in law.names:
        index = law.names.index(what)
        logs = law.parameters[index].positive
        if logs and not fit.params[what] > 0:
            raise InputError(f"profile: {what} has vanished from this fit")
        return (
            lambda at: np.log(law.to_public(at, centre)[what]) if logs else law.to_public(at, centre)[what]
        ), logs
    if what == "loss":
        place = {"params": params, "tokens": tokens, "flops": flops}
        inputs = {name: np.array([value], float) for name, value in place.items() if value is not None}
        if "flops" in law.inputs and flops is None and params and tokens:
            inputs["flops"] = 6 * inputs["params"] * inputs["tokens"]
        inputs = law.need(inputs)

        def log_loss(at):
            shaped = {name: values[:, None] for name, values in law.to_public(at, centre).items()}
            return np.log(law.loss(shaped, inputs)[:, 0])

        return log_loss, True
    if not spends_compute(law) or what not in ("params_exponent", "params", "tokens"):
        raise InputError(f"profile: {law.name} has no {what!r}; it has {', '.join(law.names)}, loss")
    if what == "params_exponent":
        most = flops or float((6 * fit.data["params"] * fit.data["tokens"]).max())
        return (lambda at: exponents(law, law.to_public(at, centre), most)), False
    if not flops:
        raise InputError(f"profile: compute-optimal {what} need flops")
    if what == "params":
        return (lambda at: optimum(law, law.to_public(at, centre), flops)), True
    return (lambda at: np.log(flops / 6) - optimum(law, law.to_public(at, centre), flops)), True


def by_profile(fit: Fit) -> Fit:
    """The fit with the intervals of its parameters and its exponent by profile likelihood."""
    intervals = {name: profile_interval(fit, name) for name in fit.law.names if fit.params[name] != 0}
    allocation = fit.allocation
    if allocation is not None:
        allocation = replace(allocation, interval=profile_interval(fit, "params_exponent"))
    text = f"profile likelihood; predictions: {fit.resampled}"
    return replace(fit, intervals={**fit.intervals, **intervals}, allocation=allocation, resampled=text)
