"""Abilities: made-up tasks whose items, chance levels and expected verdicts are known.

A task is one file with a vectorised generator; `sets.py` turns items into rows and test sets, `forms.py`
makes few-shot forms of a task, `catalogue.py` finds a task and its forms by name.
"""

from lab.abilities.catalogue import TASKS, find, problem_of
from lab.abilities.items import AbilitySet, Items, Task

__all__ = ["TASKS", "AbilitySet", "Items", "Task", "find", "problem_of"]
