"""Names of tasks and of their forms: `addition-5/scratchpad/3-shot`.

A name is a task, a number after a dash where it has one (digits, length, pairs, people), and forms after
slashes: `plain` and `scratchpad` of an addition, `instruction`, `K-shot`. A form shares the test items of
its task, so forms can be compared item by item.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from lab.abilities.items import END, EQUALS, Items, Task, hashes
from lab.abilities.sets import training_items
from lab.data.draws import Draws
from lab.errors import InputError

POOL = 1024  # training items that examples are taken from
MOST_SHOTS = 64


@dataclass(frozen=True)
class Family:
    """Tasks that differ in one number."""

    make: Callable[..., Task]
    counts: str
    least: int
    most: int


@cache
def _families() -> dict[str, Family]:
    from lab.abilities import (
        arithmetic,
        biographies,
        copying,
        dyck,
        induction,
        needle,
        parity,
        recall,
        regression,
    )

    return {
        "addition": Family(arithmetic.addition, "digits", 1, 6),
        "multiplication": Family(arithmetic.multiplication, "digits", 2, 3),
        "modular": Family(arithmetic.modular, "modulus", 2, 31),
        "copy": Family(copying.copy, "symbols", 2, 200),
        "reverse": Family(copying.reverse, "symbols", 2, 200),
        "recall": Family(recall.recall, "pairs", 4, 16),
        "induction": Family(induction.induction, "symbols", 6, 31),
        "needle": Family(needle.needle, "symbols of the longest haystack, a multiple of 4", 16, 200),
        "multiparity": Family(parity.multiparity, "relevant bits", 1, 5),
        "dyck": Family(dyck.dyck, "brackets", 2, 200),
        "regression": Family(regression.regression, "points shown", 1, 60),
        "biographies": Family(biographies.biographies, "people", 2, biographies.MOST),
    }


@cache
def find(name: str) -> Task:
    """The task of a name. Raises InputError with one line for a name that is none."""
    from lab.abilities import TASKS
    from lab.abilities.arithmetic import addition

    head, *forms = name.split("/")
    base, dash, number = head.rpartition("-")
    if not dash:
        base, number = head, ""
    families = _families()
    if head in TASKS:
        base, number, task = head, "", TASKS[head]
    elif base in families and number.isdecimal():
        family, value = families[base], int(number)
        if not family.least <= value <= family.most or (base == "needle" and value % 4):
            allowed = f"{family.least} to {family.most}"
            raise InputError(f"{name!r}: {base} takes {family.counts}: {allowed}, is {value}")
        task = family.make(value)
    else:
        near = difflib.get_close_matches(base if base in families else head, TASKS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(TASKS)}"
        raise InputError(f"{name!r} is unknown; {hint}")
    for form in forms:
        shots, _, kind = form.partition("-")
        if form in ("plain", "scratchpad") and base == "addition" and task.tag == "a":
            task = addition(*([int(number)] if number else []), form=form)
        elif form == "instruction" and task.instruction and task.tag != task.instruction:
            task = replace(task, tag=task.instruction, **_named(task, form))
        elif (
            kind == "shot"
            and shots.isdecimal()
            and 1 <= int(shots) <= MOST_SHOTS
            and "-shot" not in task.name
        ):
            task = with_shots(task, int(shots))
        else:
            raise InputError(
                f"{name!r}: no form {form!r} of {task.name!r}; forms are instruction, K-shot with K from"
                f" 1 to "
                f"{MOST_SHOTS}, and plain or scratchpad of an addition, each once"
            )
    return task


def problem_of(name: str) -> str | None:
    """What is wrong with the name of a task, None if nothing is."""
    try:
        find(name)
    except InputError as error:
        return error.problems[0]
    return None


def with_shots(task: Task, shots: int) -> Task:
    """The task with solved examples before the question, each ended as a row is.

    Examples come from a fixed pool of training items, chosen by a hash of the question: an item has the
    same ones in every run, and none of them is ever in a test set.
    """
    drawn = {"draw": partial(_draw_with_shots, task, shots, task.draw)}
    if task.draw_test:
        drawn["draw_test"] = partial(_draw_with_shots, task, shots, task.draw_test)
    length = shots * (task.prompt_length + task.answer_length + 2) + task.prompt_length
    return replace(task, prompt_length=length, **_named(task, f"{shots}-shot"), **drawn)


def _named(task: Task, form: str) -> dict[str, str]:
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
