"""Evaluation of tasks in text, in the shape of the field's harnesses, by log-likelihood or by generation.

A `TextTask` says how a document (a mapping) becomes a prompt and its answer, as in lm-evaluation-harness;
the same items can be asked with K solved examples before them, with an instruction, and with reasoning
written before the answer. Examples never contain the item itself. Every item's gold log-probability is kept
whatever the metric is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from lab.config import RunConfig
from lab.data import Dataset, SymbolTokenizer
from lab.errors import InputError
from lab.evaluation import evaluate, metrics
from lab.evaluation.generate import generate

Doc = Mapping[str, object]
_ROWS = 64  # prompts decoded in a call


@dataclass(frozen=True)
class TextTask:
    """One task. `docs` is its test split, `fewshot_docs` the split that examples come from.

    Without a few-shot split, examples are the first documents other than the one that is asked.
    """

    name: str
    docs: Sequence[Doc]
    doc_to_text: Callable[[Doc], str]
    doc_to_target: Callable[[Doc], str]  # with choices: the right one
    doc_to_choice: Callable[[Doc], Sequence[str]] | None = None
    fewshot_docs: Sequence[Doc] = ()
    output_type: Literal["loglikelihood", "multiple_choice", "generate_until"] = "loglikelihood"
    instruction: str = ""  # stands before everything in the instruction form
    doc_to_rationale: Callable[[Doc], str] | None = None  # reasoning, written before the target
    target_delimiter: str = " "  # none after a prompt that ends in space, and none between symbols
    fewshot_delimiter: str = "\n\n"  # of symbols: <end>
    answer_prefix: str = "Answer: "  # what stands between reasoning and answer
    until: tuple[str, ...] = ("\n",)  # generation ends there, and at <end>
    max_new: int = 64  # tokens generated, at most
    chance: Mapping[str, float | None] = field(default_factory=dict)  # by metric
    doc_to_cluster: Callable[[Doc], object] | None = (
        None  # documents of one cluster are no independent evidence
    )
    remarks: tuple[tuple[str, str], ...] = ()  # (code, sentence) of how its file was read


@dataclass(frozen=True)
class Shape:
    """How the items are asked."""

    shots: int = 0
    instruction: bool = False
    thoughts: bool = False

    def name_of(self, task: str) -> str:
        """`task/instruction/scratchpad/3-shot`: how the rows of this form are named."""
        forms = (
            self.instruction and "instruction",
            self.thoughts and "scratchpad",
            self.shots and f"{self.shots}-shot",
        )
        return "/".join([task, *(form for form in forms if form)])


def run(
    task: TextTask, params, config: RunConfig, dataset: Dataset, shape: Shape | None = None
) -> metrics.ItemScores:
    """Scores of every item. Prompts too long for the context lose their beginning, as generation does.

    loglikelihood: exact match is every token of the target being the likeliest; multiple_choice: the right
    choice has the largest log-probability; generate_until: what was generated, up to `until`, is the
    target. With `thoughts` the answer is what stands behind the last `answer_prefix` of the generated text.
    """
    shape = shape or Shape()
    write = _Writer(task, dataset.tokenizer, shape)
    pieces = [write.pieces(index) for index in range(len(task.docs))]
    prompts = [[token for piece in parts for token in piece] for parts in pieces]
    targets = [
        write.target(doc, shape.thoughts and task.output_type != "multiple_choice") for doc in task.docs
    ]
    new = _length(task, shape, targets)
    remarks = _cut(task, shape, dataset.context, pieces, targets, new)
    nats, right, counts = _likelihoods(params, config, dataset, prompts, targets)
    clusters = [task.doc_to_cluster(doc) if task.doc_to_cluster else i for i, doc in enumerate(task.docs)]
    N = len(task.docs)
    found = {
        "task": shape.name_of(task.name),
        "chance": task.chance,
        "correct_N": right == counts,
        "nats_N": nats,
        "tokens_right_N": right,
        "tokens_N": counts,
        "difficulty_N": np.zeros(N, np.int64),
        "cluster_N": np.unique([str(c) for c in clusters], return_inverse=True)[1],
    }
    if task.output_type == "multiple_choice":
        found |= _choices(task, params, config, dataset, prompts, write)
    if task.output_type == "generate_until":
        found |= _generated(task, params, config, dataset, prompts, shape, new)
    scores = metrics.ItemScores(**found)
    return replace(scores, remarks=(*task.remarks, *remarks, *_always_one(task, scores)))


# Tokens generated beyond the longest answer, so that one that goes on is seen to go on.
_BEYOND = 4


def _length(task: TextTask, shape: Shape, targets) -> int:
    """Tokens to generate: without working before it, an answer needs no more room than the longest one."""
    return task.max_new if shape.thoughts else min(task.max_new, max(map(len, targets)) + _BEYOND)


def _cut(task: TextTask, shape: Shape, context: int, pieces, targets, new: int) -> list[tuple[str, str]]:
    """How many prompts lose their beginning, and how many of their solved examples; a remark for each.

    Raises InputError where no item keeps one solved example: its score would be that of no shots at all.
    """
    cut = lost = bare = short = 0
    for parts, target in zip(pieces, targets, strict=True):
        answer = new if task.output_type == "generate_until" else len(target)
        room = max(context + 1 - answer, 1)
        if sum(map(len, parts)) <= room:
            continue
        cut += 1
        # From the question backwards: examples that stand in it whole.
        room -= len(parts[-1])
        short += room < 0
        kept = 0
        for example in reversed(parts[1:-1]):
            room -= len(example)
            if room < 0:
                break
            kept += 1
        lost += len(parts) - 2 - kept
        bare += kept == 0 and shape.shots > 0
    name, total = shape.name_of(task.name), len(pieces)
    if shape.shots and bare == total:
        longest = max(sum(map(len, parts)) for parts in pieces)
        raise InputError(
            f"{name}: of prompts of up to {longest} tokens a context of {context} keeps no solved example "
            f"before any question, so this would be the score of 0 shots; ask with fewer or shorter examples"
        )
    if not cut:
        return []
    text = f"{name}: {cut} of {total} prompts do not fit the context of {context} tokens"
    text += " and lose their beginning"
    if lost:
        text += f", {lost} solved examples in all; {bare} of them keep none"
    if short:
        text += f"; {short} lose a part of the question itself"
    return [("prompts_cut", text)]


# A model that answers alike this often, where no answer is right so often, does not read the question.
_ALIKE, _FEW = 0.95, 20


def _always_one(task: TextTask, scores: metrics.ItemScores) -> list[tuple[str, str]]:
    """A hint where nearly all items get the same choice, or the same text."""
    if len(scores) < _FEW:
        return []
    if scores.choice_log_NxC is not None:
        chosen = np.asarray(scores.choice_log_NxC).argmax(1)
        listed = [list(task.doc_to_choice(doc)) for doc in task.docs]
        texts = [choices[c] for choices, c in zip(listed, chosen.tolist(), strict=True)]
        shared = len(set(map(tuple, listed))) == 1
        given = texts if shared else [f"choice {c + 1}" for c in chosen.tolist()]
        gold = (
            [choices[g] for choices, g in zip(listed, scores.gold_choice_N.tolist(), strict=True)]
            if shared
            else [f"choice {g + 1}" for g in scores.gold_choice_N.tolist()]
        )
    elif scores.texts is not None:
        given = [text.strip() for text in scores.texts]
        gold = [str(task.doc_to_target(doc)).strip() for doc in task.docs]
    else:
        return []
    most = max(set(given), key=given.count)
    share, right = given.count(most) / len(given), gold.count(most) / len(gold)
    if share < _ALIKE or right >= _ALIKE:
        return []
    shown = most if len(most) < 30 else f"{most[:27]}..."
    text = (
        f"{scores.task}: {share:.0%} of the answers are {shown!r}, which is right for {right:.0%}: the model "
        "does not tell the items apart, and its score is the share of that answer; ask with other choices, "
        "or without letters"
    )
    return [("always_one", text)]


class _Writer:
    """Documents to tokens."""

    def __init__(self, task: TextTask, tokenizer, shape: Shape):
        self.task, self.tokenizer, self.shape = task, tokenizer, shape
        self.symbols = isinstance(tokenizer, SymbolTokenizer)

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).tolist()

    def prompt(self, index: int) -> list[int]:
        """<start>, instruction, examples, and the question."""
        return [token for piece in self.pieces(index) for token in piece]

    def pieces(self, index: int) -> list[list[int]]:
        """What a prompt is made of: <start> with the instruction, each example, the question."""
        task, between = (
            self.task,
            [self.tokenizer.end] if self.symbols else self.tokens(self.task.fewshot_delimiter),
        )
        first = [self.tokenizer.start]
        if self.shape.instruction and task.instruction:
            first += self.tokens(task.instruction) + between
        examples = [
            self.tokens(task.doc_to_text(example)) + self.target(example, self.shape.thoughts) + between
            for example in self._examples(index)
        ]
        return [first, *examples, self.tokens(task.doc_to_text(task.docs[index]))]

    def delimiter(self, doc: Doc) -> str:
        ends_in_space = self.task.doc_to_text(doc)[-1:].isspace()
        return "" if self.symbols or ends_in_space else self.task.target_delimiter

    def target(self, doc: Doc, thoughts: bool) -> list[int]:
        answer = self.task.doc_to_target(doc)
        if thoughts and self.task.doc_to_rationale:
            between = "" if self.symbols else self.task.target_delimiter
            answer = f"{self.task.doc_to_rationale(doc)}{between}{self.task.answer_prefix}{answer}"
        return self.tokens(self.delimiter(doc) + answer)

    def _examples(self, index: int) -> list[Doc]:
        if self.task.fewshot_docs:
            return list(self.task.fewshot_docs[: self.shape.shots])
        others = [doc for i, doc in enumerate(self.task.docs[: self.shape.shots + 1]) if i != index]
        return others[: self.shape.shots]


def _likelihoods(params, config, dataset, prompts, targets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Summed nats of each target after its prompt, its tokens that are the likeliest, and its length: "
    "(N,) each."""
    T = dataset.context
    inputs = np.full((len(prompts), T), dataset.tokenizer.end, np.int32)
    wanted = np.full((len(prompts), T), -1, np.int32)
    for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
        whole = [*prompt, *target][-(T + 1) :]
        scored = min(len(target), len(whole) - 1)
        inputs[row, : len(whole) - 1] = whole[:-1]
        wanted[row, len(whole) - 1 - scored : len(whole) - 1] = whole[len(whole) - scored :]
    nats, right, _ = evaluate.score(params, config, dataset.vocab_size, inputs, wanted)
    return nats.sum(1), right.sum(1), (wanted >= 0).sum(1)


