"""Sorting eight symbols, repeats allowed."""

from __future__ import annotations

import math

import numpy as np

from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.draws import Draws

LENGTH = 8


def draw(draws: Draws, count: int) -> Items:
    """Eight random symbols; the answer has them in ascending order."""
    prompts = draws.below(SYMBOLS, count, LENGTH).astype("uint8")
    later = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
    inversions = ((prompts[:, :, None] > prompts[:, None, :]) & later).sum(axis=(1, 2))
    return Items(prompts, np.sort(prompts, axis=1), inversions, hashes(prompts))


def _best_symbol_rates() -> list[float]:
    """For each place of the sorted answer, the probability of its most likely symbol.

    The j-th smallest of n draws is at most s when at least j of them are.
    """
    below = [[_at_least(j, (s + 1) / SYMBOLS) for s in range(-1, SYMBOLS)] for j in range(1, LENGTH + 1)]
    return [float(np.diff(row).max()) for row in below]


def _at_least(j: int, p: float) -> float:
    return sum(math.comb(LENGTH, m) * p**m * (1 - p) ** (LENGTH - m) for m in range(j, LENGTH + 1))


SORT = Task(
    name="sort",
    tag="s",
    instruction="sort",
    prompt_length=LENGTH,
    answer_length=LENGTH,
    draw=draw,
    exact_match_chance=math.factorial(LENGTH) / float(SYMBOLS) ** LENGTH,
    token_accuracy_chance=float(np.mean(_best_symbol_rates())),
    test_share=1 / 8,
    planted="a threshold in parameters whose per-symbol accuracy rises smoothly before the exact match does",
    difficulty="inversions of the prompt",
    source="Zhou et al. 2023 (2310.16028)",
)
