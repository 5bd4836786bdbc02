"""Error rates by group, with intervals, and how far two groups lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from analysis.errors import InputError

Z = 1.959963984540054  # of intervals of 95 %
RATES = {
    "false_positive_rate": "false positives among those it does not apply to",
    "false_negative_rate": "false negatives among those it applies to",
    "precision": "right among those predicted to be",
    "base_rate": "those it applies to among all",
}


@dataclass(frozen=True)
class Counts:
    """Of one group: how predictions and what came of them fell together."""

    name: str
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    def parts(self, rate: str) -> tuple[int, int]:
        """(how many, of how many) of one of RATES."""
        applies = self.true_positives + self.false_negatives
        not_so = self.false_positives + self.true_negatives
        return {
            "false_positive_rate": (self.false_positives, not_so),
            "false_negative_rate": (self.false_negatives, applies),
            "precision": (self.true_positives, self.true_positives + self.false_positives),
            "base_rate": (applies, applies + not_so),
        }[rate]

    def rate(self, rate: str) -> float:
        """NaN where the denominator is zero."""
        some, all_ = self.parts(rate)
        return some / all_ if all_ else float("nan")


# ProPublica, How We Analyzed the COMPAS Recidivism Algorithm (2016): high and medium scores against new
# offences within two years.
COMPAS = (Counts("African-American", 1369, 805, 532, 990), Counts("white", 505, 349, 461, 1139))


@dataclass(frozen=True)
class Gap:
    """A rate of one group less that of another, with Newcombe's interval of 95 %."""

    rate: str
    groups: tuple[str, str]
    difference: float
    interval: tuple[float, float]


def wilson(some: int, of: int) -> tuple[float, float]:
    """Interval of 95 % of a proportion (Wilson 1927); NaN of none."""
    if not of:
        return float("nan"), float("nan")
    share, square = some / of, Z**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = Z * np.sqrt(share * (1 - share) / of + square / (4 * of**2)) / (1 + square / of)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def gaps(groups: tuple[Counts, ...]) -> list[Gap]:
    """Between all pairs of groups, of each rate (Newcombe 1998, method 10)."""
    found = []
    for rate in RATES:
        for first, second in combinations(groups, 2):
            p, q = first.rate(rate), second.rate(rate)
            (a, b), (c, d) = wilson(*first.parts(rate)), wilson(*second.parts(rate))
            low = p - q - np.hypot(p - a, d - q)
            high = p - q + np.hypot(b - p, q - c)
            found.append(Gap(rate, (first.name, second.name), p - q, (float(low), float(high))))
    return found


def to_dict(groups: tuple[Counts, ...]) -> dict[str, Any]:
    return {
        "groups": [
            vars(one)
            | {rate: one.rate(rate) for rate in RATES}
            | {f"{rate}_interval": list(wilson(*one.parts(rate))) for rate in RATES}
            for one in groups
        ],
        "gaps": [
            {**vars(one), "groups": list(one.groups), "interval": list(one.interval)} for one in gaps(groups)
        ],
    }


def counted(columns: Mapping[str, np.ndarray], group: str, label: str, prediction: str) -> tuple[Counts, ...]:
    """From rows: the group of each, what is so and what was predicted, as 0 and 1 (or true and false).

    Raises InputError for a column that is missing and for cells that are neither.
    """
    from analysis.tables.columns import nearest

    given = {"--group": group, "--label": label, "--prediction": prediction}
    missing = [
        f"{option}: no column {name!r}{nearest(name, columns)}"
        for option, name in given.items()
        if name not in columns
    ]
    if missing:
        raise InputError(*missing)
    so, said = (_flags(columns[name], name) for name in (label, prediction))
    names = np.array([str(value) for value in columns[group].tolist()], object)
    found = []
    for name in sorted(set(names.tolist())):
        here = names == name
        pairs = ((True, True), (False, True), (True, False), (False, False))
        found.append(Counts(name, *(int((here & (so == a) & (said == b)).sum()) for a, b in pairs)))
    return tuple(found)


_FLAGS = {
    "1": True,
    "1.0": True,
    "true": True,
    "yes": True,
    "0": False,
    "0.0": False,
    "false": False,
    "no": False,
}


def _flags(values: np.ndarray, name: str) -> np.ndarray:
    texts = [str(value).strip().lower() for value in values.tolist()]
    for row, text in enumerate(texts):
        if text not in _FLAGS:
            raise InputError(f"column {name!r}, row {row}: {text[:40]!r} is neither 0 nor 1")
    return np.array([_FLAGS[text] for text in texts], bool)


def parsed(text: str) -> Counts:
    """NAME=TP,FP,FN,TN. Raises InputError."""
    name, _, numbers = text.partition("=")
    parts = [part.strip() for part in numbers.split(",")]
    if not name.strip() or len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"--counts: {text[:60]!r} is not NAME=TRUE+,FALSE+,FALSE-,TRUE- in whole numbers")
    return Counts(name.strip(), *map(int, parts))
