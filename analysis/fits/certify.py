"""Evidence that a point is the optimum: gradient, other basins, condition, edges, invariance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from analysis.fits.results import Basin, Certificate
from analysis.laws.law import Law
from analysis.solve.estimator import Optimum, curvature, minimise
from analysis.solve.kinks import blurred, cross, exactly
from analysis.solve.objectives import Rho

# Factors on inputs and loss of a table in other units.
OTHER_INPUTS, OTHER_LOSS = 1e-6, 1 / np.log(2)
MANY = 20_000
# A robust objective is rough: further away there may be another optimum.
BESIDE = 1e-4
# The share of the objective from which on a difference is told.
TOLD = 1e-6


def invariances(
    law: Law, x, target, rho: Rho, theta, value: float, centre: Mapping[str, float]
) -> dict[str, float]:
    """Relative differences in the objective where a fit from just beside theta ends when it minimises the
    mean, or sees the table in other units without being centred anew. Empty for very large tables, and where
    the law fits so exactly that rounding is a part of the objective that would be told.
    """
    residual = rho.residual(target, law.log_loss(theta[None], x)[0])
    blur = blurred(target, rho, residual, np.array(value))
    if len(target) > MANY or not value > exactly(target, rho) or blur > TOLD:
        return {}
    beside = theta + BESIDE * np.where(np.arange(len(theta)) % 2, 1.0, -1.0)
    out = {"mean": _mean(law, x, target, rho, beside) / value - 1}
    if law.absolute:
        return out
    moved = {name: centre[name] - np.log(OTHER_INPUTS) for name in law.inputs}
    moved["loss"] = centre["loss"] - (0.0 if rho.raw else np.log(OTHER_LOSS))
    public = {name: float(values[0]) for name, values in law.to_public(beside[None], centre).items()}
    start = law.to_inner(public, moved)
    shift = np.array([centre[name] - moved[name] for name in law.inputs])
    moved_target = target + centre["loss"] - moved["loss"]
    if rho.name == "l1":
        other = cross(law, x + shift[:, None], moved_target, rho, start[None])
    else:
        other = minimise(law, x + shift[:, None], moved_target, rho, start[None], direct=True)
    return out | {"units": float(other.value[0]) / value - 1}


def _mean(law: Law, x, target, rho: Rho, start: np.ndarray) -> float:
    """The sum at which a fit of the mean ends."""
    count = len(target)
    if rho.name == "l1":
        scale = np.ones(count) if rho.scale is None else rho.scale
        return float(cross(law, x, target, replace(rho, scale=scale / count), start[None]).value[0]) * count
    weights = np.full(count, 1 / count)
    return float(minimise(law, x, target, rho, start[None], weights, direct=True).value[0]) * count


def certify(
    law: Law,
    x,
    target,
    rho: Rho,
    found: Optimum,
    best: int,
    centre: Mapping[str, float],
    invariance: Mapping[str, float],
) -> Certificate:
    """The evidence for found.theta[best], of all the optima found (see `search`)."""
    theta = found.theta[best]
    low, high = law.bounds
    hits = []
    gone, idle = law.gone(found.theta, x), law.idle(theta[None], x)[0]
    for index, parameter in enumerate(law.parameters):
        if gone[best, index]:
            hits.append(f"{parameter.name} = 0")
        elif theta[index] <= low[index] + 1e-6:
            hits.append(f"{parameter.name} = {low[index]:g}")
        elif theta[index] >= high[index] - 1e-6:
            hits.append(f"{parameter.name} at its upper limit")
    inner = (theta > low + 1e-6) & (theta < high - 1e-6) & ~idle
    free = np.flatnonzero(inner)
    # At its corner l1 has no curvature; that of the squared residuals tells what the table identifies.
    smooth = replace(rho, name="squared") if rho.name == "l1" else rho
    hessian = curvature(law, x, target, smooth, theta)[np.ix_(free, free)]
    scale = np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-300))
    sizes = np.linalg.eigvalsh(hessian / (scale[:, None] * scale)) if len(free) else np.ones(1)
    smallest = float(np.abs(sizes).min())
    basins: list[Basin] = []
    lowest = float(found.value[best])
    residual = rho.residual(target, law.log_loss(theta[None], x)[0])
    apart = max(TOLD, 10 * float(blurred(target, rho, residual, np.array(lowest))))
    for index in np.argsort(found.value, kind="stable"):
        value = float(found.value[index])
        seen = [lowest, *(basin.value for basin in basins)]
        # a start that overflowed went nowhere: it is no basin
        new = np.isfinite(value) and all(abs(value - o) > apart * max(abs(o), 1e-300) for o in seen)
        if new and found.converged[index] and not gone[index].any() and value > 1e-20 and len(basins) < 5:
            at = law.to_public(found.theta[index][None], centre)
            basins.append(Basin(value, {name: float(values[0]) for name, values in at.items()}))
    return Certificate(
        bool(found.converged[best]),
        float(np.sqrt(2 * max(found.decrement[best], 0.0))),
        tuple(basins),
        float(sizes.max() / smallest) if smallest > 0 else float("inf"),
        tuple(hits),
        len(found.theta),
        invariance,
    )
