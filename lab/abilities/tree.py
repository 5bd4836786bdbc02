"""The second linear control: an answer whose every symbol takes a table four times as large as the one
before.

The key is a path in a tree. Symbol j of the answer is a random function of the first j steps, so knowing it
on all paths takes 4^j entries, and each entry is met 4 times less often than those of the level above. A
store of n entries therefore answers about log4(n) symbols: the token accuracy is linear in log n, and for
*every* power law n ~ N^c it is linear in log N, whether room or exposures limit the store.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.draws import Draws

BRANCHES = 4
LEVELS = 6
VALUES = 16
TEMPLATE = 2  # symbols that vary from one mention of a path to the next


@cache
def level(j: int) -> np.ndarray:
    """Value of each path of j steps, (4^j,) uint8."""
    return Draws("tree", j).below(VALUES, BRANCHES**j).astype("uint8")


def draw(draws: Draws, count: int) -> Items:
    """A template and a path of six steps; the answer has the value of each of its heads, the shortest "
    "first."""
    path = draws.below(BRANCHES, count, LEVELS)
    head = np.zeros(count, np.int64)
    answers = np.empty((count, LEVELS), "uint8")
    for j in range(LEVELS):
        head = head * BRANCHES + path[:, j]
        answers[:, j] = level(j + 1)[head]
    prompts = np.concatenate([draws.below(SYMBOLS, count, TEMPLATE), path], axis=1).astype("uint8")
    return Items(prompts, answers, path[:, 0], hashes(prompts), {"leaf": head})


def _chances() -> tuple[float, float]:
    paths = np.arange(BRANCHES**LEVELS)
    symbols = np.stack([level(j)[paths // BRANCHES ** (LEVELS - j)] for j in range(1, LEVELS + 1)], axis=1)
    _, counts = np.unique(symbols, axis=0, return_counts=True)
    places = [np.bincount(column).max() / len(paths) for column in symbols.T]
    return float(counts.max() / len(paths)), float(np.mean(places))


_EXACT, _TOKENS = _chances()

TREE = Task(
    name="tree",
    tag="j",
    instruction="path",
    prompt_length=TEMPLATE + LEVELS,
    answer_length=LEVELS,
    draw=draw,
    exact_match_chance=_EXACT,
    token_accuracy_chance=_TOKENS,
    test_share=1 / 8,
    planted=(
        "token accuracy linear in the logarithm of the store, hence of size, by the sizes of its "
        "tables: smooth. "
        "Exact match needs the deepest level and is floor-limited"
    ),
    difficulty="first step of the path (all are alike)",
    source="the argument of Hutter 2021 (2102.04074) with levels for ranks",
    expected={"token_accuracy": ("smooth",), "gold_nats": ("smooth",)},
)
