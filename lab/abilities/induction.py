"""Induction: after a list of symbols comes one of them again; go on as the list did.

With one symbol asked for, models of these sizes stay for thousands of steps at the plateau of answering with
any symbol of the list. With a stretch of it they learn the same mechanism within hundreds: each further one
is induction proper, from the symbol just read.
"""

from __future__ import annotations

from functools import partial
from math import perm

import numpy as np

from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.draws import Draws

LENGTH = 16
CONTINUED = 4


def draw(draws: Draws, count: int, length: int = LENGTH) -> Items:
    """`s1 ... sL sj` with all si different; the answer is the symbols after sj, `CONTINUED` of them."""
    listed = draws.permutations(count, SYMBOLS)[:, :length]
    place = draws.below(length - CONTINUED, count)[:, None]
    asked = np.take_along_axis(listed, place, axis=1)
    answers = np.take_along_axis(listed, place + 1 + np.arange(CONTINUED), axis=1)
    prompts = np.concatenate([listed, asked], axis=1).astype("uint8")
    distance = length - 1 - place[:, 0]
    factors = {"distance": distance, "source": place[:, 0] + 1}
    return Items(prompts, answers.astype("uint8"), distance, hashes(prompts), factors)


def induction(length: int = LENGTH) -> Task:
    """Induction over a list of `length` symbols."""
    return Task(
        name="induction" if length == LENGTH else f"induction-{length}",
        tag="i",
        instruction="induce",
        prompt_length=length + 1,
        answer_length=CONTINUED,
        draw=partial(draw, length=length),
        exact_match_chance=1 / perm(SYMBOLS, CONTINUED),
        token_accuracy_chance=1 / SYMBOLS,
        test_share=1 / 8,
        planted=(
            "a threshold in depth: one layer of attention cannot look for a symbol by the one before it; an "
            "abrupt break in tokens"
        ),
        difficulty="symbols between the earlier occurrence and the end of the list",
        source="Olsson et al. 2022 (2209.11895); Sanford et al. 2024 (2408.14332) on one layer",
    )


INDUCTION = induction()
