"""Multi-query associative recall: eight pairs of key and value, then four of the keys."""

from __future__ import annotations

import numpy as np

from lab.abilities.items import PLUS, SYMBOLS, Items, Task, hashes
from lab.data.draws import Draws

PAIRS = 8
QUERIES = 4
KEYS = SYMBOLS // 2  # the other half of the symbols are values


def draw(draws: Draws, count: int) -> Items:
    """`k1 v1 ... k8 v8 + q1 q2 q3 q4`: keys differ, and the queries are four of them in any order."""
    keys = draws.permutations(count, KEYS)[:, :PAIRS]
    values = KEYS + draws.below(KEYS, count, PAIRS)
    asked = draws.permutations(count, PAIRS)[:, :QUERIES]
    pairs = np.stack([keys, values], axis=2).reshape(count, 2 * PAIRS)
    queries = np.take_along_axis(keys, asked, axis=1)
    prompts = np.concatenate([pairs, np.full((count, 1), PLUS), queries], axis=1).astype("uint8")
    answers = np.take_along_axis(values, asked, axis=1).astype("uint8")
    return Items(prompts, answers, (PAIRS - 1 - asked).sum(axis=1), hashes(prompts))


RECALL = Task(
    name="recall",
    tag="k",
    prompt_length=2 * PAIRS + 1 + QUERIES,
    answer_length=QUERIES,
    draw=draw,
    exact_match_chance=float(KEYS) ** -QUERIES,
    token_accuracy_chance=1 / KEYS,
    test_share=1 / 8,
    planted="a threshold in depth (two attention layers) and tokens; floor-limited while training is short",
    difficulty="pairs between each queried pair and the end of the list, summed",
    source="Arora et al. 2023 (2312.04927)",
)
