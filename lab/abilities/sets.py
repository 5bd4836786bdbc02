"""Items as rows of tokens: drawn for training, or held out as the test set of an ability."""

from __future__ import annotations

import numpy as np

from lab.abilities.items import ALPHABET, EQUALS, AbilitySet, Items, Task, hashes, in_test
from lab.data.draws import Draws
from lab.data.tokenizers import SymbolTokenizer

TOKENIZER = SymbolTokenizer(ALPHABET)
ROUND = (
    2**14
)  # items drawn at a time for a test set; fixed, so that a smaller set is the head of a larger one


def training_items(task: Task, draws: Draws, count: int) -> Items:
    """`count` items that are in no test set, with repetition."""
    parts: list[Items] = []
    missing = count
    while missing > 0 or not parts:
        drawn = task.draw(draws, int(missing / (1 - task.test_share) * 1.05) + 16)
        kept = drawn.pick(~in_test(drawn.identity_N, task.test_share)).pick(slice(missing))
        parts.append(kept)
        missing -= len(kept)
    return _joined(parts)


def test_items(task: Task, at_most: int) -> Items:
    """The first `at_most` of the task's held-out items, all different; fewer when the task has no more."""
    draws = Draws("test items", task.name)
    found: Items | None = None
    while found is None or len(found) < at_most:
        drawn = task.draw(draws, ROUND)
        held_out = drawn.pick(in_test(drawn.identity_N, task.test_share))
        before = 0 if found is None else len(found)
        found = _joined([held_out] if found is None else [found, held_out])
        found = found.pick(np.sort(np.unique(hashes(found.prompts_NxP), return_index=True)[1]))
        if len(found) == before:
            break  # a whole round brought nothing new: the task has no more
    return found.pick(slice(at_most))


def ability_set(task: Task, at_most: int, context: int) -> AbilitySet:
    """The test set of a task in rows of `context` tokens."""
    items = test_items(task, at_most)
    inputs, targets = lay_out(task, items, context)
    return AbilitySet(
        task=task.name,
        inputs_NxT=inputs,
        targets_NxT=targets,
        difficulty_N=items.difficulty_N,
        cluster_N=np.unique(items.identity_N, return_inverse=True)[1],
        answer_length=task.answer_length,
        chance=task.chance,
        end=TOKENIZER.end,
    )


def lay_out(task: Task, items: Items, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (N, T) int32 of items; the rest of a row is `<end>` and not scored."""
    count, prompt, answer = len(items), task.prompt_length, task.answer_length
    rows = np.full((count, context + 1), TOKENIZER.end, np.int32)
    rows[:, 0] = TOKENIZER.start
    rows[:, 1] = ALPHABET.index(task.tag)
    rows[:, 2 : 2 + prompt] = items.prompts_NxP
    rows[:, 2 + prompt] = EQUALS
    rows[:, 3 + prompt : 3 + prompt + answer] = items.answers_NxA
    targets = np.full((count, context), -1, np.int32)
    scored = slice(2 + prompt, 3 + prompt + answer)
    targets[:, scored] = rows[:, 1:][:, scored]
    return rows[:, :-1], targets


def _joined(parts: list[Items]) -> Items:
    names = ("prompts_NxP", "answers_NxA", "difficulty_N", "identity_N")
    return Items(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
