"""Mistuned rungs: sizes of a ladder whose runs all lie above the law that the other sizes follow.

A wrong learning rate or a warmup that is too long only ever raises the loss, so the test looks at one side. A
rung is tested as if it had a level of its own beside the law (the mean-shift test of regression, exact to
first order for leaving it out), against the scatter of runs, of clusters, and of whole rungs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.fits.results import Fit

# Sizes that differ by less than this are one rung: digitised tables jitter.
GAP = 0.01
# Fewer rungs than this beside the one under test say nothing about how rungs scatter.
FEWEST = 4
# Rows of one rung beyond this many add nothing to a test of its level.
MOST = 60
# Runs this many robust standard deviations off their rung's median take no part: one bad run is no bad rung.
FAR = 5.0


@dataclass(frozen=True)
class Rung:
    """One size. shift_percent: how far its runs lie above the law of the others; p_value: one-sided, times
    the number of rungs that were tested (Holm's step down); mistuned: below the test's level."""

    params: float
    runs: int
    shift_percent: float
    p_value: float
    mistuned: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def rungs_of(params: np.ndarray) -> np.ndarray:
    """The rung of each row (n,), numbered by rising params."""
    order = np.argsort(params, kind="stable")
    step = np.concatenate([[0], (np.diff(np.log(params[order])) > GAP).cumsum()])
    out = np.empty(len(params), int)
    out[order] = step
    return out


def find_mistuned(fit: Fit, clusters: np.ndarray, alpha: float = 0.05) -> tuple[Rung, ...]:
    """All rungs of the fitted rows by rising params, those that are mistuned marked.

    clusters (points,): rows with one number share noise (see `Sample`). Empty, as nothing can
    be tested, with fewer than FEWEST + 1 rungs, or where most have a single run. alpha: the chance that a
    sound ladder raises any alarm.
    """
    data = fit.sampled
    if "params" not in data:
        return ()
    rung = rungs_of(data["params"])
    count = np.bincount(rung)
    if len(count) <= FEWEST or len(rung) < 2 * len(count):
        return ()
    every = np.asarray(data["residual"], float)
    kept = np.concatenate([_few(np.flatnonzero(rung == one)) for one in range(len(count))])
    kept = kept[_near(every[kept], rung[kept])]
    design, residual = _slopes(fit, kept), every[kept]
    groups = (rung[kept], np.unique(clusters[kept], return_inverse=True)[1])
    if len(kept) - design.shape[1] < 4:
        return ()
    tests = {one: _shift(design, residual, groups, [], one) for one in range(len(count))}
    marked: dict[int, float] = {}
    while len(marked) < len(count) - FEWEST:
        left = [one for one in tests if one not in marked]
        now = {one: _shift(design, residual, groups, list(marked), one) for one in left}
        first = min(left, key=lambda one: now[one][1])
        p_value = now[first][1] * len(left)
        if p_value >= alpha:
            break
        marked[first] = p_value
        tests |= now
    sizes = [float(np.exp(np.log(data["params"][rung == one]).mean())) for one in range(len(count))]
    return tuple(
        Rung(
            sizes[one],
            int(count[one]),
            100 * float(np.expm1(tests[one][0])),
            float(min(1.0, marked.get(one, tests[one][1] * (len(count) - len(marked))))),
            one in marked,
        )
        for one in range(len(count))
    )


def _few(rows: np.ndarray) -> np.ndarray:
    return rows if len(rows) <= MOST else rows[np.linspace(0, len(rows) - 1, MOST).astype(int)]


def _near(residual: np.ndarray, rung: np.ndarray) -> np.ndarray:
    """Which runs lie near their rung's median, or are its only ones."""
    middle = np.array([np.median(residual[rung == one]) for one in range(rung.max() + 1)])
    off = np.abs(residual - middle[rung])
    several = off[np.bincount(rung)[rung] > 2]
    scale = 1.4826 * float(np.median(several)) if len(several) else float("inf")
    return off <= FAR * max(scale, 1e-12)


def _slopes(fit: Fit, rows: np.ndarray) -> np.ndarray:
    """(rows, P): the log loss's derivatives in the law's parameters; only the space they span matters."""
    inputs = {name: np.asarray(fit.sampled[name], float)[rows] for name in fit.law.inputs}
    columns = []
    for name, value in fit.params.items():
        step = 1e-5 * abs(value)
        if step == 0:
            continue
        up, down = (fit.law.loss({**fit.params, name: value + sign * step}, inputs) for sign in (1, -1))
        column = (np.log(up) - np.log(down)) / 2e-5
        if np.linalg.norm(column) > 0:
            columns.append(column / np.linalg.norm(column))
    return np.stack(columns, axis=1)


def _shift(design, residual, groups: tuple[np.ndarray, np.ndarray], known: Sequence[int], rung: int):
    """(shift of the rung in log loss, one-sided p-value); the known mistuned rungs have levels of their own.

    Generalised least squares under three components of variance (runs, clusters, rungs), which are estimated
    by their moments (Henderson's third method) with the rung under test set apart, so that it cannot excuse
    itself; Student's t with Satterthwaite's degrees of freedom.
    """
    from scipy.special import stdtr

    own = np.stack([(groups[0] == one).astype(float) for one in (*known, rung)], axis=1)
    full = np.hstack([design, own])
    basis = _basis(full)
    if np.linalg.norm(own[:, -1] - (base := _basis(full[:, :-1])) @ (base.T @ own[:, -1])) < 1e-6:
        return 0.0, 1.0
    error = residual - basis @ (basis.T @ residual)
    if np.abs(error).max() < 1e-12:
        return 0.0, 1.0
    factors = [_indicator(groups[0]), _indicator(groups[1])]
    # One trunk a size: what the trunk's runs share cannot be told from a shift of the size.
    alike = factors[1].shape[1] == factors[0].shape[1] < len(residual)
    if alike or factors[1].shape[1] == len(residual):
        factors = factors[:1]
    sizes, freedom = _components(error, basis, factors)
    covariance = sizes[0] * np.eye(len(residual))
    for size, factor in zip(sizes[1:], factors, strict=True):
        covariance += size * (factor @ factor.T)
    root = np.linalg.cholesky(covariance)
    white, y = np.linalg.solve(root, full), np.linalg.solve(root, residual)
    inverse = np.linalg.pinv(white.T @ white)
    shift = float((inverse @ (white.T @ y))[-1])
    weights = np.linalg.solve(root.T, white @ inverse[:, -1])
    parts = np.array([sizes[0] * (weights**2).sum()] + [
        size * ((factor.T @ weights) ** 2).sum() for size, factor in zip(sizes[1:], factors, strict=True)
    ])  # fmt: skip
    variance = float(parts.sum())
    degrees = variance**2 / float((parts**2 / np.maximum(freedom, 1.0)).sum())
    if alike:
        # Shared noise is there whether or not its variance was estimated above zero.
        degrees = min(degrees, max(float(freedom[1]), 1.0))
    return shift, float(stdtr(degrees, -shift / np.sqrt(variance)))


def _basis(columns: np.ndarray) -> np.ndarray:
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, sizes > 1e-9 * sizes[0]]


