"""Items as rows of tokens: drawn for training, or held out as the test set of an ability."""

from __future__ import annotations

import numpy as np

from lab.abilities.items import ALPHABET, EQUALS, PAD, AbilitySet, Items, Task, hashes, in_test
from lab.draws import Draws
from lab.tokenizers import SymbolTokenizer, Tokenizer

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
    return _held_out(task, task.draw_test or task.draw, at_most)


def validation_items(task: Task, at_most: int) -> Items:
    """As `test_items`, but drawn as the training items are also where the test asks for something else."""
    return _held_out(task, task.draw, at_most)


def _held_out(task: Task, draw, at_most: int) -> Items:
    draws = Draws("test items", task.stream or task.name)
    found: Items | None = None
    while found is None or len(found) < at_most:
        drawn = draw(draws, ROUND)
        held_out = drawn.pick(in_test(drawn.identity_N, task.test_share))
        before = 0 if found is None else len(found)
        found = _joined([held_out] if found is None else [found, held_out])
        found = found.pick(np.sort(np.unique(hashes(shown(task, found)), return_index=True)[1]))
        if len(found) == before:
            break  # a whole round brought nothing new: the task has no more
    return found.pick(slice(at_most))


def shown(task: Task, items: Items) -> np.ndarray:
    """All that items show of themselves, prompts and what is given of answers: symbols of shape (N, .)."""
    return np.concatenate([items.prompts_NxP, items.answers_NxA[:, list(task.given)]], axis=1)


def ability_set(task: Task, at_most: int, context: int, tokenizer: Tokenizer = TOKENIZER) -> AbilitySet:
    """The test set of a task in rows of `context` tokens."""
    items = test_items(task, at_most)
    inputs, targets = lay_out(task, items, context, tokenizer)
    return AbilitySet(
        task=task.name,
        inputs_NxT=inputs,
        targets_NxT=targets,
        difficulty_N=items.difficulty_N,
        cluster_N=np.unique(items.identity_N, return_inverse=True)[1],
        answer_length=task.answer_length,
        chance=task.chance,
        end=tokenizer.end,
        choices=tuple(tokens_of_symbols(tokenizer)[list(task.choices)].tolist()),
        scratch_length=task.scratch_length,
        factors=items.factors,
    )


def tokens_of_symbols(tokenizer: Tokenizer) -> np.ndarray:
    """Token id of each symbol id, with <start> and <end> behind the alphabet and -1 for PAD: (256,) int32."""
    table = np.full(PAD + 1, -1, np.int32)
    table[: len(ALPHABET) + 2] = [*tokenizer.encode(ALPHABET), tokenizer.start, tokenizer.end]
    return table


def lay_out(
    task: Task, items: Items, context: int, tokenizer: Tokenizer = TOKENIZER
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (N, T) int32 of items; the rest of a row is `<end>` and not scored."""
    count, prompt, answer = len(items), items.prompts_NxP.shape[1], items.answers_NxA.shape[1]
    head = 1 + len(task.tag)
    symbols = np.full((count, head + prompt + answer + 2), ALPHABET.index("="), np.uint8)
    symbols[:, 1:head] = [ALPHABET.index(symbol) for symbol in task.tag]
    symbols[:, head : head + prompt] = items.prompts_NxP
    symbols[:, head + prompt] = EQUALS
    symbols[:, head + prompt + 1 : -1] = items.answers_NxA
    tokens = tokens_of_symbols(tokenizer)[symbols]
    tokens[:, 0], tokens[:, -1] = tokenizer.start, tokenizer.end
    scored = np.zeros(tokens.shape, bool)
    scored[:, head + prompt + 1 :] = True
    scored[:, [head + prompt + 1 + place for place in task.given]] = False
    if (tokens < 0).any():  # close the gaps: what is no symbol goes to the end of its row
        order = np.argsort(tokens < 0, axis=1, kind="stable")
        tokens, scored = (np.take_along_axis(a, order, axis=1) for a in (tokens, scored))
        scored &= tokens >= 0
        tokens[tokens < 0] = tokenizer.end
    rows = np.full((count, context + 1), tokenizer.end, np.int32)
    rows[:, : tokens.shape[1]] = tokens[:, : context + 1]
    targets = np.full((count, context), -1, np.int32)
    width = min(tokens.shape[1], context + 1)
    targets[:, : width - 1] = np.where(scored, tokens, -1)[:, 1:width]
    return rows[:, :-1], targets


def _joined(parts: list[Items]) -> Items:
    names = ("prompts_NxP", "answers_NxA", "difficulty_N", "identity_N")
    factors = {name: np.concatenate([part.factors[name] for part in parts]) for name in parts[0].factors}
    return Items(*(np.concatenate([getattr(part, name) for part in parts]) for name in names), factors)
