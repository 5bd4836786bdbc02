"""Draws that stopped short of their optimum: on again, and lost only if an interval would show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.laws.law import Law
from analysis.solve.estimator import Optimum, minimise
from analysis.solve.objectives import Rho

PASSES = 2
# A draw that moves by less than this share of the draws' own interval changes no interval that is printed.
SHOWS = 0.02


def polished(law: Law, x, target, rho: Rho, drawn: Optimum, weights=None) -> Optimum:
    """The draws, those that had not converged taken further: from where they stopped, and once more through
    wider corners. target (n,) or (B, n), weights None, (n,) or (B, n).

    On a kinked objective of a dozen rows a step across many kinks can stop in a flat valley, a thousandth of
    the objective above its bottom and several interval widths away from it. Others cannot be certified at
    their kink however long they are polished; such a draw has converged if polishing leaves it where it is.
    """
    bad = np.flatnonzero(~drawn.converged)
    if not len(bad):
        return drawn
    theta, value = drawn.theta.copy(), drawn.value.copy()
    decrement, converged = drawn.decrement.copy(), drawn.converged.copy()
    low, high = np.percentile(theta, [2.5, 97.5], axis=0)
    width = np.maximum(high - low, 1e-12)
    for _ in range(PASSES):
        some = [None if part is None else part[bad] if part.ndim == 2 else part for part in (target, weights)]
        # Both ways also where the first has converged: a nearby kink is not always the lower one.
        ways = [minimise(law, x, some[0], rho, theta[bad], some[1], direct=way) for way in (True, False)]
        second = ways[1].value < ways[0].value
        found = Optimum(
            np.where(second[:, None], ways[1].theta, ways[0].theta),
            np.where(second, ways[1].value, ways[0].value),
            np.where(second, ways[1].decrement, ways[0].decrement),
            np.where(second, ways[1].converged, ways[0].converged),
        )
        lower = found.value < value[bad]
        moved = np.where(lower, (np.abs(found.theta - theta[bad]) / width).max(axis=1), 0.0)
        theta[bad] = np.where(lower[:, None], found.theta, theta[bad])
        value[bad] = np.where(lower, found.value, value[bad])
        decrement[bad] = np.where(lower, found.decrement, decrement[bad])
        converged[bad] = (lower & found.converged) | (moved <= SHOWS)
        bad = np.flatnonzero(~converged)
        if not len(bad):
            break
    return replace(drawn, theta=theta, value=value, decrement=decrement, converged=converged)