def _choices(task, params, config, dataset, prompts, write: _Writer) -> dict:
    listed = [list(task.doc_to_choice(doc)) for doc in task.docs]
    rows = [(i, c) for i, choices in enumerate(listed) for c in range(len(choices))]
    targets = [write.tokens(write.delimiter(task.docs[i]) + listed[i][c]) for i, c in rows]
    nats, _, _ = _likelihoods(params, config, dataset, [prompts[i] for i, _ in rows], targets)
    most = max(map(len, listed))
    log_NxC = np.full((len(listed), most), -np.inf)
    bytes_NxC = np.ones((len(listed), most))
    for (i, c), value in zip(rows, nats, strict=True):
        log_NxC[i, c] = -value
        bytes_NxC[i, c] = len(listed[i][c].encode())
    gold_N = np.array([c.index(task.doc_to_target(doc)) for c, doc in zip(listed, task.docs, strict=True)])
    return {
        "choice_log_NxC": log_NxC,
        "gold_choice_N": gold_N,
        "choice_bytes_NxC": bytes_NxC,
        "correct_N": log_NxC.argmax(1) == gold_N,
    }


def _generated(task, params, config, dataset, prompts, shape: Shape, length: int) -> dict:
    texts: list[str] = []
    kept = max(dataset.context - length, 1)
    for first in range(0, len(prompts), _ROWS):
        batch = [prompt[-kept:] for prompt in prompts[first : first + _ROWS]]
        new = generate(
            params,
            batch,
            config.model,
            dataset.vocab_size,
            dataset.tokenizer.end,
            dataset.context,
            length,
        )
        texts += [dataset.tokenizer.decode(tokens) for tokens in new]
    read = [_read(text, task, shape) for text in texts]
    gold = [task.doc_to_target(doc).strip() for doc in task.docs]
    return {
        "texts": texts,
        "parsed_N": np.array([answer is not None for answer in read]),
        "correct_N": np.array([a == b for a, b in zip(read, gold, strict=True)]),
        "edits_N": np.array(
            [metrics.edit_distance(list(a or ""), list(b)) for a, b in zip(read, gold, strict=True)]
        ),
    }


def _read(text: str, task: TextTask, shape: Shape) -> str | None:
    """The answer in a generated text; None where there is none."""
    if shape.thoughts and task.doc_to_rationale:
        _, found, text = text.rpartition(task.answer_prefix)
        if not found:
            return None
    stop = re.search("|".join(map(re.escape, task.until)), text) if task.until else None
    return text[: stop.start() if stop else None].strip() or None
