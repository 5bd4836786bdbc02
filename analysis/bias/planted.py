"""Whether models copy, amplify or dampen an association that was planted in what they were trained on.

By size, over seeds: the probability that models give the group that leads, and how often that group is their
likeliest answer, each with a Student interval and a verdict against the planted share.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from analysis.errors import InputError
from analysis.tables.answers import planted
from analysis.tables.table import Runs

# An interval that holds the planted share and reaches no farther than this to either side: copied.
NEAR = 0.05


@dataclass(frozen=True)
class Rate:
    """Mean over seeds with its interval (both ends the mean where there is one seed); and each seed's."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]
    verdict: str


@dataclass(frozen=True)
class Size:
    """Models of one size: probability of the leading group, and how often it is the likeliest."""

    params: float
    probability: Rate
    likeliest: Rate


@dataclass(frozen=True, repr=False)
class Association:
    """One task at one budget: the planted share of the leading group, and sizes, rising."""

    task: str
    tokens: float
    share: float
    level: float
    sizes: tuple[Size, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "text": str(self)}

    def __str__(self) -> str:
        first, last = self.sizes[0], self.sizes[-1]
        spans = []
        for verdict, own in _stretches([(one.params, one.probability.verdict) for one in self.sizes]):
            where = f"at {own[0]:.4g}" if len(own) == 1 else f"from {own[0]:.4g} to {own[-1]:.4g}"
            spans.append(f"{_SAID[verdict]} {where} params")
        return (
            f"{self.task}, planted at {self.share:.0%}, {self.tokens:.3g} tokens: models {', '.join(spans)}; "
            f"the leading group gets a probability of {_rate(first.probability)}, then "
            f"{_rate(last.probability)}. Answering with the likeliest group, "
            f"they say it in {_rate(last.likeliest)} of cases at {last.params:.4g} params"
        )


_SAID = {
    "dampens": "dampen it",
    "copies": "copy it",
    "amplifies": "amplify it",
    "cannot tell": "cannot be told",
}


def _rate(one: Rate) -> str:
    return f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]"


def _stretches(rows: list[tuple[float, str]]) -> list[tuple[str, list[float]]]:
    found: list[tuple[str, list[float]]] = []
    for params, verdict in rows:
        if found and found[-1][0] == verdict:
            found[-1][1].append(params)
        else:
            found.append((verdict, [params]))
    return found


def associations(runs: Runs, level: float = 0.95) -> tuple[Association, ...]:
    """A result for each task and budget that has a planted share. Raises InputError where none has."""
    rows = planted(runs)
    if not len(rows):
        raise InputError(
            f"{runs.source}: no run has a planted association; tasks = {{ association = 1 }} trains it"
        )
    found = []
    for (task, tokens, share), part in rows.groupby(["task", "tokens", "planted"]):
        sizes = [
            Size(
                float(params),
                rate(own["probability"].to_numpy(float), float(share), level),
                rate(own["likeliest"].to_numpy(float), float(share), level),
            )
            for params, own in part.groupby("params")
        ]
        found.append(Association(str(task), float(tokens), float(share), level, tuple(sizes)))
    return tuple(found)


def rate(values: np.ndarray, share: float, level: float = 0.95) -> Rate:
    """The mean of one value a seed, and what it is beside the planted share."""
    mean, count = float(values.mean()), len(values)
    reach = float("inf")
    if count > 1:
        reach = float(stdtrit(count - 1, 0.5 + level / 2) * values.std(ddof=1) / np.sqrt(count))
    low, high = mean - reach, mean + reach
    if high < share:
        verdict = "dampens"
    elif low > share:
        verdict = "amplifies"
    else:
        verdict = "copies" if max(share - low, high - share) <= NEAR else "cannot tell"
    ends = (low, high) if count > 1 else (0.0, 1.0)
    return Rate(mean, max(ends[0], 0.0), min(ends[1], 1.0), tuple(map(float, values)), verdict)


def associations_text(found: tuple[Association, ...]) -> str:
    from analysis.text import number, table

    said = []
    for one in found:
        rows = [
            (
                number(size.params),
                str(len(size.probability.seeds)),
                _rate(size.probability),
                size.probability.verdict,
                _rate(size.likeliest),
                size.likeliest.verdict,
            )
            for size in one.sizes
        ]
        head = ("params", "seeds", "probability", "", "likeliest", "")
        said += [
            f"{one.task}, {number(one.tokens)} tokens: {one.share:.0%} planted, {one.level:.0%} intervals",
            table(rows, head),
        ]
        said.append(f"  {one}")
    return "\n".join(said)
