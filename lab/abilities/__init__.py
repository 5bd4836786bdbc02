"""Abilities: made-up tasks whose items, chance levels and expected verdicts are known.

A task is one file with a vectorised generator; `sets.py` turns items into rows and test sets, `forms.py`
makes other forms of a task: few-shot, with an instruction, with its working.
"""

from lab.abilities.arithmetic import ADDITION, MODULAR, MULTIPLICATION
from lab.abilities.biographies import BIOGRAPHIES
from lab.abilities.coin import COIN
from lab.abilities.copying import COPY, REVERSE
from lab.abilities.counting import COUNT
from lab.abilities.dyck import DYCK
from lab.abilities.facts import FACTS_TASK
from lab.abilities.fivefacts import FIVEFACTS
from lab.abilities.forms import find, problem_of
from lab.abilities.induction import INDUCTION
from lab.abilities.items import AbilitySet, Items, Task
from lab.abilities.letters import CYCLE, UNSCRAMBLE
from lab.abilities.memo import MEMO
from lab.abilities.needle import NEEDLE
from lab.abilities.parity import MULTIPARITY, PARITY, UNLEARNABLE
from lab.abilities.recall import RECALL
from lab.abilities.regression import REGRESSION
from lab.abilities.sorting import SORT
from lab.abilities.tree import TREE

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(COPY, REVERSE, COIN, PARITY, ADDITION, RECALL, MODULAR, SORT, COUNT),
        *(MULTIPLICATION, INDUCTION, NEEDLE, MULTIPARITY, DYCK, REGRESSION, BIOGRAPHIES, UNSCRAMBLE, CYCLE),
        *(UNLEARNABLE, FACTS_TASK, TREE, FIVEFACTS, MEMO),
    )
}

__all__ = ["TASKS", "AbilitySet", "Items", "Task", "find", "problem_of"]
