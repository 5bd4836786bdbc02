"""Addition with the answer reversed, plain or with its working; addition modulo a prime; multiplication."""

from __future__ import annotations

from functools import partial

import numpy as np

from lab.abilities.items import EQUALS, PLUS, Items, Task, hashes
from lab.draws import Draws

DIGITS = 3
MODULUS = 31
FACTOR_DIGITS = 2
_HARD = "a lottery over seeds: what rises with size is the chance of success, digit by digit"
_LEE = "Lee et al. 2023 (2307.03381); seeds: Zhao et al. 2025 (2502.17356)"


def draw_addition(draws: Draws, count: int, digits: int = DIGITS, form: str = "reversed") -> Items:
    """`abc+def`, and the sum in one digit more.

    reversed: units first, so that carries run in the order of writing. plain: as people write it. scratchpad:
    digit and carry of each place, units first, then `=` and the plain sum.
    """
    first, second = draws.below(10**digits, 2, count)
    powers = 10 ** np.arange(digits + 1)
    a = first[:, None] // powers % 10
    b = second[:, None] // powers % 10
    total = (first + second)[:, None] // powers % 10
    plus = np.full((count, 1), PLUS)
    prompts = np.concatenate([a[:, digits - 1 :: -1], plus, b[:, digits - 1 :: -1]], axis=1)
    heads = first[:, None] % powers[1:] + second[:, None] % powers[1:]
    carried = heads >= powers[1:]
    if form == "plain":
        answers = total[:, ::-1]
    elif form == "scratchpad":
        working = np.stack([total[:, :digits], carried], axis=2).reshape(count, 2 * digits)
        answers = np.concatenate([working, np.full((count, 1), EQUALS), total[:, ::-1]], axis=1)
    else:
        answers = total
    carries = carried.sum(axis=1)
    factors = {"digits": np.full(count, digits), "carries": carries}
    return Items(
        prompts.astype("uint8"), answers.astype("uint8"), carries, _unordered(first, second), factors
    )


def draw_modular(draws: Draws, count: int, modulus: int = MODULUS) -> Items:
    """`a+b` and (a + b) mod p, each number one symbol."""
    first, second = draws.below(modulus, 2, count)
    prompts = np.stack([first, np.full(count, PLUS), second], axis=1).astype("uint8")
    total = first + second
    return Items(
        prompts,
        (total % modulus)[:, None].astype("uint8"),
        (total >= modulus).astype(np.int64),
        _unordered(first, second),
        {"first": first, "second": second},
    )


def draw_product(draws: Draws, count: int, digits: int = FACTOR_DIGITS) -> Items:
    """`ab+cd` and their product in twice the digits, units first. The alphabet has no sign of its own "
    "for it."""
    first, second = draws.below(10**digits, 2, count)
    powers = 10 ** np.arange(2 * digits)
    a, b, product = (n[:, None] // powers % 10 for n in (first, second, first * second))
    plus = np.full((count, 1), PLUS)
    prompts = np.concatenate([a[:, digits - 1 :: -1], plus, b[:, digits - 1 :: -1]], axis=1)
    products = (a[:, :digits, None] * b[:, None, :digits] > 0).sum(axis=(1, 2))
    return Items(
        prompts.astype("uint8"),
        product.astype("uint8"),
        products,
        _unordered(first, second),
        {"digits": np.full(count, digits), "products": products},
    )


def _unordered(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """a + b gives b + a away, so both are one identity."""
    return hashes(np.sort(np.stack([first, second], axis=1), axis=1))


def _chances_of_addition(digits: int) -> tuple[float, list[float]]:
    """Best constant answer, and best constant digit of each place, units first, over all pairs of "
    "operands."""
    size = 10**digits
    sums = np.arange(2 * size - 1)
    weights = (size - np.abs(sums - (size - 1))) / size**2
    places = [np.bincount(sums // 10**place % 10, weights).max() for place in range(digits + 1)]
    return float(weights.max()), places


def addition(digits: int = DIGITS, form: str = "reversed") -> Task:
    """Addition of two numbers of `digits` digits in one of its three forms."""
    exact, places = _chances_of_addition(digits)
    tags = {"reversed": "a", "plain": "1", "scratchpad": "2"}
    if form == "scratchpad":
        # a place carries when two uniform numbers of so many digits do not fit it
        carries = [(1 + 10.0**-place) / 2 for place in range(1, digits + 1)]
        places = [*places[:digits], *carries, 1.0, *places]
    planted = {
        "reversed": _HARD,
        "plain": "a threshold; published models need more pairs for it than for the reversed form",
        "scratchpad": "a threshold; published models need the fewest pairs for this form",
    }
    base = "addition" if digits == DIGITS else f"addition-{digits}"
    scratch = 2 * digits + 1 if form == "scratchpad" else 0
    return Task(
        name=base if form == "reversed" else f"{base}/{form}",
        tag=tags[form],
        instruction={"reversed": "addreversed", "plain": "add", "scratchpad": "addinsteps"}[form],
        prompt_length=2 * digits + 1,
        answer_length=digits + 1 + scratch,
        scratch_length=scratch,
        draw=draw_addition
        if (digits, form) == (DIGITS, "reversed")
        else partial(draw_addition, digits=digits, form=form),
        exact_match_chance=exact,
        token_accuracy_chance=float(np.mean(places)),
        test_share=1 / 8,
        planted=planted[form],
        difficulty="number of carries",
        expected={"exact_match": ("seed_bimodal",)} if (digits, form) == (DIGITS, "reversed") else {},
        source=_LEE if form != "scratchpad" else "Nye et al. 2021 (2112.00114); Lee et al. 2023 (2307.03381)",
        stream=base if form != "reversed" else "",
    )


def modular(modulus: int = MODULUS) -> Task:
    """Addition modulo `modulus`."""
    return Task(
        name="modular" if modulus == MODULUS else f"modular-{modulus}",
        tag="m",
        instruction="modulo",
        prompt_length=3,
        answer_length=1,
        draw=partial(draw_modular, modulus=modulus),
        exact_match_chance=1 / modulus,
        token_accuracy_chance=1 / modulus,
        test_share=1 / 2,
        planted=(
            "a delayed break in tokens: training pairs are known by heart long before unseen ones come right"
        ),
        difficulty="1 if the sum wraps round",
        source="Power et al. 2022 (2201.02177); Nanda et al. 2023 (2301.05217)",
        choices=tuple(range(modulus)),
    )


def multiplication(digits: int = FACTOR_DIGITS) -> Task:
    """Multiplication of two numbers of `digits` digits, product reversed."""
    numbers = np.arange(10**digits)
    products, counts = np.unique(np.outer(numbers, numbers), return_counts=True)
    shares = counts / 10.0 ** (2 * digits)
    places = [np.bincount(products // 10**p % 10, shares).max() for p in range(2 * digits)]
    return Task(
        name="multiplication" if digits == FACTOR_DIGITS else f"multiplication-{digits}",
        tag="t",
        instruction="multipl",
        prompt_length=2 * digits + 1,
        answer_length=2 * digits,
        draw=partial(draw_product, digits=digits),
        exact_match_chance=float(shares.max()),
        token_accuracy_chance=float(np.mean(places)),
        test_share=1 / 4,
        planted="outer digits early, middle digits late: floor-limited in exact match while small",
        difficulty="products of digits that are not zero",
        source="Dziri et al. 2023 (2305.18654); Lee et al. 2023 (2307.03381)",
    )


ADDITION = addition()
MODULAR = modular()
MULTIPLICATION = multiplication()
