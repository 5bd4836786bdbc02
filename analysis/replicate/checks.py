"""What a replication is: numbers with what was published beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Check:
    """One number. kind: `near` (within tolerance of expected), `most` (at most expected, relative tolerance),
    or `within` (inside the pair expected). relative: the tolerance is a share of expected.
    """

    name: str
    expected: float | tuple[float, float]
    obtained: float
    tolerance: float
    relative: bool = False
    kind: str = "near"

    @property
    def passed(self) -> bool:
        if not np.isfinite(self.obtained):
            return False
        if self.kind == "within":
            low, high = self.expected
            return bool(low - self.tolerance <= self.obtained <= high + self.tolerance)
        room = self.tolerance * (abs(self.expected) if self.relative else 1.0)
        excess = self.obtained - self.expected
        return bool((excess if self.kind == "most" else abs(excess)) <= room)

    def to_dict(self) -> dict[str, Any]:
        expected = list(self.expected) if self.kind == "within" else self.expected
        return {
            "name": self.name,
            "expected": expected,
            "obtained": self.obtained,
            "tolerance": self.tolerance,
            "relative": self.relative,
            "kind": self.kind,
            "passed": self.passed,
        }


def near(name: str, expected: float, obtained: float, tolerance: float, relative: bool = False) -> Check:
    return Check(name, float(expected), float(obtained), tolerance, relative)


def most(name: str, expected: float, obtained: float, tolerance: float = 1e-6) -> Check:
    """An objective that must not be above the best one known."""
    return Check(name, float(expected), float(obtained), tolerance, True, "most")


def within(name: str, low: float, high: float, obtained: float) -> Check:
    return Check(name, (float(low), float(high)), float(obtained), 0.0, False, "within")


@dataclass(frozen=True, eq=False)
class Picture:
    """The figure of a study as plain arrays: points (label -> (x, y)) and lines (label -> (x, y))."""

    x_label: str
    y_label: str
    points: dict[str, tuple[np.ndarray, np.ndarray]]
    lines: dict[str, tuple[np.ndarray, np.ndarray]]
    x_log: bool = True
    y_log: bool = True


@dataclass(frozen=True, eq=False)
class Replication:
    """A publication's numbers, obtained again. remarks: what was found out beside them."""

    name: str
    title: str
    source: str
    checks: tuple[Check, ...]
    picture: Picture
    remarks: tuple[str, ...] = ()
    seconds: float = field(default=0.0)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "passed": self.passed,
            "seconds": self.seconds,
            "checks": [check.to_dict() for check in self.checks],
            "remarks": list(self.remarks),
        }
