"""All tasks by name, and the names of their forms: `addition-5/scratchpad/3-shot`.

A name is a task, a number after a dash where it has one (digits, length, pairs, people), and forms after
slashes: `plain` and `scratchpad` of an addition, `instruction`, `K-shot`. A form shares the test items of
its task, so forms can be compared item by item.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from lab.abilities import (
    arithmetic,
    association,
    biographies,
    copying,
    dyck,
    induction,
    needle,
    parity,
    recall,
    regression,
)
from lab.abilities.arithmetic import ADDITION, MODULAR, MULTIPLICATION
from lab.abilities.association import ASSOCIATION
from lab.abilities.biographies import BIOGRAPHIES
from lab.abilities.coin import COIN
from lab.abilities.copying import COPY, REVERSE
from lab.abilities.counting import COUNT
from lab.abilities.dyck import DYCK
from lab.abilities.facts import FACTS_TASK
from lab.abilities.fivefacts import FIVEFACTS
from lab.abilities.forms import MOST_SHOTS, named, with_shots
from lab.abilities.induction import INDUCTION
from lab.abilities.items import Task
from lab.abilities.letters import CYCLE, UNSCRAMBLE
from lab.abilities.memo import MEMO
from lab.abilities.needle import NEEDLE
from lab.abilities.parity import MULTIPARITY, PARITY, UNLEARNABLE
from lab.abilities.recall import RECALL
from lab.abilities.regression import REGRESSION
from lab.abilities.sorting import SORT
from lab.abilities.tree import TREE
from lab.errors import InputError
from lab.strict import nearest


@dataclass(frozen=True)
class Family:
    """Tasks that differ in one number."""

    make: Callable[..., Task]
    counts: str
    least: int
    most: int


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(COPY, REVERSE, COIN, PARITY, ADDITION, RECALL, MODULAR, SORT, COUNT),
        *(MULTIPLICATION, INDUCTION, NEEDLE, MULTIPARITY, DYCK, REGRESSION, BIOGRAPHIES, UNSCRAMBLE, CYCLE),
        *(UNLEARNABLE, FACTS_TASK, TREE, FIVEFACTS, MEMO, ASSOCIATION),
    )
}

FAMILIES: dict[str, Family] = {
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
    "association": Family(association.association, "cases of 100 that go with the leading group", 51, 99),
    "biographies": Family(biographies.biographies, "people", 2, biographies.MOST),
}


@cache
def find(name: str) -> Task:
    """The task of a name. Raises InputError with one line for a name that is none."""
    head, *forms = name.split("/")
    base, dash, number = head.rpartition("-")
    if not dash:
        base, number = head, ""
    if head in TASKS:
        base, number, task = head, "", TASKS[head]
    elif base in FAMILIES and number.isdecimal():
        family, value = FAMILIES[base], int(number)
        if not family.least <= value <= family.most or (base == "needle" and value % 4):
            allowed = f"{family.least} to {family.most}"
            raise InputError(f"{name!r}: {base} takes {family.counts}: {allowed}, is {value}")
        task = family.make(value)
    else:
        raise InputError(f"{name!r} is unknown; {nearest(base if base in FAMILIES else head, TASKS)}")
    for form in forms:
        shots, _, kind = form.partition("-")
        if form in ("plain", "scratchpad") and base == "addition" and task.tag == "a":
            task = arithmetic.addition(*([int(number)] if number else []), form=form)
        elif form == "instruction" and task.instruction and task.tag != task.instruction:
            task = replace(task, tag=task.instruction, **named(task, form))
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
