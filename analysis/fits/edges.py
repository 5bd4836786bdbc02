"""Where an objective that rises on both sides of its optimum has risen by so much: many searches at once."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

# How often an end is looked for further out, each time up to FURTHER times as far, and how often between.
OUTWARD, FURTHER = 14, 3.0
BETWEEN = 20
# An end is found when the root of the rise is this near to what is allowed.
NEAR_ENOUGH = 5e-3


@dataclass(frozen=True)
class Place:
    """A point of the profile: the quantity's offset, the objective's rise, theta (P,), whether that is an
    optimum."""

    offset: float
    rise: float
    theta: np.ndarray
    optimum: bool

    def within(self, allowed: float) -> bool:
        """An objective not minimised is above its minimum: it can accept an offset, not refuse it."""
        return self.rise <= allowed or not self.optimum


def edge_of(theta: np.ndarray, step: float, allowed: float) -> Generator:
    """The offset, on the side of `step`, where the objective has risen by `allowed`; infinite where it does
    not. Yields (offset, where to begin), and takes the Place.

    The root of the rise is nearly a straight line in the offset, so the end is looked for along it, outwards
    first and then between what is within and what is not.
    """
    inside, outside = Place(0.0, 0.0, theta, True), None
    asked, goal = step, float(np.sqrt(allowed))
    for _ in range(OUTWARD):
        there = yield asked, inside.theta
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
        if inside.optimum and goal - first < NEAR_ENOUGH * goal:
            return inside.offset
        part = (goal - first) / (last - first) if last > first else 0.5
        asked = inside.offset + min(max(part, 0.05), 0.95) * (outside.offset - inside.offset)
        there = yield asked, inside.theta
        if not abs(inside.offset) < abs(there.offset) < abs(outside.offset):
            break
        inside, outside = (there, outside) if there.within(allowed) else (inside, there)
    return outside.offset


def together(edges: list[Generator], index: np.ndarray, rise) -> list[float]:
    """What searches return that ask for places, (offset, begin (P,)), one after the other; all that are still
    at it are answered at once."""
    out = [0.0] * len(edges)
    asked = {place: next(edge) for place, edge in enumerate(edges)}
    while asked:
        offsets, begins = zip(*asked.values(), strict=True)
        found = rise(index[list(asked)], np.array(offsets), np.stack(begins))
        for place, there in zip(list(asked), found, strict=True):
            try:
                asked[place] = edges[place].send(there)
            except StopIteration as done:
                out[place] = done.value
                del asked[place]
    return out
