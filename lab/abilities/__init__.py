"""Abilities: made-up tasks whose items, chance levels and expected verdicts are known.

A task is one file with a vectorised generator; `sets.py` turns items into rows and test sets.
"""

from lab.abilities.arithmetic import ADDITION, MODULAR
from lab.abilities.coin import COIN
from lab.abilities.copying import COPY, REVERSE
from lab.abilities.counting import COUNT
from lab.abilities.items import AbilitySet, Items, Task
from lab.abilities.parity import PARITY
from lab.abilities.recall import RECALL
from lab.abilities.sorting import SORT

TASKS: dict[str, Task] = {
    task.name: task for task in (COPY, REVERSE, COIN, PARITY, ADDITION, RECALL, MODULAR, SORT, COUNT)
}

__all__ = ["TASKS", "AbilitySet", "Items", "Task"]
