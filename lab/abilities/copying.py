"""Copying and reversing 12 random symbols.

Both need each answer symbol to be fetched from one place of the prompt, and nothing else: a capacity
threshold in parameters that a few thousand parameters cross within seconds of training.
"""

from __future__ import annotations

from functools import partial

from lab.abilities.items import SYMBOLS, Items, Task, hashes, repeats
from lab.draws import Draws

LENGTH = 12


def draw_copy(draws: Draws, count: int, length: int = LENGTH) -> Items:
    """The answer is the prompt."""
    prompts = draws.below(SYMBOLS, count, length).astype("uint8")
    return Items(prompts, prompts, repeats(prompts), hashes(prompts))


def draw_reverse(draws: Draws, count: int, length: int = LENGTH) -> Items:
    """The answer is the prompt from its end."""
    prompts = draws.below(SYMBOLS, count, length).astype("uint8")
    return Items(prompts, prompts[:, ::-1], repeats(prompts), hashes(prompts))


def _shared(length: int) -> dict:
    return {
        "prompt_length": length,
        "answer_length": length,
        "exact_match_chance": float(SYMBOLS) ** -length,
        "token_accuracy_chance": 1 / SYMBOLS,
        "test_share": 1 / 8,
        "difficulty": "symbols of the prompt that occurred before in it",
    }


def copy(length: int = LENGTH) -> Task:
    """Copying `length` symbols."""
    return Task(
        name="copy" if length == LENGTH else f"copy-{length}",
        tag="c",
        instruction="repeat",
        draw=partial(draw_copy, length=length),
        planted="a threshold in parameters: below it no place is found, above it every one",
        source=(
            "Graves et al. 2014 (1410.5401), section 4.1; Jelassi et al. 2024 (2402.01032) for transformers"
        ),
        **_shared(length),
    )


def reverse(length: int = LENGTH) -> Task:
    """Reversing `length` symbols."""
    return Task(
        name="reverse" if length == LENGTH else f"reverse-{length}",
        tag="r",
        instruction="reverse",
        draw=partial(draw_reverse, length=length),
        planted="a threshold in parameters; the place to read moves against the place to write",
        source="Weiss et al. 2021 (2106.06981); Zhou et al. 2023 (2310.16028)",
        **_shared(length),
    )


COPY = copy()
REVERSE = reverse()
