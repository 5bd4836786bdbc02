"""The inverse control: a hint that is nearly always true, and a test on the cases where it is not what is
known.

In training the answer is always the remembered value of the key; the prompt also shows a symbol, four
times, which is that value in three rows of four and a random one else. A model too small to remember can
only repeat the symbol, and is right three times of four. The test asks to repeat the symbol where it is
*not* the remembered value. So each fact that a larger model learns, to its gain in training, turns its test
items from right to wrong: the score falls with size because the training loss does. The facts and
their rates, 1 / rank, are those of `facts`, so it falls along the logarithm of the store.
"""

from __future__ import annotations

import numpy as np

from lab.abilities.facts import KEY, key_symbols, rates, table
from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.data.draws import Draws

SHOWN = 4  # times the symbol is shown: to repeat it takes no look at one place
TEMPLATE = 2  # symbols that vary from one mention of a fact to the next
TRUE = (3, 4)  # rows in which the shown symbol is the remembered value


def draw(draws: Draws, count: int) -> Items:
    """A template, a key and a shown symbol; the answer is the value of the key."""
    prompts, shown, value, rank = _prompts(draws, count)
    return Items(prompts, value[:, None].astype("uint8"), rank, hashes(prompts), _factors(shown, value, rank))


def draw_test(draws: Draws, count: int) -> Items:
    """Prompts whose shown symbol is not the value; the answer is the shown symbol."""
    prompts, shown, value, rank = _prompts(draws, count)
    items = Items(
        prompts, shown[:, None].astype("uint8"), rank, hashes(prompts), _factors(shown, value, rank)
    )
    return items.pick(shown != value)


def _prompts(draws: Draws, count: int):
    keys, values = table()
    rank = draws.choice(rates(), count)
    value = values[rank]
    shown = np.where(draws.below(TRUE[1], count) < TRUE[0], value, draws.below(SYMBOLS, count))
    template = draws.below(SYMBOLS, count, TEMPLATE)
    prompts = np.concatenate(
        [template, key_symbols(keys[rank]), np.repeat(shown[:, None], SHOWN, axis=1)], axis=1
    )
    prompts = prompts.astype("uint8")
    return prompts, shown, value, rank


def _factors(shown, value, rank) -> dict[str, np.ndarray]:
    return {"rank": rank, "conflict": (shown != value).astype(np.int64)}


MEMO = Task(
    name="memo",
    tag="v",
    instruction="memo",
    prompt_length=TEMPLATE + KEY + SHOWN,
    answer_length=1,
    draw=draw,
    draw_test=draw_test,
    exact_match_chance=1 / SYMBOLS,
    token_accuracy_chance=1 / SYMBOLS,
    test_share=1 / 8,
    planted="inverse: what is learned about the facts is paid for where the hint should be repeated",
    difficulty="rank of the fact: 0 is the most frequent",
    source="memo trap and distractor tasks: McKenzie et al. 2023 (2306.09479)",
    choices=tuple(range(SYMBOLS)),
    expected={"exact_match": ("inverse",), "choice_accuracy": ("inverse",), "gold_nats": ("inverse",)},
)
