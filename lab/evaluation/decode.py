"""Answers of an ability as greedy decoding writes them: with their own working, not the one they should
have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lab.abilities.items import ALPHABET, EQUALS, AbilitySet
from lab.config import RunConfig
from lab.data import Dataset
from lab.evaluation import metrics
from lab.evaluation.generate import generate
from lab.model.rounding import Rounding

_ROWS = 256  # prompts a call


def decode(
    params,
    config: RunConfig,
    dataset: Dataset,
    test: AbilitySet,
    scores: metrics.ItemScores,
    rounding: Rounding | None = None,
) -> metrics.ItemScores:
    """The scores with what was decoded. Exact match becomes: the answer read from the text is the right one.

    An answer is what stands behind the last `=` of the text where the task has working, else the whole text.
    None can be read if the text did not end within the length of the right one, or nothing stands there.
    """
    gold = [targets_T[targets_T >= 0][:-1].tolist() for targets_T in test.targets_NxT]
    starts = (test.targets_NxT >= 0).argmax(1)
    prompts = [row[: start + 1].tolist() for row, start in zip(test.inputs_NxT, starts, strict=True)]
    longest = max(map(len, gold)) + 1
    new: list[list[int]] = []
    # prompts of one length side by side: rows of a call wait for the longest of them
    order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
    for first in range(0, len(order), _ROWS):
        chosen = order[first : first + _ROWS]
        batch = [prompts[i] for i in chosen] + [prompts[chosen[0]]] * (_ROWS - len(chosen))
        how = config.model, dataset.vocab_size, test.end, dataset.context, longest
        new += generate(params, batch, *how, rounding=rounding)[: len(chosen)]
    written: list[list[int]] = [[] for _ in prompts]
    for i, tokens in zip(order, new, strict=True):
        written[i] = tokens
    mark = int(dataset.tokenizer.encode(ALPHABET[EQUALS])[0]) if test.scratch_length else None
    read = [_answer(tokens, mark, longest) for tokens in written]
    right = [_answer(tokens, mark, longest) for tokens in gold]
    return replace(
        scores,
        correct_N=np.array([found == wanted for found, wanted in zip(read, right, strict=True)]),
        texts=[dataset.tokenizer.decode(tokens) for tokens in written],
        parsed_N=np.array([found is not None for found in read]),
        edits_N=np.array([metrics.edit_distance(a, b) for a, b in zip(written, gold, strict=True)]),
    )


def _answer(tokens: list[int], mark: int | None, longest: int) -> list[int] | None:
    if len(tokens) >= longest:  # no end
        return None
    if mark is None:
        return tokens or None
    if mark not in tokens:
        return None
    return tokens[len(tokens) - tokens[::-1].index(mark) :] or None
