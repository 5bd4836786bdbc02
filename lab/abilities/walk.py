"""The metric-only control: eight symbols, each from a table known ever better, that must all be right.

The answer is a walk: each symbol is a fixed random function of the two before it, so under teacher forcing
every symbol asks for one entry of one table, the same table at every place, and needs no other symbol to
have been understood. Per symbol the ability grows as the table does, without a break. Exact match wants
eight entries at once, so it is the eighth power of that: the jump is the metric's.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.data.draws import Draws

STATES = 24  # symbols of a walk: 576 entries
LENGTH = 8
TEMPLATE = 2  # symbols that vary from one mention of a walk to the next


@cache
def table() -> np.ndarray:
    """Next symbol after (a, b), (STATES, STATES) uint8.

    For each b it is a permutation of a, so a step from one pair to the next loses none and every entry is
    used equally often at every place.
    """
    return Draws("walk").permutations(STATES, STATES).T.astype("uint8")


def draw(draws: Draws, count: int) -> Items:
    """A template and a pair of symbols; the answer goes on for eight steps."""
    pair = draws.below(STATES, count, 2)
    walk = np.empty((count, LENGTH + 2), "uint8")
    walk[:, :2] = pair
    for t in range(LENGTH):
        walk[:, t + 2] = table()[walk[:, t], walk[:, t + 1]]
    prompts = np.concatenate([draws.below(SYMBOLS, count, TEMPLATE), pair], axis=1).astype("uint8")
    start = pair @ [STATES, 1]
    return Items(prompts, walk[:, 2:], start, hashes(prompts), {"start": start})


def _chances() -> tuple[float, float]:
    a, b = (grid.ravel() for grid in np.divmod(np.arange(STATES**2), STATES))
    walks = [a, b]
    for _ in range(LENGTH):
        walks.append(table()[walks[-2], walks[-1]].astype(int))
    answers = np.stack(walks[2:], axis=1)
    _, counts = np.unique(answers, axis=0, return_counts=True)
    places = [np.bincount(column).max() / STATES**2 for column in answers.T]
    return float(counts.max() / STATES**2), float(np.mean(places))


_EXACT, _TOKENS = _chances()

WALK = Task(
    name="walk",
    tag="3",
    instruction="goon",
    prompt_length=TEMPLATE + 2,
    answer_length=LENGTH,
    draw=draw,
    exact_match_chance=_EXACT,
    token_accuracy_chance=_TOKENS,
    test_share=1 / 8,
    planted=(
        "smooth a symbol, a jump in exact match, which is the eighth power of it: an artefact of the metric"
    ),
    difficulty="number of the starting pair (all are alike)",
    source="Schaeffer et al. 2023 (2304.15004)",
    expected={"exact_match": ("metric_artifact", "smooth", "floor_limited"), "gold_nats": ("smooth",)},
)
