"""Multi-query associative recall: eight pairs of key and value, then four of the keys."""

from __future__ import annotations

from functools import partial

import numpy as np

from lab.abilities.items import PLUS, SYMBOLS, Items, Task, hashes
from lab.draws import Draws

PAIRS = 8
QUERIES = 4
KEYS = SYMBOLS // 2  # the other half of the symbols are values


def draw(draws: Draws, count: int, listed: int = PAIRS) -> Items:
    """`k1 v1 ... k8 v8 + q1 q2 q3 q4`: keys differ, and the queries are four of them in any order."""
    keys = draws.permutations(count, KEYS)[:, :listed]
    values = KEYS + draws.below(KEYS, count, listed)
    asked = draws.permutations(count, listed)[:, :QUERIES]
    pairs = np.stack([keys, values], axis=2).reshape(count, 2 * listed)
    queries = np.take_along_axis(keys, asked, axis=1)
    prompts = np.concatenate([pairs, np.full((count, 1), PLUS), queries], axis=1).astype("uint8")
    answers = np.take_along_axis(values, asked, axis=1).astype("uint8")
    factors = {"pairs": np.full(count, listed), "source": 2 * asked[:, 0] + 1}
    return Items(prompts, answers, (listed - 1 - asked).sum(axis=1), hashes(prompts), factors)


def recall(listed: int = PAIRS) -> Task:
    """Recall from a list of `listed` pairs."""
    return Task(
        name="recall" if listed == PAIRS else f"recall-{listed}",
        tag="k",
        instruction="lookup",
        prompt_length=2 * listed + 1 + QUERIES,
        answer_length=QUERIES,
        draw=partial(draw, listed=listed),
        exact_match_chance=float(KEYS) ** -QUERIES,
        token_accuracy_chance=1 / KEYS,
        test_share=1 / 8,
        planted=(
            "a threshold in depth (two attention layers) and tokens; floor-limited while training is short"
        ),
        difficulty="pairs between each queried pair and the end of the list, summed",
        source="Arora et al. 2023 (2312.04927)",
    )


RECALL = recall()
