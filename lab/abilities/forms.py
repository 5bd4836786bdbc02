"""A task with solved examples before its question."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np

from lab.abilities.items import END, EQUALS, Items, Task, hashes
from lab.abilities.sets import training_items
from lab.draws import Draws

POOL = 1024  # training items that examples are taken from
MOST_SHOTS = 64


def with_shots(task: Task, shots: int) -> Task:
    """The task with solved examples before the question, each ended as a row is.

    Examples come from a fixed pool of training items, chosen by a hash of the question: an item has the
    same ones in every run, and none of them is ever in a test set.
    """
    drawn = {"draw": partial(_draw_with_shots, task, shots, task.draw)}
    if task.draw_test:
        drawn["draw_test"] = partial(_draw_with_shots, task, shots, task.draw_test)
    length = shots * (task.prompt_length + task.answer_length + 2) + task.prompt_length
    return replace(task, prompt_length=length, **named(task, f"{shots}-shot"), **drawn)


def named(task: Task, form: str) -> dict[str, str]:
    """Fields of a form of a task: its name, and the stream of items that it shares with the task."""
    return {"name": f"{task.name}/{form}", "stream": task.stream or task.name}


@cache
def _pool(task: Task) -> np.ndarray:
    """(POOL, P + A + 2) examples as they stand in a prompt."""
    items = training_items(task, Draws("few-shot examples", task.stream or task.name), POOL)
    marks = [np.full((POOL, 1), mark, np.uint8) for mark in (EQUALS, END)]
    return np.concatenate([items.prompts_NxP, marks[0], items.answers_NxA, marks[1]], axis=1)


def _draw_with_shots(task: Task, shots: int, draw, draws: Draws, count: int) -> Items:
    items = draw(draws, count)
    first = hashes(items.prompts_NxP)
    pool = _pool(task)
    # an odd stride visits POOL different examples, POOL being a power of two
    stride = (first >> np.uint64(32)) | np.uint64(1)
    chosen = (first[:, None] + stride[:, None] * np.arange(shots, dtype=np.uint64)) % np.uint64(POOL)
    before = pool[chosen.astype(np.int64)].reshape(len(items), -1)
    return replace(items, prompts_NxP=np.concatenate([before, items.prompts_NxP], axis=1))
