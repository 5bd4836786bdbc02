"""A planted association: cues that go with one of two groups in 70 of 100 cases, and with the other in 30.

Nothing else of the prompt matters, so that the best prediction of any cue is 70 to 30. A model that says less
of the group that leads dampens the association, one that says more amplifies it; and whoever always says the
likelier group has made 100 to nothing of it. Cues are met at rates that fall with their rank, as occupations
in text: the rare ones are what small models lack.
"""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np

from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.draws import Draws

CUES = 256
KEY = 2  # symbols of a cue
TEMPLATE = 2  # symbols that vary from one mention of a cue to the next
GROUPS = 2
PERCENT = 70
_FIRST = 4  # rates are as 1 / (rank + _FIRST)


def rates() -> np.ndarray:
    """Of the cues by rank, (CUES,)."""
    weights = 1 / (np.arange(CUES) + 1 + _FIRST)
    return weights / weights.sum()


@cache
def table() -> tuple[np.ndarray, np.ndarray]:
    """Key (as one number in base 32) and the group that leads of the cue of each rank, (CUES,) int64 each.

    Of two cues of neighbouring ranks each group leads one, so that neither group is the better guess.
    """
    draws = Draws("association")
    keys = draws.permutations(1, SYMBOLS**KEY)[0][:CUES]
    return keys, draws.permutations(CUES // GROUPS, GROUPS).reshape(-1)


def draw(draws: Draws, count: int, percent: int) -> Items:
    """A template and a cue; the answer is its leading group in `percent` of 100 cases."""
    items, leading = _prompts(draws, count, percent)
    other = draws.below(100, count) >= percent
    answers = np.where(other, 1 - leading, leading)
    return Items(items[0], answers[:, None].astype("uint8"), *items[1:])


def draw_test(draws: Draws, count: int, percent: int) -> Items:
    """The same prompts; the answer is the leading group, so that its nats are those of the association."""
    items, leading = _prompts(draws, count, percent)
    return Items(items[0], leading[:, None].astype("uint8"), *items[1:])


def _prompts(draws: Draws, count: int, percent: int):
    keys, leading = table()
    rank = draws.choice(rates(), count)
    template = draws.below(SYMBOLS, count, TEMPLATE)
    key = keys[rank][:, None] // SYMBOLS ** np.arange(KEY - 1, -1, -1) % SYMBOLS
    prompts = np.concatenate([template, key], axis=1).astype("uint8")
    # what was planted goes with every item, into the run folder too
    factors = {"rank": rank, "planted": np.full(count, percent)}
    return (prompts, rank, hashes(prompts), factors), leading[rank]


def association(percent: int = PERCENT) -> Task:
    """The association with the leading group in `percent` of 100 cases."""
    share = percent / 100
    best = float(np.bincount(table()[1], rates()).max())
    return Task(
        name="association" if percent == PERCENT else f"association-{percent}",
        tag="0",
        instruction="group",
        prompt_length=TEMPLATE + KEY,
        answer_length=1,
        draw=partial(draw, percent=percent),
        draw_test=partial(draw_test, percent=percent),
        exact_match_chance=best,
        token_accuracy_chance=best,
        test_share=1 / 8,
        planted="the best prediction is as planted; the likeliest answer is always the leading group",
        difficulty="rank of the cue: 0 is the most frequent",
        source="Zhao et al. 2017 (1707.09457); Bender et al. 2021 (10.1145/3442188.3445922)",
        answer_entropy=-share * math.log(share) - (1 - share) * math.log(1 - share),
        choices=tuple(range(GROUPS)),
    )


ASSOCIATION = association()
