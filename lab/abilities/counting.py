"""Counting how often the first symbol occurs among the sixteen that follow."""

from __future__ import annotations

import numpy as np

from lab.abilities.items import Items, Task, hashes
from lab.draws import Draws

LENGTH = 16
KINDS = 8  # kinds of symbol in a prompt


def draw(draws: Draws, count: int) -> Items:
    """The count is uniform over 0..16, so that no answer is the better guess; one symbol writes it."""
    wanted = draws.below(KINDS, count)
    times = draws.below(LENGTH + 1, count)
    others = (wanted[:, None] + 1 + draws.below(KINDS - 1, count, LENGTH)) % KINDS
    places = draws.permutations(count, LENGTH)
    listed = np.where(places < times[:, None], wanted[:, None], others)
    prompts = np.concatenate([wanted[:, None], listed], axis=1).astype("uint8")
    return Items(prompts, times[:, None].astype("uint8"), times, hashes(prompts))


COUNT = Task(
    name="count",
    tag="n",
    instruction="count",
    prompt_length=LENGTH + 1,
    answer_length=1,
    draw=draw,
    exact_match_chance=1 / (LENGTH + 1),
    token_accuracy_chance=1 / (LENGTH + 1),
    test_share=1 / 8,
    planted="a smooth rise: near misses are likely long before the count is right",
    difficulty="the count",
    source="Yehudai et al. 2024 (2407.15160)",
    choices=tuple(range(LENGTH + 1)),
)
