"""Does a progress measure move before the metric does? From the metrics of one run alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

PART = 0.25  # of the way from the first value to the farthest
# movements smaller than these are none: shares of 128 items scatter by up to 0.04, and nats of the answer
# fall
# a little while no more than its form is learned
LEAST = 0.1
LEAST_NATS = 0.5


@dataclass(frozen=True)
class Lead:
    """When a measure and the exact match of its task had gone a quarter of their way, in steps (None: never).

    `factor` is the ratio of the two; `said`: before, with, after, or which of them did not move.
    """

    task: str
    measure: str
    measure_step: int | None
    metric_step: int | None
    factor: float | None
    said: str


def leads(lines: Iterable[Mapping], metric: str = "exact_match") -> list[Lead]:
    """One answer for each task and measure in lines of kind "progress"; other lines are passed over.

    A difference of less than one step of the grid is none: the measure then moves *with* the metric.
    """
    series: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        if line.get("kind") == "progress":
            series[line["task"]][line["measure"]][line["step"]] = line["value"]
    found = []
    for task, measures in series.items():
        if metric not in measures:
            continue
        end = moved(measures[metric])
        for name, values in measures.items():
            if name != metric:
                start = moved(values, LEAST_NATS if name.endswith("nats") else LEAST)
                factor = end / start if start and end else None
                found.append(Lead(task, name, start, end, factor, _said(start, end)))
    return found


def moved(values: Mapping[int, float], least: float = LEAST) -> int | None:
    """First step at which a series has gone PART of its way for good; None if the way is shorter than
    `least`.

    Its way leads from the first value to the one that is farthest from it. Going back below PART undoes it.
    """
    steps = np.array(sorted(values))
    path = np.abs(np.array([values[s] for s in steps.tolist()]) - values[steps[0]])
    if path.max() < least:
        return None
    last_below = np.flatnonzero(path < PART * path.max())[-1]  # the first value itself is below
    return int(steps[last_below + 1]) if last_below + 1 < len(steps) else None


def _said(start: int | None, end: int | None) -> str:
    if start is None:
        return "the measure did not move"
    if end is None:
        return "only the measure moved"
    return "before" if start < end else "with" if start == end else "after"
