"""A needle in a haystack of any length, for any trained model: does it find what was said once?

A model of text is asked in text: somewhere in a stretch of its own validation text stands "The code of <name>
is <digits>." and the stretch ends with "The code of <name> is". Beside exact match stands what the needle is
worth: how many nats a token of the answer fall when the sentence is there, against the same question without
it, which moves long before any answer is right. A model of symbols is asked the task `needle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.abilities import sets
from lab.abilities.needle import DEPTHS as BINS
from lab.abilities.needle import needle as task
from lab.config import RunConfig
from lab.data import Dataset
from lab.draws import Draws
from lab.errors import InputError
from lab.evaluation import evaluate
from lab.tokenizers import IdTokenizer, SymbolTokenizer

_DIGITS, _LETTERS = 2, 3


@dataclass(frozen=True)
class Cell:
    """One context and depth: exact answers among items, and nats an answer token with and without the needle
    (None where there is no such question: symbols)."""

    context: int
    depth: int  # per cent of the haystack that lie before the needle
    items: int
    right: int
    nats: float
    nats_without: float | None


def grid(
    params, config: RunConfig, dataset: Dataset, contexts: Sequence[int], depths: Sequence[int], items: int
) -> list[Cell]:
    """Cells of all contexts and depths, `items` each.

    Raises InputError for ids without text, and for contexts that hold no needle.
    """
    if isinstance(dataset.tokenizer, IdTokenizer):
        raise InputError("the run's tokenizer has ids and no text: no needle can be written")
    if isinstance(dataset.tokenizer, SymbolTokenizer):
        return [cell for context in contexts for cell in _symbols(params, config, dataset, context, items)]
    hay = _hay(dataset)
    out = []
    for context in contexts:
        for depth in depths:
            asked = [rows(dataset, hay, context, depth, items, put) for put in (True, False)]
            found = [evaluate.score(params, config, dataset.vocab_size, *one) for one in asked]
            scored = asked[0][1] >= 0
            right = int((found[0][1] | ~scored).all(1).sum())
            nats = [float(one[0].sum() / scored.sum()) for one in found]
            out.append(Cell(context, depth, items, right, *nats))
    return out


def rows(
    dataset: Dataset, hay: np.ndarray, context: int, depth: int, items: int, put: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (items, context - 1), -1 where nothing is scored; without the needle where not
    `put`. The same names, digits and hay either way."""
    draws, text = Draws("needle", context, depth), dataset.tokenizer
    names = draws.below(26, items, _LETTERS)
    codes = draws.below(10, items, _DIGITS)
    starts = draws.below(max(1, len(hay) - context), items)
    out = np.full((2, items, context - 1), -1, np.int32)
    for item in range(items):
        name = "".join(chr(ord("a") + letter) for letter in names[item])
        code = "".join(str(digit) for digit in codes[item])
        asked = text.encode(f" The code of {name} is")
        whole = text.encode(f" The code of {name} is {code}.")
        answer = whole[len(asked) : -1]
        if not len(answer) or not (whole[: len(asked)] == asked).all():
            raise InputError("this tokenizer joins the question with its answer: no needle can be asked for")
        room = context - 1 - len(asked) - len(answer) - (len(whole) if put else 0)
        if room < 1:
            raise InputError(
                f"a context of {context} tokens holds no needle; take at least {context - room + 1}"
            )
        around = hay[starts[item] : starts[item] + room]
        at = round(len(around) * depth / 100)
        parts = [[text.start], around[:at], whole if put else [], around[at:], asked, answer]
        row = np.concatenate([np.asarray(part, np.int32) for part in parts])
        out[0, item] = row[:-1]
        out[1, item, -len(answer) :] = row[-len(answer) :]
    return out[0], out[1]


def _hay(dataset: Dataset) -> np.ndarray:
    held = dataset.text_validation or dataset.validation()
    tokens = held.targets_WxT[held.targets_WxT >= 0]
    return tokens[tokens < dataset.tokenizer.start]


def _symbols(params, config: RunConfig, dataset: Dataset, context: int, items: int) -> list[Cell]:
    asked = task(context)
    row = max(dataset.context, asked.row_length)
    try:
        test = sets.ability_set(asked, 3 * BINS * items, row, dataset.tokenizer)
    except InputError as error:
        raise InputError(
            f"a needle can be hidden from models of text and of tasks; in this run's symbols {error}"
        ) from None
    scores = evaluate.measure(params, config, dataset, test)
    out = []
    for depth in np.unique(test.factors["depth"]):
        here = (test.factors["length"] == context) & (test.factors["depth"] == depth)
        if here.any():
            nats = float(scores.nats_N[here].sum() / scores.tokens_N[here].sum())
            right = int(scores.correct_N[here].sum())
            out.append(Cell(context, int(depth), int(here.sum()), right, nats, None))
    return out
