"""Selections of cells in a study file: ``{ width = 48, tokens = "largest" }``."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.config import RunConfig
from lab.errors import InputError
from lab.strict import nearest_key

_PARAMS = ("params", "flops")
_FACTS: dict[str, Callable[[RunConfig], object]] = {
    "width": lambda c: c.model.width,
    "layers": lambda c: c.model.layers,
    "heads": lambda c: c.model.heads,
    "tokens": lambda c: c.tokens,
    "batch": lambda c: c.batch,
    "learning_rate": lambda c: c.optimizer.learning_rate,
    "weight_decay": lambda c: c.optimizer.weight_decay,
    "schedule": lambda c: c.optimizer.schedule,
}


@dataclass(frozen=True)
class Selection:
    """Cells for which every key has the value, or one of the values; "largest" and "smallest" are values."""

    where: Mapping[str, object]
    at: str

    def of(self, cells: list[RunConfig], count: Callable[[RunConfig], int]) -> list[bool]:
        """Which cells are meant.

        Args:
            count: parameters of a run; asked only for keys that need it.

        Raises:
            InputError: for unknown keys and values that no cell has.
        """
        facts = dict(_FACTS)
        facts["params"] = count
        facts["flops"] = lambda c: 6 * count(c) * c.tokens
        problems, chosen = [], [True] * len(cells)
        for key, wanted in self.where.items():
            if key not in facts:
                problems.append(f"{self.at}.{key}: no such key; {nearest_key(key, facts)}")
                continue
            values = [facts[key](cell) for cell in cells]
            listed = wanted if isinstance(wanted, list | tuple) else [wanted]
            if cells and any(isinstance(w, str) and w in ("largest", "smallest") for w in listed):
                ends = {"largest": max(values), "smallest": min(values)}
                listed = [ends.get(w, w) if isinstance(w, str) else w for w in listed]
            loose = 0.05 if key in _PARAMS else 1e-9  # counts of real shapes are never round
            for value in listed:
                if cells and not any(_same(value, v, loose) for v in values):
                    there = ", ".join(map(str, sorted(set(values))[:12]))
                    problems.append(f"{self.at}.{key}: no cell has {value!r}; there are {there}")
            chosen = [
                c and any(_same(w, v, loose) for w in listed) for c, v in zip(chosen, values, strict=True)
            ]
        if cells and not problems and not any(chosen):
            problems.append(f"{self.at}: no cell has all of these at once")
        if problems:
            raise InputError(*problems)
        return chosen


def _same(wanted: object, value: object, loose: float) -> bool:
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value
    if isinstance(wanted, int | float) and isinstance(value, int | float):
        return math.isclose(wanted, value, rel_tol=loose)
    return wanted == value