def _indicator(groups: np.ndarray) -> np.ndarray:
    return (groups[:, None] == np.unique(groups)).astype(float)


def _components(error, basis, factors) -> tuple[np.ndarray, np.ndarray]:
    """(variances of runs and of each factor, their degrees of freedom) from the sums of squares of residuals.

    A factor whose variance comes out below zero is taken out and the others estimated again; its degrees of
    freedom stay.
    """
    free = len(error) - basis.shape[1]
    inner = [f.T @ f - (basis.T @ f).T @ (basis.T @ f) for f in factors]
    kept = list(range(len(factors)))
    while True:
        sums = [float(error @ error)] + [float(((factors[i].T @ error) ** 2).sum()) for i in kept]
        table = np.zeros((1 + len(kept), 1 + len(kept)))
        table[0, 0] = free
        for row, i in enumerate(kept, 1):
            table[0, row] = table[row, 0] = np.trace(inner[i])
            for column, j in enumerate(kept, 1):
                cross = factors[i].T @ factors[j] - (basis.T @ factors[i]).T @ (basis.T @ factors[j])
                table[row, column] = (cross**2).sum()
        sizes = np.linalg.lstsq(table, np.array(sums), rcond=None)[0]
        negative = [kept[i - 1] for i in range(1, len(sizes)) if sizes[i] <= 0]
        if not negative:
            break
        kept.remove(min(negative, key=lambda i: sizes[1 + kept.index(i)]))
    out, freedom = np.zeros(1 + len(factors)), np.ones(1 + len(factors))
    floor = 1e-9 * float(error @ error) / free
    out[0], freedom[0] = max(float(sizes[0]), floor), free
    for i, one in enumerate(inner):
        freedom[1 + i] = np.trace(one) ** 2 / max((one**2).sum(), 1e-300)
    for position, i in enumerate(kept, 1):
        out[1 + i] = float(sizes[position])
    return out, freedom
