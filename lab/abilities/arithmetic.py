"""Addition: of three-digit numbers with the answer reversed, and modulo a prime."""

from __future__ import annotations

import numpy as np

from lab.abilities.items import PLUS, Items, Task, hashes
from lab.data.draws import Draws

DIGITS = 3
MODULUS = 31


def draw_addition(draws: Draws, count: int) -> Items:
    """`abc+def`, the sum in four digits with the units first, so that carries run in the order of writing."""
    first, second = draws.below(10**DIGITS, 2, count)
    powers = 10 ** np.arange(DIGITS + 1)
    a = first[:, None] // powers % 10
    b = second[:, None] // powers % 10
    total = (first + second)[:, None] // powers % 10
    plus = np.full((count, 1), PLUS)
    prompts = np.concatenate([a[:, DIGITS - 1 :: -1], plus, b[:, DIGITS - 1 :: -1]], axis=1)
    heads = first[:, None] % powers[1:] + second[:, None] % powers[1:]
    carries = (heads >= powers[1:]).sum(axis=1)
    return Items(prompts.astype("uint8"), total.astype("uint8"), carries, _unordered(first, second))


def draw_modular(draws: Draws, count: int) -> Items:
    """`a+b` and (a + b) mod 31, each number one symbol."""
    first, second = draws.below(MODULUS, 2, count)
    prompts = np.stack([first, np.full(count, PLUS), second], axis=1).astype("uint8")
    total = first + second
    return Items(
        prompts,
        (total % MODULUS)[:, None].astype("uint8"),
        (total >= MODULUS).astype(np.int64),
        _unordered(first, second),
    )


def _unordered(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """a + b gives b + a away, so both are one identity."""
    return hashes(np.sort(np.stack([first, second], axis=1), axis=1))


def _chances_of_addition() -> tuple[float, float]:
    """Best constant answer, and best constant digit a place, over all pairs of operands."""
    size = 10**DIGITS
    sums = np.arange(2 * size - 1)
    weights = (size - np.abs(sums - (size - 1))) / size**2
    places = [np.bincount(sums // 10**place % 10, weights).max() for place in range(DIGITS + 1)]
    return float(weights.max()), float(np.mean(places))


_EXACT, _TOKENS = _chances_of_addition()

ADDITION = Task(
    name="addition",
    tag="a",
    prompt_length=2 * DIGITS + 1,
    answer_length=DIGITS + 1,
    draw=draw_addition,
    exact_match_chance=_EXACT,
    token_accuracy_chance=_TOKENS,
    test_share=1 / 8,
    planted="a lottery over seeds: what rises with size is the chance of success, digit by digit",
    difficulty="number of carries",
    source="Lee et al. 2023 (2307.03381); seeds: Zhao et al. 2025 (2502.17356)",
)

MODULAR = Task(
    name="modular",
    tag="m",
    prompt_length=3,
    answer_length=1,
    draw=draw_modular,
    exact_match_chance=1 / MODULUS,
    token_accuracy_chance=1 / MODULUS,
    test_share=1 / 2,
    planted="a delayed break in tokens: training pairs are known by heart long before unseen ones come right",
    difficulty="1 if the sum wraps round",
    source="Power et al. 2022 (2201.02177); Nanda et al. 2023 (2301.05217)",
)
