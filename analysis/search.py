"""The global search: many starts, two ways down, and shakes around what was found.

A robust objective is rough at the size of its corner: on the 182 runs of arXiv 2305.16264 it has at least
four optima within 0.2 %, and the published one is not the lowest.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.estimator import ROUGH, Optimum, curvature, minimise
from analysis.kinks import cross
from analysis.law import Law, SumLaw
from analysis.objectives import Rho
from analysis.starts import starts

QUICK = 60
LAST = 500
ROUNDS = 2
SHAKEN = 4
SHAKES = 8
FINISHED = 2
CROSSINGS = 30
MANY = 500


def search(law: Law, x: np.ndarray, target: np.ndarray, rho: Rho) -> Optimum:
    """Polished optima, not sorted, many of them equal. x (inputs, n), target (n,): see `estimator.minimise`.

    The way to the kinks of l1 is long: there only the distinct optima of a Huber corner below the size of the
    residuals go it, since the two objectives share their basins.
    """
    if len(target) > MANY:
        # Where the basins are, a sample of the rows tells; where their bottoms are, all of them.
        some = np.sort(np.random.default_rng(0).choice(len(target), MANY, replace=False))
        thinned = rho if rho.scale is None else replace(rho, scale=rho.scale[some])
        rough = search(law, x[:, some], target[some], thinned)
        return minimise(law, x, target, rho, rough.theta[distinct_optima(rough, SHAKEN)], direct=True)
    begin = starts(law, x, target, rho)
    if rho.name == "l1":
        residual = rho.residual(target, law.log_loss(begin[:1], x))
        corner = max(0.1 * float(np.median(np.abs(residual))), 1e-9)
        smooth = _pool(law, x, target, replace(rho, name="huber", delta=corner), begin)
        pool = minimise(law, x, target, rho, smooth.theta[distinct_optima(smooth, 6)])
        return _crossed(law, x, target, rho, pool)
    return _pool(law, x, target, rho, begin)


def _pool(law: Law, x, target, rho: Rho, begin: np.ndarray) -> Optimum:
    # Starts on far slopes would take hundreds of steps to nowhere; those that lead the field get them below.
    pool = minimise(law, x, target, rho, begin, steps=QUICK)
    if rho.name == "huber":
        residual = np.abs(rho.residual(target, law.log_loss(begin[:1], x)))
        if np.median(residual) > ROUGH * rho.delta:
            pool = _joined(pool, minimise(law, x, target, rho, begin, steps=QUICK, direct=True))
    pool = _joined(
        pool, minimise(law, x, target, rho, pool.theta[distinct_optima(pool, SHAKEN)], direct=True)
    )
    if rho.name == "squared":
        return pool
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS):
        places = []
        for index in distinct_optima(pool, SHAKEN):
            error = _standard_error(law, x, target, rho, pool.theta[index])
            scale = rng.choice([0.5, 1.0, 2.0], size=(SHAKES, 1))
            shaken = pool.theta[index] + scale * (rng.standard_normal((SHAKES, len(error))) @ error)
            places.append(_revived(law, x, pool.theta[index], shaken, rng))
        pool = _joined(pool, minimise(law, x, target, rho, np.concatenate(places), direct=True))
    return _crossed(law, x, target, rho, pool)


def _crossed(law: Law, x, target, rho: Rho, pool: Optimum) -> Optimum:
    """The pool with the walk finished along valleys that two parameters share, where it had to stop."""
    best = distinct_optima(pool, 1)
    low, high = law.bounds
    theta = pool.theta[best]
    # On l1 a fit that moves no more may stand at an edge of the domain with kinks all around.
    edge = rho.name == "l1" and ((theta <= low) | (theta >= high)).any()
    if pool.converged[best].all() and not edge:
        return pool
    leading = distinct_optima(pool, FINISHED)
    ends = [cross(law, x, target, rho, theta, steps=CROSSINGS)[0] for theta in pool.theta[leading]]
    return _joined(pool, minimise(law, x, target, rho, np.stack(ends), steps=LAST, direct=True))


def _revived(law: Law, x, theta: np.ndarray, shaken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Terms that have vanished at theta brought back, small and with exponents from anywhere.

    A vanished coefficient has no slope in its logarithm, whatever the term could do elsewhere.
    """
    gone = law.gone(theta[None], x)[0]
    if not isinstance(law, SumLaw):
        shaken[:, gone] = rng.uniform(-9.0, -1.0, (len(shaken), int(gone.sum())))
        return shaken
    for touched in law.layout:
        if gone[touched[0]]:
            shaken[:, touched[0]] = rng.uniform(-9.0, -1.0, len(shaken))
            for exponent in touched[1:]:
                shaken[:, exponent] = np.exp(rng.uniform(np.log(0.05), np.log(8.0), len(shaken)))
    return shaken


def _joined(first: Optimum, second: Optimum) -> Optimum:
    names = ("theta", "value", "decrement", "converged")
    return Optimum(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


def distinct_optima(pool: Optimum, count: int) -> list[int]:
    """The lowest `count` optima that are not the same place, nor the same one but for what has vanished."""
    kept: list[int] = []
    for index in np.argsort(pool.value, kind="stable"):
        far = all(
            np.abs(pool.theta[index] - pool.theta[other]).max() > 1e-4
            and pool.value[index] - pool.value[other] > 1e-7 * abs(pool.value[other])
            for other in kept
        )
        if far and np.isfinite(pool.value[index]):
            kept.append(int(index))
        if len(kept) == count:
            break
    return kept


def _standard_error(law: Law, x, target, rho: Rho, theta: np.ndarray) -> np.ndarray:
    """A root (P, P) of the parameters' covariance as if residuals were normal: how far to look."""
    hessian = curvature(law, x, target, Rho("squared", rho.delta, False), theta) / 2
    residual = target - law.log_loss(theta[None], x)[0]
    variance = (1.4826 * np.median(np.abs(residual))) ** 2
    sizes, axes = np.linalg.eigh(hessian)
    reach = np.sqrt(variance / np.maximum(np.abs(sizes), 1e-300))
    return (axes * np.minimum(reach, 1.0)).T
