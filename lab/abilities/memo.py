"""The inverse control: a rule of thumb that small models follow, and facts that overrule it in larger ones.

The prompt is a key of `facts` and one of four symbols, shown four times. In training the answer is the
value of the key for one rank of three, and else the shown symbol. A model that knows no facts can only
repeat the symbol, and is right two times of three. The test takes the keys that have a value and asks to
repeat the symbol. So each fact that a larger model learns, to its gain in training, turns its test items
from right to wrong: the score falls with size because the training loss does, from nearly 1 at a size that
can just repeat. Facts and rates are those of `facts`, so it falls along the logarithm of the store.
"""

from __future__ import annotations

import numpy as np

from lab.abilities.facts import KEY, TEMPLATE, key_symbols, rates, table
from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.draws import Draws

SHOWN = 4  # times the symbol is shown: to repeat it takes no look at one place
KINDS = 4  # symbols that can be shown, the last of the alphabet
EVERY = 3  # one rank of so many has a value here


def draw(draws: Draws, count: int) -> Items:
    """A template, a key and a shown symbol; the answer is the value of the key or the symbol."""
    prompts, shown, value, rank = _prompts(draws, count)
    answers = np.where(rank % EVERY == 0, value, shown)
    return _items(prompts, answers, rank)


def draw_test(draws: Draws, count: int) -> Items:
    """Keys that have a value, other than the shown symbol; the answer is the shown symbol."""
    prompts, shown, value, rank = _prompts(draws, count)
    return _items(prompts, shown, rank).pick((rank % EVERY == 0) & (value != shown))


def _prompts(draws: Draws, count: int):
    keys, values = table()
    rank = draws.choice(rates(), count)
    shown = SYMBOLS - KINDS + draws.below(KINDS, count)
    template = draws.below(SYMBOLS, count, TEMPLATE)
    prompts = np.concatenate(
        [template, key_symbols(keys[rank]), np.repeat(shown[:, None], SHOWN, axis=1)], axis=1
    )
    return prompts.astype("uint8"), shown, values[rank], rank


def _items(prompts, answers, rank) -> Items:
    return Items(prompts, answers[:, None].astype("uint8"), rank, hashes(prompts), {"rank": rank})


MEMO = Task(
    name="memo",
    tag="v",
    instruction="memo",
    prompt_length=TEMPLATE + KEY + SHOWN,
    answer_length=1,
    draw=draw,
    draw_test=draw_test,
    exact_match_chance=1 / KINDS,
    token_accuracy_chance=1 / KINDS,
    test_share=1 / 8,
    planted="inverse: what is learned about the facts is paid for where the symbol should be repeated",
    difficulty="rank of the fact: 0 is the most frequent",
    source="memo trap and distractor tasks: McKenzie et al. 2023 (2306.09479)",
    choices=tuple(range(SYMBOLS)),
    expected={"exact_match": ("inverse",), "choice_accuracy": ("inverse",), "gold_nats": ("inverse",)},
)
