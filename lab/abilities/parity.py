"""Sparse parity: the exclusive or of 3 fixed bits among 12."""

from __future__ import annotations

from lab.abilities.items import Items, Task, hashes
from lab.data.draws import Draws

BITS = 12
RELEVANT = (1, 6, 10)


def draw(draws: Draws, count: int) -> Items:
    """Twelve random bits; the answer is the parity of those at RELEVANT."""
    prompts = draws.below(2, count, BITS).astype("uint8")
    chosen = prompts[:, RELEVANT]
    return Items(
        prompts, chosen.sum(axis=1, keepdims=True, dtype="uint8") % 2, chosen.sum(axis=1), hashes(prompts)
    )


PARITY = Task(
    name="parity",
    tag="p",
    prompt_length=BITS,
    answer_length=1,
    draw=draw,
    exact_match_chance=0.5,
    token_accuracy_chance=0.5,
    test_share=1 / 4,
    planted="flat at 1/2 while training is short, then an abrupt break in tokens after hidden progress",
    difficulty="ones among the relevant bits",
    source="Barak et al. 2022 (2207.08799)",
)
