"""Dyck words: which bracket has to close next?"""

from __future__ import annotations

from functools import partial

import numpy as np

from lab.abilities.items import Items, Task, hashes
from lab.draws import Draws

LENGTH = 20
KINDS = 4  # symbols 0..3 open, 4..7 close


def draw(draws: Draws, count: int, length: int = LENGTH) -> Items:
    """A prefix of a balanced text, never closed to the ground; the answer closes its innermost open bracket.

    Each symbol opens with probability 1/2, and always where closing would reach the ground.
    """
    kinds = draws.below(KINDS, length, count)
    opens = draws.below(2, length, count).astype(bool)
    stack = np.zeros((count, length + 1), np.int64)
    opened_at = np.zeros((count, length + 1), np.int64)
    depth = np.zeros(count, np.int64)
    deepest = np.zeros(count, np.int64)
    prompts = np.empty((count, length), "uint8")
    rows = np.arange(count)
    for t in range(length):
        opening = opens[t] | (depth <= 1)
        prompts[:, t] = np.where(opening, kinds[t], KINDS + stack[rows, depth])
        depth = depth + np.where(opening, 1, -1)
        stack[rows[opening], depth[opening]] = kinds[t][opening]
        opened_at[rows[opening], depth[opening]] = t
        deepest = np.maximum(deepest, depth)
    answers = (KINDS + stack[rows, depth])[:, None].astype("uint8")
    distance = length - opened_at[rows, depth]
    factors = {"distance": distance, "depth": depth, "deepest": deepest}
    return Items(prompts, answers, distance, hashes(prompts), factors)


def dyck(length: int = LENGTH) -> Task:
    """Prefixes of `length` brackets."""
    return Task(
        name="dyck" if length == LENGTH else f"dyck-{length}",
        tag="d",
        instruction="close",
        prompt_length=length,
        answer_length=1,
        draw=partial(draw, length=length),
        exact_match_chance=1 / KINDS,
        token_accuracy_chance=1 / KINDS,
        test_share=1 / 8,
        planted=(
            "near brackets by a rule of thumb, far ones only by counting depth: it rises with layers and size"
        ),
        difficulty="symbols back to the bracket that has to be closed",
        source="Hahn 2020 (1906.06755); Yao et al. 2021 (2105.11115)",
        choices=tuple(range(KINDS, 2 * KINDS)),
    )


DYCK = dyck()
