"""What runs of a store spent, over all attempts: their `costs.jsonl`, a trunk's shared among its branches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from analysis import files
from analysis.tables import contents

_LOG_BYTES = 1 << 30


@dataclass
class Spent:
    """Sums over lines of costs. core_seconds and card_seconds are what an estimate of energy rests on: CPU
    seconds of runs on processors (device-seconds where a line has none), device-seconds of cards. joules is
    what counters measured, in metered_seconds of the seconds. steps: that were trained. unclocked_seconds: of
    processors, in lines without CPU seconds."""

    device_seconds: float = 0.0
    compile_seconds: float = 0.0
    core_seconds: float = 0.0
    card_seconds: float = 0.0
    joules: float = 0.0
    metered_seconds: float = 0.0
    steps: float = 0.0
    unclocked_seconds: float = 0.0
    sources: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """All that devices were held for, compilation included."""
        return self.device_seconds + self.compile_seconds

    def line(self, line: Mapping[str, Any], share: float = 1.0) -> None:
        device, compiled = (share * line.get(name, 0.0) for name in ("device_seconds", "compile_seconds"))
        self.device_seconds += device
        self.compile_seconds += compiled
        if str(line.get("device", "cpu")).lower() == "cpu":
            clocked = "cpu_seconds" in line
            self.core_seconds += share * line["cpu_seconds"] if clocked else device + compiled
            self.unclocked_seconds += 0.0 if clocked else device + compiled
        else:
            self.card_seconds += device + compiled
        if "energy_joules" in line:
            self.joules += share * line["energy_joules"]
            self.metered_seconds += device + compiled
            self.sources.add(str(line.get("energy_source", "none")))

    def add(self, other: Spent) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.sources |= other.sources


_SUMS = tuple(one.name for one in fields(Spent) if one.name != "sources")


def together(parts: Iterable[Spent]) -> Spent:
    total = Spent()
    for part in parts:
        total.add(part)
    return total


def of_store(path: Path, trunks: Mapping[str, str | None]) -> tuple[dict[str, Spent], dict[str, Spent]]:
    """(run id -> what it spent with its share of its trunk, trunk -> what no branch has a share of yet).

    trunks: of each run, its trunk. A stretch of a trunk between two branch points is shared evenly among the
    branches that left at its end or later, as far as they have started; so both parts add up to all lines.
    Runs without any line are left out.
    """
    lines = {name: _lines(path, name) for name in trunks}
    found = {}
    for name, own in lines.items():
        if own:
            found[name] = _summed(own)
            found[name].steps = max(line["step"] for line in own)
    branches: dict[str, list[str]] = {}
    for name, trunk in trunks.items():
        if trunk is not None:
            branches.setdefault(trunk, []).append(name)
    unshared = {}
    for trunk, names in branches.items():
        left = _share(path, trunk, [name for name in names if lines[name]], lines, found)
        if left.seconds > 0:
            unshared[trunk] = left
    return found, unshared


def _share(
    path: Path, trunk: str, names: Sequence[str], lines: Mapping[str, list[dict]], found: dict[str, Spent]
) -> Spent:
    """Add to each branch its part of the trunk; returns what belongs to no branch."""
    spent = _lines(path, trunk)
    marks = sorted({line["step"] for line in _lines(path, trunk, "metrics.jsonl") if _is_mark(line)})
    starts = {}
    for name in names:  # a run's first line is at the step where it left
        first = min(line["step"] for line in lines[name])
        before = [mark for mark in marks if mark <= first]
        starts[name] = before[-1] if before else 0
        found[name].steps -= starts[name]
    left, last = Spent(), -1
    for mark in [*marks, float("inf")]:
        sharing = [name for name in names if starts[name] >= mark]
        stretch = [line for line in spent if last < line["step"] <= mark]
        for line in stretch:
            for name in sharing:
                found[name].line(line, 1 / len(sharing))
            if not sharing:
                left.line(line)
        for name in sharing:
            found[name].steps += (mark - max(last, 0)) / len(sharing)
        last = mark
    return left


def _is_mark(line: Mapping[str, Any]) -> bool:
    return line.get("kind") == "branch"


def _summed(lines: Iterable[Mapping[str, Any]]) -> Spent:
    total = Spent()
    for line in lines:
        total.line(line)
    return total


def _lines(path: Path, name: str, file: str = "costs.jsonl") -> list[dict]:
    """Empty where there is no file, or none that may be read."""
    if not contents.is_name(name):
        return []
    try:
        return contents.log_lines(files.read_bytes(path / "runs" / name / file, path, _LOG_BYTES))[0]
    except (OSError, files.Refused):
        return []
