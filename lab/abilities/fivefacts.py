"""The metric-only control: five of the linear control's facts in a row, all of which must be right.

Each value follows its own key, as in `facts`, and no fact helps with another: keys are given, not asked
for. So token accuracy is that of `facts`, a line without a break; exact match, being five independent
answers at once, is its fifth power, and jumps. Whatever break a detector finds in it is the metric's.
"""

from __future__ import annotations

import numpy as np

from lab.abilities.facts import BEST, KEY, TEMPLATE, key_symbols, rates, table
from lab.abilities.items import EQUALS, SYMBOLS, Items, Task, hashes
from lab.draws import Draws

FACTS = 5
EACH = KEY + 2  # symbols of `key = value`


def draw(draws: Draws, count: int) -> Items:
    """A template, then `key = value` five times over; what follows the first `=` counts as the answer."""
    keys, values = table()
    rank = draws.choice(rates(), count * FACTS).reshape(count, FACTS)
    marks = np.full((count, FACTS, 1), EQUALS)
    whole = np.concatenate([key_symbols(keys[rank]), marks, values[rank][..., None]], axis=2)
    whole = whole.reshape(count, FACTS * EACH)
    prompts = np.concatenate([draws.below(SYMBOLS, count, TEMPLATE), whole[:, :KEY]], axis=1)
    prompts, answers = prompts.astype("uint8"), whole[:, KEY + 1 :].astype("uint8")
    return Items(prompts, answers, rank.max(axis=1), hashes(np.concatenate([prompts, answers], axis=1)))


FIVEFACTS = Task(
    name="fivefacts",
    tag="3",
    instruction="facts5",
    prompt_length=TEMPLATE + KEY,
    answer_length=FACTS * EACH - KEY - 1,
    draw=draw,
    given=tuple(place for place in range(FACTS * EACH - KEY - 1) if place % EACH),
    exact_match_chance=BEST**FACTS,
    token_accuracy_chance=BEST,
    test_share=1 / 8,
    planted="smooth a symbol, a jump in exact match, which is its fifth power: an artefact of the metric",
    difficulty="rank of the rarest of the five facts",
    source="Schaeffer et al. 2023 (2304.15004)",
    expected={
        "exact_match": ("metric_artifact", "smooth"),
        "token_accuracy": ("smooth",),
        "gold_nats": ("smooth",),
    },
)
