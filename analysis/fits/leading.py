"""Which law speaks for a table, and why: what a fit says of the law that it was not told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from analysis.intervals.bootstrap import Interval


@dataclass(frozen=True)
class Rival:
    """A law among others. earlier_error_percent: mean error of its forecasts within the fitted runs, by which
    laws are weighed; held_out_error_percent: on the held-out cells, for comparison only. weight: the share in
    the forecast.
    """

    law: str
    parameters: int
    objective: float
    earlier_error_percent: float | None
    held_out_error_percent: float | None
    weight: float


@dataclass(frozen=True)
class Leading:
    """The law that leads on a table, by the errors of its forecasts within the fitted runs.

    reason: one sentence. rivals: all laws that were tried, the leading one first. undetermined: exponents of
    Chinchilla's law whose interval is wider than WIDE allows, with the interval; empty where none is or where
    no interval was asked for.
    """

    law: str
    reason: str
    rivals: tuple[Rival, ...]
    undetermined: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def scored(self) -> bool:
        """Whether any earlier part of the runs could score a law."""
        return any(one.earlier_error_percent is not None for one in self.rivals)

    def to_dict(self) -> dict[str, Any]:
        return {
            "law": self.law,
            "reason": self.reason,
            "rivals": [asdict(rival) for rival in self.rivals],
            "undetermined": {name: list(pair) for name, pair in self.undetermined.items()},
        }
