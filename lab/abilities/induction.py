"""Induction: after a list of symbols comes one of them again; which one followed it?"""

from __future__ import annotations

from functools import partial

import numpy as np

from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.data.draws import Draws

LENGTH = 16


def draw(draws: Draws, count: int, length: int = LENGTH) -> Items:
    """`s1 ... sL sj` with all si different; the answer is the symbol after sj."""
    listed = draws.permutations(count, SYMBOLS)[:, :length]
    place = draws.below(length - 1, count)[:, None]
    asked, answer = (np.take_along_axis(listed, place + step, axis=1) for step in (0, 1))
    prompts = np.concatenate([listed, asked], axis=1).astype("uint8")
    distance = length - 1 - place[:, 0]
    factors = {"distance": distance, "source": place[:, 0] + 1}
    return Items(prompts, answer.astype("uint8"), distance, hashes(prompts), factors)


def induction(length: int = LENGTH) -> Task:
    """Induction over a list of `length` symbols."""
    return Task(
        name="induction" if length == LENGTH else f"induction-{length}",
        tag="i",
        instruction="induce",
        prompt_length=length + 1,
        answer_length=1,
        draw=partial(draw, length=length),
        exact_match_chance=1 / SYMBOLS,
        token_accuracy_chance=1 / SYMBOLS,
        test_share=1 / 8,
        planted=(
            "a threshold in depth: one layer of attention cannot look for a symbol by the one before it; an "
            "abrupt break in tokens, after a plateau at one of the symbols of the list, 1/length"
        ),
        difficulty="symbols between the earlier occurrence and the end of the list",
        source="Olsson et al. 2022 (2209.11895); Sanford et al. 2024 (2408.14332) on one layer",
        choices=tuple(range(SYMBOLS)),
    )


INDUCTION = induction()
