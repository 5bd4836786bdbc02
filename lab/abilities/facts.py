"""The first linear control: facts met at rates that fall as one over their rank.

A store of n facts that holds the most frequent ones scores p_1 + ... + p_n. With p_k ~ 1 / (k + K0) that is
log(n + K0) up to constants, so *every* power law between size and store, n ~ N^c, whether room or exposures
limit it, gives a straight line in log N. And no single fact carries more than p_1 of the score (about 3 per
cent), so there is nothing in it that could break.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.draws import Draws

FACTS = 4096
KEY = 3  # symbols of a key, the first of them one of four
FIRST = 4  # K0
TEMPLATE = 2  # symbols that vary from one mention of a fact to the next


def rates() -> np.ndarray:
    """p_k of the facts by rank, (FACTS,)."""
    weights = 1 / (np.arange(FACTS) + 1 + FIRST)
    return weights / weights.sum()


@cache
def table() -> tuple[np.ndarray, np.ndarray]:
    """Key (as one number, see :func:`key_symbols`) and value of the fact of each rank, (FACTS,) int64 each.

    Each run of 32 ranks uses every value once, so that no constant answer does much better than 1 in 32.
    """
    draws = Draws("facts")
    keys = draws.permutations(1, FACTS)[0]
    return keys, draws.permutations(FACTS // SYMBOLS, SYMBOLS).reshape(-1)


def key_symbols(number: np.ndarray) -> np.ndarray:
    """The symbols of keys, the highest digit in base 32 first: a further axis of length KEY."""
    return number[..., None] // SYMBOLS ** np.arange(KEY - 1, -1, -1) % SYMBOLS


def draw(draws: Draws, count: int) -> Items:
    """A template and the key of a fact; the answer is its value. The same facts in training and in the test.

    What the test has not seen is the row: the template's symbols differ. Knowing facts is the ability.
    """
    keys, values = table()
    rank = draws.choice(rates(), count)
    template = draws.below(SYMBOLS, count, TEMPLATE)
    prompts = np.concatenate([template, key_symbols(keys[rank])], axis=1).astype("uint8")
    return Items(prompts, values[rank][:, None].astype("uint8"), rank, hashes(prompts), {"rank": rank})


BEST = float(np.bincount(table()[1], rates()).max())

FACTS_TASK = Task(
    name="facts",
    tag="e",
    instruction="fact",
    prompt_length=TEMPLATE + KEY,
    answer_length=1,
    draw=draw,
    exact_match_chance=BEST,
    token_accuracy_chance=BEST,
    test_share=1 / 8,
    planted="linear in the logarithm of the store, hence of size, by the rates of its facts: smooth",
    difficulty="rank of the fact: 0 is the most frequent",
    source="the rates: Zipf 1949; Michaud et al. 2023 (2303.13506); Hutter 2021 (2102.04074)",
    choices=tuple(range(SYMBOLS)),
    expected={"exact_match": ("smooth",), "gold_nats": ("smooth",)},
)
