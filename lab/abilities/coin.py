"""The flat control: a label that has nothing to do with the prompt."""

from __future__ import annotations

import math

from lab.abilities.items import SYMBOLS, Items, Task, hashes, repeats
from lab.draws import Draws

LENGTH = 12
LABELS = 4


def draw(draws: Draws, count: int) -> Items:
    """Twelve random symbols, and one of four labels drawn independently of them."""
    prompts = draws.below(SYMBOLS, count, LENGTH).astype("uint8")
    labels = draws.below(LABELS, count, 1).astype("uint8")
    return Items(prompts, labels, repeats(prompts), hashes(prompts))


COIN = Task(
    name="coin",
    tag="f",
    instruction="guess",
    prompt_length=LENGTH,
    answer_length=1,
    draw=draw,
    exact_match_chance=1 / LABELS,
    token_accuracy_chance=1 / LABELS,
    test_share=1 / 8,
    planted="flat at 1/4 for every model: a detector that calls anything else is wrong",
    difficulty="symbols of the prompt that occurred before in it (it cannot matter)",
    source="random labels: Zhang et al. 2017 (1611.03530)",
    answer_entropy=math.log(LABELS),
    choices=tuple(range(LABELS)),
    # its nats are not flat: they fall to ln 4 as models learn that there are four labels, equally often
    expected={"exact_match": ("flat",), "choice_accuracy": ("flat",)},
)
