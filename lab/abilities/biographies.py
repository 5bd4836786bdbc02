"""Synthetic biographies: random attributes of people, whose number decides how many bits there are to
store."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np

from lab.abilities.items import SYMBOLS, Items, Task, hashes
from lab.draws import Draws

PEOPLE = 512
ATTRIBUTES = 4
VALUE = 2  # symbols of a value, each uniform over 32: 10 bits
TEMPLATE = 2  # symbols that vary from one mention of a fact to the next
NAME = 3
MOST = 2**14


@cache
def facts(people: int) -> tuple[np.ndarray, np.ndarray]:
    """Names (people, NAME), all different, and values (people, ATTRIBUTES, VALUE), uint8."""
    draws = Draws("biographies", people)
    number = draws.permutations(1, SYMBOLS**NAME)[0, :people]
    names = number[:, None] // SYMBOLS ** np.arange(NAME) % SYMBOLS
    return names.astype("uint8"), draws.below(SYMBOLS, people, ATTRIBUTES, VALUE).astype("uint8")


def draw(draws: Draws, count: int, people: int = PEOPLE) -> Items:
    """A template, a name and an attribute; the answer is the value. The same facts in training and in the
    test.

    What the test has not seen is the row: the template's symbols differ. Storing facts is the ability.
    """
    names, values = facts(people)
    person, attribute = draws.below(people, count), draws.below(ATTRIBUTES, count)
    template = draws.below(SYMBOLS, count, TEMPLATE)
    prompts = np.concatenate([template, names[person], attribute[:, None]], axis=1).astype("uint8")
    return Items(
        prompts,
        values[person, attribute],
        attribute,
        hashes(prompts),
        {"person": person, "attribute": attribute},
    )


def knowledge_bits(people: int, gold_nats: float | np.ndarray) -> float | np.ndarray:
    """Bits of knowledge that a mean loss of `gold_nats` a value symbol proves: (facts) (log2 D - loss / ln
    2).

    The value part of Allen-Zhu and Li 2024 (2404.05405), their lower bound, whose capacity ratio is this
    over the parameters; names are not counted, since the prompt gives them. Below zero counts as none.
    """
    bits = math.log2(SYMBOLS) * VALUE - np.asarray(gold_nats) * VALUE / math.log(2)
    return people * ATTRIBUTES * np.maximum(bits, 0.0)


def biographies(people: int = PEOPLE) -> Task:
    """Facts on `people` people: `people` x 40 bits."""
    _, values = facts(people)
    flat = values.reshape(-1, VALUE).astype(int)
    places = [np.bincount(column).max() / len(flat) for column in flat.T]
    pairs = np.bincount(flat @ [SYMBOLS, 1]).max() / len(flat)
    return Task(
        name="biographies" if people == PEOPLE else f"biographies-{people}",
        tag="b",
        instruction="recall",
        prompt_length=TEMPLATE + NAME + 1,
        answer_length=VALUE,
        draw=partial(draw, people=people),
        exact_match_chance=float(pairs),
        token_accuracy_chance=float(np.mean(places)),
        test_share=1 / 8,
        planted="bits stored are proportional to parameters (or to exposures, where those are few): no break",
        difficulty="number of the attribute (all are alike)",
        source="Allen-Zhu and Li 2024 (2404.05405)",
    )


BIOGRAPHIES = biographies()
