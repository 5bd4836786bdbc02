"""Many tests at once: all metrics of a task are one question, and the tasks of a table one family.

Two metrics of one task that rise together are no two chances to find a break. Within a task p-values are
adjusted by Hochberg's step-up procedure (1988), which costs nothing where all metrics break and a factor of
their number where one does alone; it holds for tests that depend positively, as those of one run do. The
smallest of each task then enters Benjamini and Hochberg's false discovery rate (1995) over the tasks, and the
others of a task are held to the same cut (Benjamini and Bogomolov 2014).
"""

from __future__ import annotations

from collections.abc import Sequence


def false_discovery(p: Sequence[float | None]) -> list[float | None]:
    """Benjamini-Hochberg q-values (1995); None stays None and is no test."""
    tested = [value for value in p if value is not None]
    order = sorted(range(len(tested)), key=lambda i: -tested[i])
    found, least = [1.0] * len(tested), 1.0
    for above, i in enumerate(order):
        least = min(least, tested[i] * (len(tested) / (len(tested) - above)))
        found[i] = least
    adjusted = iter(found)
    return [None if value is None else next(adjusted) for value in p]


def hochberg(p: Sequence[float]) -> list[float]:
    """p-values adjusted so that the chance of any false call among them stays at the level."""
    order = sorted(range(len(p)), key=lambda i: -p[i])
    out, least = [1.0] * len(p), 1.0
    for rank, i in enumerate(order, 1):
        least = min(least, rank * p[i])
        out[i] = least
    return out


def q_values(tasks: Sequence[str], p: Sequence[float | None]) -> list[float | None]:
    """q of every test (its task, its p): a call at q <= level keeps the false discovery rate over tasks."""
    members: dict[str, list[int]] = {}
    for i, (task, value) in enumerate(zip(tasks, p, strict=True)):
        if value is not None:
            members.setdefault(task, []).append(i)
    adjusted = {task: hochberg([p[i] for i in group]) for task, group in members.items()}
    least = [min(values) for values in adjusted.values()]
    out: list[float | None] = [None] * len(p)
    for (task, group), own, q in zip(members.items(), least, false_discovery(least), strict=True):
        for i, value in zip(group, adjusted[task], strict=True):
            out[i] = min(1.0, value * q / own)
    return out


def level_of_one(alpha: float, tests: int, called: int = 0) -> float:
    """Level at which one more call would be made, where `called` of `tests` tasks are called already."""
    return alpha * min(called + 1, max(tests, 1)) / max(tests, 1)


def draws_for(draws: int, alpha: float, tests: int) -> int:
    """Simulated tables with which a lone break among `tests` can be called, also by one of two metrics."""
    return max(draws, round(4 * tests / alpha))
