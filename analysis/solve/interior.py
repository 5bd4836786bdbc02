"""Robust linear regression with a quadratic term and limits, many problems at once, by an interior point.

A dozen steps whatever the number of kinks, as for regression quantiles (Portnoy and Koenker 1997, Statist.
Sci. 12; predictor and corrector of Mehrotra 1992, SIAM J. Optim. 2), where Newton's method through falling
corners takes hundreds; and what is still to be gained at the end is known, not guessed.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from analysis.solve.objectives import Rho

STEPS = 40
# Share of the sum that may be left to gain.
EXACT = 1e-13
# How much of the way to the nearest limit a step may go.
SHORT = 0.995
# Steps are of logs and exponents: no model is believed further away.
FAR = 50.0


# What overflows on the way ends nowhere, and the best place that was passed is kept.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def regress(
    residual: np.ndarray,
    slope: np.ndarray,
    quadratic: np.ndarray,
    rho: Rho,
    low: np.ndarray,
    high: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(minima (B, P) of sum rho(residual + step slope) + step quadratic step / 2, low <= step <= high; the
    slopes of rho at the rows there (B, n), which at a kink are no matter of the residual).

    residual (B, n), slope (B, P, n), quadratic (B, P, P) positive definite, low <= 0 <= high (B, P); rho: l1
    or huber, its factor on negative residuals included.

    By its dual: u (B, n) are the slopes of rho at the rows, inside [least, most]; above, below (B, n) the
    residuals' parts beyond the corner; under, over (B, P) the slopes that limits exert, room and head the
    distances to them.
    """
    width = slope.shape[1]
    most = 1.0 if rho.name == "l1" else rho.delta
    least = -rho.over * most
    low, high = np.maximum(low, -FAR), np.minimum(high, FAR)
    step = np.zeros(low.shape)
    u = np.full(residual.shape, 0.5 * (least + most))
    size = np.abs(residual).mean(axis=1, keepdims=True) + 1e-300
    error = residual - _corner(rho, u) * u
    above, below = np.maximum(error, 0.0) + 0.1 * size, np.maximum(-error, 0.0) + 0.1 * size
    room, head = np.maximum(-low, 0.1), np.maximum(high, 0.1)
    start = 0.1 * size * most * residual.shape[1] / width
    under, over = start / room, start / head
    value = rho.exact(residual).sum(axis=1) + 1e-300
    places = np.arange(width)
    ends = np.cumsum([0] + 4 * [residual.shape[1]] + 4 * [width])
    parts = [slice(*pair) for pair in pairwise(ends)]
    joined = tuple(zip(parts[::2], parts[1::2], strict=True))
    tiny = 1e-16 * (most - least)
    best, slopes, lowest = step, u, rho.exact(residual).sum(axis=1)
    for _ in range(STEPS):
        upper, lower = np.maximum(most - u, tiny), np.maximum(u - least, tiny)
        gap = (above * upper + below * lower).sum(axis=1) + (room * under + head * over).sum(axis=1)
        corner = _corner(rho, u)
        pull = _times(quadratic, step) + _times(slope, u) - under + over
        miss = residual + (step[:, None] @ slope)[:, 0] - corner * u - above + below
        off_low, off_high = step - low - room, high - step - head
        stiff = corner + above / upper + below / lower
        matrix = quadratic + (slope / stiff[:, None]) @ np.swapaxes(slope, 1, 2)
        matrix[:, places, places] += under / room + over / head
        scale = np.sqrt(np.einsum("bii->bi", matrix))
        matrix = matrix / (scale[:, :, None] * scale[:, None])
        matrix[:, places, places] += 1e-14
        positive = np.concatenate([above, upper, below, lower, room, under, head, over], axis=1)
        # The predictor goes straight for the optimum; how far it comes says how much centring is needed.
        aim = [0.0, 0.0, 0.0, 0.0]
        for corrected in (False, True):
            up, down = aim[0] / upper - above, aim[1] / lower - below
            left, right = (aim[2] - under * off_low) / room - under, (aim[3] - over * off_high) / head - over
            away = up - down - miss
            force = -pull + _times(slope, away / stiff) + left - right
            move = np.linalg.solve(matrix, (force / scale)[:, :, None])[:, :, 0] / scale
            d_u = ((move[:, None] @ slope)[:, 0] - away) / stiff
            d_above, d_below = up + above / upper * d_u, down - below / lower * d_u
            d_room, d_head = move + off_low, off_high - move
            d_under = (aim[2] - under * d_room) / room - under
            d_over = (aim[3] - over * d_head) / head - over
            change = (d_above, -d_u, d_below, d_u, d_room, d_under, d_head, d_over)
            change = np.concatenate(change, axis=1)
            length = _reach(positive, change)[:, None]
            if corrected:
                break
            ends = positive + length * change
            after = sum((ends[:, one] * ends[:, other]).sum(axis=1) for one, other in joined)
            count = 2 * (residual.shape[1] + width)
            centre = (np.clip(after / gap, 0.0, 1.0) ** 3 * gap / count)[:, None]
            aim = [
                centre + d_above * d_u,
                centre - d_below * d_u,
                centre - d_room * d_under,
                centre - d_head * d_over,
            ]
        going = (gap > EXACT * value) & np.isfinite(length[:, 0])
        if not going.any():
            break
        length = np.where(going[:, None], np.minimum(SHORT * length, 1.0), 0.0)
        move, d_u = np.where(going[:, None], move, 0.0), np.where(going[:, None], d_u, 0.0)
        step, u = step + length * move, u + length * d_u
        above, below = above + length * d_above, below + length * d_below
        room, head = room + length * d_room, head + length * d_head
        under, over = under + length * d_under, over + length * d_over
        inside = np.clip(step, low, high)
        total = rho.exact(residual + (inside[:, None] @ slope)[:, 0]).sum(axis=1)
        total += 0.5 * (inside * _times(quadratic, inside)).sum(axis=1)
        better = total < lowest
        best, lowest = np.where(better[:, None], inside, best), np.where(better, total, lowest)
        slopes = np.where(better[:, None], u, slopes)
    return best, slopes


def _corner(rho: Rho, u: np.ndarray) -> np.ndarray | float:
    """The length of the residual inside huber's corner for each unit of its slope u."""
    if rho.name == "l1":
        return 0.0
    return np.where(u < 0, 1 / rho.over, 1.0)


def _times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return (matrix @ vector[:, :, None])[:, :, 0]


def _reach(at: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The largest step (B,), at most 1 / SHORT, that keeps at (B, m) positive."""
    # Where nothing falls the largest share is 0, and the reach is that of the floor.
    return 1.0 / np.maximum((-change / at).max(axis=1), SHORT)
