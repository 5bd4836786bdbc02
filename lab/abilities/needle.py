"""A needle in a haystack: random symbols, one mark among them, and what stood behind the mark."""

from __future__ import annotations

from functools import partial

import numpy as np

from lab.abilities.items import PAD, PLUS, SYMBOLS, Items, Task, hashes
from lab.draws import Draws

LENGTH = 64
DEPTHS = 5  # bins: 0, 25, 50, 75 and 100 per cent of the haystack lie before the needle


def draw(draws: Draws, count: int, length: int = LENGTH) -> Items:
    """Haystacks of a quarter, a half and the whole of `length`; `+` and the value stand at one of five
    depths.

    The value is of the same symbols as the hay, so that nothing but the mark tells it apart.
    """
    lengths = length // np.array([4, 2, 1])[draws.below(3, count)]
    depth = draws.below(DEPTHS, count)
    hay = draws.below(SYMBOLS, count, length)
    place = (lengths - 2) * depth // (DEPTHS - 1)
    position = np.arange(length)
    prompts = np.where(position == place[:, None], PLUS, hay)
    prompts = np.where(position < lengths[:, None], prompts, PAD).astype("uint8")
    answers = np.take_along_axis(hay, place[:, None] + 1, axis=1).astype("uint8")
    percent = depth * 100 // (DEPTHS - 1)
    factors = {"length": lengths, "depth": percent, "distance": lengths - 1 - place, "source": place + 1}
    return Items(prompts, answers, lengths - 1 - place, hashes(prompts), factors)


def needle(length: int = LENGTH) -> Task:
    """Haystacks of up to `length` symbols."""
    return Task(
        name="needle" if length == LENGTH else f"needle-{length}",
        tag="l",
        instruction="find",
        prompt_length=length,
        answer_length=1,
        draw=partial(draw, length=length),
        exact_match_chance=1 / SYMBOLS,
        token_accuracy_chance=1 / SYMBOLS,
        test_share=1 / 8,
        planted=(
            "a map over depth and length: long haystacks come later, and no depth should be favoured at "
            "the end"
        ),
        difficulty="symbols from the mark to the end of the haystack",
        source="Kamradt 2023, needle in a haystack; Hsieh et al. 2024 (2404.06654)",
        choices=tuple(range(SYMBOLS)),
    )


NEEDLE = needle()
