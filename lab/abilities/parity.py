"""Sparse parity: the exclusive or of 3 fixed bits among 12; many parities at once; one that cannot be
learned."""

from __future__ import annotations

from functools import partial

import numpy as np

from lab.abilities.items import Items, Task, hashes
from lab.draws import Draws

BITS = 12
RELEVANT = (1, 6, 10)
MANY_BITS = 10
SUBTASKS = 16
SLOPE = 1.4  # Zipf's exponent of the subtasks
HARD_BITS = 28
HARD_RELEVANT = tuple(range(0, HARD_BITS, 2))  # 14 of 28


def draw(draws: Draws, count: int, bits: int = BITS, relevant: tuple[int, ...] = RELEVANT) -> Items:
    """Random bits; the answer is the parity of the relevant ones."""
    prompts = draws.below(2, count, bits).astype("uint8")
    chosen = prompts[:, relevant]
    return Items(
        prompts, chosen.sum(axis=1, keepdims=True, dtype="uint8") % 2, chosen.sum(axis=1), hashes(prompts)
    )


def draw_many(draws: Draws, count: int, order: int) -> Items:
    """The number of a subtask, then ten bits; each subtask has its own `order` relevant bits."""
    subtask = draws.choice(np.arange(1, SUBTASKS + 1) ** -SLOPE, count)
    bits = draws.below(2, count, MANY_BITS)
    asked = np.take_along_axis(bits, subtask_bits(order)[subtask], axis=1)
    prompts = np.concatenate([subtask[:, None], bits], axis=1).astype("uint8")
    answers = (asked.sum(axis=1, keepdims=True) % 2).astype("uint8")
    return Items(prompts, answers, subtask, hashes(prompts), {"subtask": subtask})


def subtask_bits(order: int) -> np.ndarray:
    """Which bits each subtask asks for, (SUBTASKS, order): different sets, the same in every version."""
    draws = Draws("bits of the subtasks", order)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < SUBTASKS:
        found[tuple(sorted(draws.permutations(1, MANY_BITS)[0, :order].tolist()))] = None
    return np.array(list(found))


PARITY = Task(
    name="parity",
    tag="p",
    instruction="parit",
    prompt_length=BITS,
    answer_length=1,
    draw=draw,
    exact_match_chance=0.5,
    token_accuracy_chance=0.5,
    test_share=1 / 4,
    planted="flat at 1/2 while training is short, then an abrupt break in tokens after hidden progress",
    difficulty="ones among the relevant bits",
    source="Barak et al. 2022 (2207.08799)",
    choices=(0, 1),
)


def multiparity(order: int = 2) -> Task:
    """Sixteen parities of `order` bits, whose frequencies follow Zipf's law."""
    return Task(
        name="multiparity" if order == 2 else f"multiparity-{order}",
        tag="q",
        instruction="parities",
        prompt_length=1 + MANY_BITS,
        answer_length=1,
        draw=partial(draw_many, order=order),
        exact_match_chance=0.5,
        token_accuracy_chance=0.5,
        test_share=1 / 8,
        planted="each subtask an abrupt break of its own, the frequent first; their mean rises without one",
        difficulty="rank of the subtask: 0 is the most frequent",
        source="Michaud et al. 2023 (2303.13506); exactly solvable relative: Nam et al. 2024 (2404.17563)",
        choices=(0, 1),
    )


MULTIPARITY = multiparity()

UNLEARNABLE = Task(
    name="unlearnable",
    tag="h",
    instruction="noparit",
    prompt_length=HARD_BITS,
    answer_length=1,
    draw=partial(draw, bits=HARD_BITS, relevant=HARD_RELEVANT),
    exact_match_chance=0.5,
    token_accuracy_chance=0.5,
    test_share=1 / 8,
    planted=(
        "flat at 1/2: the answer is a function of the prompt, but 14 of 28 bits are one set of 40 "
        "million whose "
        "parities are all uncorrelated, so no learner that follows gradients finds it within these "
        "budgets, and "
        "268 million prompts are too many to know by heart"
    ),
    difficulty="ones among the relevant bits",
    source="Kearns 1998 on statistical queries; Barak et al. 2022 (2207.08799)",
    choices=(0, 1),
    expected={"exact_match": ("flat",), "choice_accuracy": ("flat",)},
)
