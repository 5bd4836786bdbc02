"""The metric-only control: six of the linear control's facts in a row, all of which must be right.

Each value follows its own key, as in `facts`, and no fact helps with another: keys are given, not asked
for. So token accuracy is that of `facts`, a line without a break; exact match, being six independent
answers at once, is its sixth power, and jumps. Whatever break a detector finds in it is the metric's.
"""

from __future__ import annotations

import numpy as np

from lab.abilities.facts import BEST, TEMPLATE, rates, table
from lab.abilities.items import EQUALS, SYMBOLS, Items, Task, hashes
from lab.data.draws import Draws

FACTS = 6


def draw(draws: Draws, count: int) -> Items:
    """A template, then `key = value` six times over; what follows the first `=` counts as the answer."""
    keys, values = table()
    rank = draws.choice(rates(), count * FACTS).reshape(count, FACTS)
    high, low = np.divmod(keys[rank], SYMBOLS)
    whole = np.stack([high, low, np.full_like(high, EQUALS), values[rank]], axis=2).reshape(count, 4 * FACTS)
    prompts = np.concatenate([draws.below(SYMBOLS, count, TEMPLATE), whole[:, :2]], axis=1).astype("uint8")
    answers = whole[:, 3:].astype("uint8")
    return Items(prompts, answers, rank.max(axis=1), hashes(np.concatenate([prompts, answers], axis=1)))


SIXFACTS = Task(
    name="sixfacts",
    tag="3",
    instruction="facts6",
    prompt_length=TEMPLATE + 2,
    answer_length=4 * FACTS - 3,
    draw=draw,
    given=tuple(place for place in range(4 * FACTS - 3) if place % 4),
    exact_match_chance=BEST**FACTS,
    token_accuracy_chance=BEST,
    test_share=1 / 8,
    planted="smooth a symbol, a jump in exact match, which is its sixth power: an artefact of the metric",
    difficulty="rank of the rarest of the six facts",
    source="Schaeffer et al. 2023 (2304.15004)",
    expected={
        "exact_match": ("metric_artifact", "smooth"),
        "token_accuracy": ("smooth",),
        "gold_nats": ("smooth",),
    },
)
