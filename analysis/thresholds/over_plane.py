"""Loss collapse and frontier of every series of a table, as one family of tests.

Each series is tested at the level of its share of the whole (Bonferroni). A first round at the full level
decides most of them cheaply; what it calls is drawn again, with as many tables as the smaller level asks for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis.thresholds import collapse, frontier
from analysis.thresholds.collapse import Collapse
from analysis.thresholds.frontier import Frontier
from analysis.thresholds.params_tokens import planes


def over_plane(
    frame,
    alpha: float = 0.05,
    draws: int = 199,
    seed: int = 0,
    seed_sd: float | None = None,
    chance: dict[str, float] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[tuple[Collapse, Frontier]]:
    """(collapse, frontier) of each series of a long ability table (a pandas DataFrame) that has params and
    tokens; none where the table lacks them. alpha: of any call among all of them.

    Raises InputError naming every bad row.
    """
    series = planes(frame, chance, seed_sd)
    level = alpha / max(1, sum(not one.why for one in series))
    more = max(draws, round(4 / level))
    found = []
    for number, one in enumerate(series):
        if progress is not None and not one.why:
            progress(f"over params and tokens: {one.cells.task}/{one.cells.metric}")
        rng = np.random.default_rng([seed, number, 2])
        told = collapse.test(one, alpha, draws, rng)
        if told.verdict == "does_not_collapse" and level < alpha:
            told = collapse.test(one, level, more, rng)
        if told.verdict == "collapses":
            told = collapse.with_threshold(told, frame, seed_sd, chance)
        line = frontier.locate(one, alpha, draws, rng)
        if line.p_value is not None and line.p_value <= alpha and level < alpha:
            line = frontier.locate(one, level, more, rng)
        found.append((told, line))
    listed = sorted(range(len(series)), key=lambda number: series[number].cells.first)
    return [found[number] for number in listed]
