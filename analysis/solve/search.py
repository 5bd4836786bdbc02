"""The global search: many starts, the valleys that lead away from what was found, and walks across kinks.

A robust objective is rough at the size of its corner: on the 182 runs of arXiv 2305.16264 it has at least
four optima within 0.2 %, and the published one is not the lowest. What it shares with the same objective of
a wider corner are the valleys, and in those one parameter can often run far while the others follow.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from analysis.laws.law import Law
from analysis.laws.sums import SumLaw
from analysis.solve.estimator import ROUGH, STALLED, Optimum, curvature, minimise
from analysis.solve.kinks import cross
from analysis.solve.objectives import Rho
from analysis.solve.starts import starts

QUICK = 60
# Steps after which is asked whether the starts agree already.
SOON = 15
# Optima that are followed up; how many more are looked for where terms have vanished.
LEADING = 4
REVIVED = 8
# A valley is traced by holding one parameter after the other at so many standard errors, at most FAR away.
REACHES = np.array([-5.0, -2.5, -1.0, 1.0, 2.5, 5.0])
FAR = 1.5
# Walks across kinks: so many short ones, and the leading ones of them to their end.
SHORT, SHORT_STEPS = 12, 15
LONG, LONG_STEPS = 3, 80
# Basins that only kinks make lie side by side: walks from so many places around the best, shaken by a share
# of a standard error, again while one ends lower.
SHAKEN, SHARE, HOPS = 16, 0.3, 3
# Times the lowest objective above which nothing is followed for longer.
HOPELESS = 2.0
MANY = 500
# Of a smooth objective no further basins are looked for when so many of the starts have found the lowest one.
RECURRED = 0.5
# Numbers of a table up to which searches are remembered.
REMEMBERED = 5000
# More rows than this smooth whatever kinks there are.
SMOOTH = 20_000


def search(law: Law, x: np.ndarray, target: np.ndarray, rho: Rho) -> Optimum:
    """Polished optima, not sorted, many of them equal, read-only. x (inputs, n), target (n,): see
    `estimator.minimise`.

    An audit, a forecast and a report fit the same windows of one table again and again; of equal problems
    the search is remembered.
    """
    if x.size > REMEMBERED or not isinstance(law, Hashable):
        return _search(law, x, target, rho)
    scale = None if rho.scale is None else rho.scale.tobytes()
    return _again(law, replace(rho, scale=None), x.tobytes(), target.tobytes(), scale)


@lru_cache(maxsize=256)
def _again(law: Law, rho: Rho, x: bytes, target: bytes, scale: bytes | None) -> Optimum:
    measured = np.frombuffer(target)
    rho = replace(rho, scale=None if scale is None else np.frombuffer(scale))
    found = _search(law, np.frombuffer(x).reshape(-1, len(measured)), measured, rho)
    for part in (found.theta, found.value, found.decrement, found.converged):
        part.flags.writeable = False
    return found


def _search(law: Law, x: np.ndarray, target: np.ndarray, rho: Rho) -> Optimum:
    if len(target) > MANY:
        # Where the basins are, a sample of the rows tells; where their bottoms are, all of them.
        some = np.sort(np.random.default_rng(0).choice(len(target), MANY, replace=False))
        thinned = rho if rho.scale is None else replace(rho, scale=rho.scale[some])
        rough = _search(law, x[:, some], target[some], thinned)
        near = rough.theta[distinct_optima(rough, LEADING)]
        pool = minimise(law, x, target, rho, near, direct=True)
        if rho.name == "squared" or len(target) > SMOOTH:
            return pool
        return _walked(law, x, target, rho, np.concatenate([pool.theta, near]), pool)
    begin = starts(law, x, target, rho)
    residual = np.abs(rho.residual(target, law.log_loss(begin[:1], x)))
    corner = max(0.1 * float(np.median(residual)), 1e-9)
    rough = rho.name == "l1" or (rho.name == "huber" and corner > 0.1 * ROUGH * rho.delta)
    smooth = replace(rho, name="huber", delta=corner) if rough else rho
    # Starts on far slopes would take hundreds of steps to nowhere; those that lead the field get them below.
    pool = minimise(law, x, target, smooth, begin, steps=QUICK if rough else SOON)
    if not rough and _recurs(pool, law, x):
        # What is still on its way is no other optimum.
        return replace(pool, value=np.where(pool.converged, pool.value, np.inf))
    left = np.flatnonzero(~pool.converged)
    if len(left) and not rough:
        further = minimise(law, x, target, smooth, pool.theta[left], steps=QUICK - SOON, direct=True)
        pool = _joined(pool[np.flatnonzero(pool.converged)], further)
    if not rough and _recurs(pool, law, x):
        return pool
    # Of a wider corner only the valleys are wanted, not their very bottoms.
    how = {"steps": 2 * QUICK, "tolerance": 1e-8} if rough else {}
    pool = _joined(pool, _followed(law, x, target, smooth, pool, **how))
    traced = _traced(law, x, target, smooth, pool)
    pool = _joined(pool, _settled(law, x, target, smooth, traced, pool, **how))
    if rough:
        # On the way down a trace may have passed a place that the kinked objective prefers.
        pool = _joined(pool, _valued(law, x, target, smooth, traced))
    if rho.name == "squared":
        return pool
    if not rough:
        return _joined(pool, _walked(law, x, target, rho, pool.theta, _followed(law, x, target, rho, pool)))
    pool = _walked(law, x, target, rho, np.concatenate([pool.theta, begin[:LEADING]]))
    for hop in range(HOPS):
        best = int(np.argmin(pool.value))
        found = _walked(law, x, target, rho, _around(law, x, target, rho, pool.theta[best], hop))
        lower = found.value.min() < pool.value[best] * (1 - STALLED)
        pool = _joined(pool, found)
        if not lower:
            break
    return pool


def _recurs(pool: Optimum, law: Law, x: np.ndarray) -> bool:
    """Whether most starts came to the lowest optimum, and no term has vanished there that might do better
    elsewhere."""
    best = int(np.argmin(pool.value))
    same = pool.converged & (pool.value <= pool.value[best] * (1 + 1e-9))
    return float(same.mean()) >= RECURRED and not law.idle(pool.theta[best][None], x).any()


def _followed(law: Law, x, target, rho: Rho, pool: Optimum, count: int = LEADING, **how) -> Optimum:
    return _settled(law, x, target, rho, pool.theta[distinct_optima(pool, count)], pool, **how)


def _settled(law: Law, x, target, rho: Rho, theta: np.ndarray, pool: Optimum, **how) -> Optimum:
    """Optima from near places theta (S, P). One that creeps along far above the lowest of the pool is left
    where it is: it would take hundreds of steps more, and they lead nowhere."""
    found = minimise(law, x, target, rho, theta, direct=True, **{"steps": 2 * QUICK, **how})
    if how:
        return found
    lowest = min(pool.value.min(), found.value.min())
    some = np.flatnonzero(~found.converged & (found.value <= HOPELESS * lowest))
    if len(some):
        found = _joined(found, minimise(law, x, target, rho, found.theta[some], direct=True))
    return found


def _traced(law: Law, x, target, rho: Rho, pool: Optimum) -> np.ndarray:
    """Points (S, P) along the valleys through the best optimum: one parameter is held away from it and the
    others follow. And from the leading optima, terms that have vanished there brought back.
    """
    leading = distinct_optima(pool, 2)
    theta = pool.theta[leading[0]]
    low, high = law.bounds
    covariance = _covariance(law, x, target, rho, theta)
    error = np.sqrt(np.diag(covariance))
    away = REACHES[:, None] * np.minimum(error, FAR)
    moved = theta + (away / error)[:, :, None] * covariance / error[:, None]
    moved = np.clip(moved, low, high)
    lows, highs = (np.broadcast_to(limit, moved.shape).copy() for limit in (low, high))
    index = np.arange(len(theta))
    lows[:, index, index] = highs[:, index, index] = moved[:, index, index]
    flat = (-1, len(theta))
    held = moved[:, index, index].reshape(-1) != np.tile(theta, len(REACHES))
    bounds = (lows.reshape(flat)[held], highs.reshape(flat)[held])
    along = minimise(
        law,
        x,
        target,
        rho,
        moved.reshape(flat)[held],
        steps=QUICK,
        direct=True,
        tolerance=1e-6,
        bounds=bounds,
    )
    rng = np.random.default_rng(0)
    places = [along.theta]
    for each in leading:
        idle = law.idle(pool.theta[each][None], x)[0]
        if idle.any():
            root = _root(law, x, target, rho, pool.theta[each])
            shaken = pool.theta[each] + rng.standard_normal((REVIVED, len(theta))) @ root
            places.append(np.clip(_revived(law, shaken, idle, rng), low, high))
    return np.concatenate(places)


def _walked(law: Law, x, target, rho: Rho, places: np.ndarray, known: Optimum | None = None) -> Optimum:
    """Optima of a kinked objective, from the best of the places (S, P)."""
    begin = distinct_optima(_valued(law, x, target, rho, places), SHORT)
    pool = cross(law, x, target, rho, places[begin], steps=SHORT_STEPS)
    unfinished = [index for index in distinct_optima(pool, LONG) if not pool.converged[index]]
    if unfinished:
        pool = _joined(pool, cross(law, x, target, rho, pool.theta[unfinished], steps=LONG_STEPS))
    if known is not None:
        pool = _joined(pool, known)
    if rho.name == "huber":
        # Inside a corner that holds some rows Newton's method has the last word, and says what is left.
        pool = _joined(pool, _followed(law, x, target, rho, pool, 1))
    return pool


def _around(law: Law, x, target, rho: Rho, theta: np.ndarray, seed: int) -> np.ndarray:
    """Places (SHAKEN, P) within a share of a standard error of theta (P,)."""
    root = _root(law, x, target, rho, theta)
    away = np.random.default_rng(seed).standard_normal((SHAKEN, len(theta))) @ root
    return np.clip(theta + SHARE * away, *law.bounds)


def _valued(law: Law, x, target, rho: Rho, theta: np.ndarray) -> Optimum:
    """Places (S, P) as they are."""
    with np.errstate(all="ignore"):
        value = rho.exact(rho.residual(target, law.log_loss(theta, x))).sum(axis=1)
    value = np.where(np.isfinite(value), value, np.inf)
    return Optimum(theta, value, np.full(len(theta), np.inf), np.zeros(len(theta), bool))


def _revived(law: Law, shaken: np.ndarray, idle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Terms that have vanished brought back, small and with exponents from anywhere; what else has no effect,
    from where starts are drawn.

    A vanished coefficient has no slope in its logarithm, whatever the term could do elsewhere.
    """
    if not isinstance(law, SumLaw):
        for index in np.flatnonzero(idle):
            parameter = law.parameters[index]
            shaken[:, index] = rng.uniform(
                *((-9.0, -1.0) if parameter.vanishes else parameter.start), len(shaken)
            )
        return shaken
    for touched in law.layout:
        if idle[touched[0]]:
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


def _root(law: Law, x, target, rho: Rho, theta: np.ndarray) -> np.ndarray:
    """A root (P, P) of the parameters' covariance as if residuals were normal: how far to look."""
    hessian = curvature(law, x, target, Rho("squared", rho.delta, False), theta) / 2
    residual = target - law.log_loss(theta[None], x)[0]
    variance = (1.4826 * np.median(np.abs(residual))) ** 2
    sizes, axes = np.linalg.eigh(hessian)
    reach = np.sqrt(variance / np.maximum(np.abs(sizes), 1e-300))
    return (axes * np.minimum(reach, 1.0)).T


def _covariance(law: Law, x, target, rho: Rho, theta: np.ndarray) -> np.ndarray:
    root = _root(law, x, target, rho, theta)
    return root.T @ root + 1e-12 * np.eye(len(theta))
