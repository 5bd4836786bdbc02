"""Linear regression in the context: a few points of a line through the middle, then the next one."""

from __future__ import annotations

from functools import partial

import numpy as np

from lab.abilities.items import Items, Task, hashes
from lab.draws import Draws

SHOWN = 6
PLACES = 16  # x = -7.5, -6.5, ..., 7.5
MIDDLE = 16  # the symbol of y = 0
_UNIT = 2**16


def draw(draws: Draws, count: int, shown: int = SHOWN) -> Items:
    """`x1 y1 ... xk yk x`; y is slope * x to the nearest whole number, the slope uniform between -2 and 2.

    Whole numbers throughout: slopes are odd multiples of 2 / 65536, and x counts halves.
    """
    slope = 2 * draws.below(_UNIT, count)[:, None] + 1 - _UNIT
    places = draws.below(PLACES, count, shown + 1)
    values = (slope * (2 * places + 1 - PLACES) + _UNIT // 2) // _UNIT + MIDDLE
    pairs = np.stack([places, values], axis=2).reshape(count, 2 * shown + 2)
    prompts = pairs[:, :-1].astype("uint8")
    gap = np.abs(places[:, :-1] - places[:, -1:]).min(axis=1)
    # rows that differ in the order of their points are different items, though one answer serves both
    return Items(prompts, pairs[:, -1:].astype("uint8"), gap, hashes(prompts), {"gap": gap})


def regression(shown: int = SHOWN) -> Task:
    """`shown` points before the query."""
    half = np.abs(np.arange(PLACES) - (PLACES - 1) / 2)
    middle = float(np.minimum(1, 0.25 / half).mean())  # |slope x| < 1/2
    return Task(
        name="regression" if shown == SHOWN else f"regression-{shown}",
        tag="g",
        instruction="regress",
        prompt_length=2 * shown + 1,
        answer_length=1,
        draw=partial(draw, shown=shown),
        exact_match_chance=middle,
        token_accuracy_chance=middle,
        test_share=1 / 8,
        planted="smooth: the slope is guessed ever finer, so near misses shrink before the exact value comes",
        difficulty="distance from the asked x to the nearest one shown",
        source="Garg et al. 2022 (2208.01066), in tokens",
        choices=tuple(range(2 * MIDDLE)),
    )


REGRESSION = regression()
