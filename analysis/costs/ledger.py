"""What a study drew: measured where counters were read, beside an estimate with bounds, never summed.

The estimate is CPU seconds x watts a core, for cards device-seconds x watts a card: low, middle, high. The
bounds are those of `lab plan`; the middle is their geometric mean.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from analysis import files
from analysis.costs.carbon import Carbon
from analysis.costs.energy import JOULES_A_KWH, Footprint, check, check_pue
from analysis.costs.spending import Spent, of_store, together
from analysis.errors import InputError
from analysis.tables.table import Runs, numbers

CORE_WATTS, CARD_WATTS = (3.0, 25.0), (60.0, 700.0)
# A loss of so many nats is a point.
POINT = 0.01
Watts = tuple[float, float, float]


@dataclass(frozen=True)
class Entry:
    """A run and what it spent, its part of its trunk included. share: of its steps that it answers for;
    flops: those of them. row: where it stands in the table."""

    run_id: str
    study: str
    status: str
    params: float
    tokens: float
    loss: float
    flops: float
    spent: Spent
    source: str = ""
    row: int = 0
    share: float = 1.0


@dataclass(frozen=True)
class Point:
    """A corner of the lower edge, bent one way, of loss against energy: a run of one source of data that no
    mix of two others beats. `joules_a_point`: of the step to it from the corner before, None at the first."""

    entry: Entry
    joules: float
    joules_a_point: float | None


@dataclass(frozen=True, repr=False)
class Ledger:
    """All runs that spent something, and what trunks spent that no run has a part of yet."""

    entries: tuple[Entry, ...]
    trunks: Mapping[str, Spent]
    core_watts: Watts
    card_watts: Watts
    pue: float
    carbon: Carbon | None
    peak_flops: float | None
    points: tuple[Point, ...]
    basis: str

    @property
    def total(self) -> Spent:
        return together([*(entry.spent for entry in self.entries), *self.trunks.values()])

    @property
    def coverage(self) -> float:
        """The part of all device time during which a counter was read."""
        total = self.total
        return total.metered_seconds / total.seconds if total.seconds else 0.0

    @property
    def measured(self) -> Footprint | None:
        """By counters; None where none was read."""
        total = self.total
        known = total.metered_seconds > 0
        return Footprint(total.joules / JOULES_A_KWH, self.pue, self.carbon) if known else None

    @property
    def estimate(self) -> tuple[Footprint, Footprint, Footprint]:
        """Of all device time, measured or not: low, middle, high."""
        low, middle, high = self.joules(self.total)
        kwh = [Footprint(value / JOULES_A_KWH, self.pue, self.carbon) for value in (low, middle, high)]
        return kwh[0], kwh[1], kwh[2]

    def joules(self, spent: Spent) -> Watts:
        """Estimated: low, middle, high."""
        low, middle, high = (
            spent.core_seconds * core + spent.card_seconds * card
            for core, card in zip(self.core_watts, self.card_watts, strict=True)
        )
        return low, middle, high

    @property
    def flops(self) -> float:
        """Of training, each step of a trunk once."""
        return float(np.nansum([one.flops for one in self.entries]))

    @property
    def flops_per_s(self) -> float | None:
        """FLOPs of training a second of a device, over the runs that finished."""
        good = [one for one in self.entries if one.status == "ok" and np.isfinite(one.flops)]
        seconds = sum(one.spent.device_seconds for one in good)
        return sum(one.flops for one in good) / seconds if seconds > 0 else None

    @property
    def utilisation(self) -> float | None:
        rate = self.flops_per_s
        return None if rate is None or self.peak_flops is None else rate / self.peak_flops

    def by_status(self) -> dict[str, tuple[int, Spent]]:
        names = ["ok", "diverged", "failed", "unfinished"]
        names += sorted({entry.status for entry in self.entries} - set(names))
        found = {}
        for name in names:
            some = [entry.spent for entry in self.entries if entry.status == name]
            if some:
                found[name] = (len(some), together(some))
        if self.trunks:
            found["trunks, not shared yet"] = (len(self.trunks), together(self.trunks.values()))
        return found

    def by_study(self) -> dict[str, tuple[int, Spent]]:
        return {
            name: (len(some), together(some))
            for name in sorted({entry.study for entry in self.entries})
            if (some := [entry.spent for entry in self.entries if entry.study == name])
        }

    @property
    def how(self) -> str:
        """What the estimate rests on."""
        total, parts = self.total, []
        cores = "CPU seconds" + (" (device-seconds where there are none)" if total.unclocked_seconds else "")
        for seconds, watts, what in (
            (total.core_seconds, self.core_watts, f"{cores} x {{}} W a core"),
            (total.card_seconds, self.card_watts, "device-seconds x {} W a card"),
        ):
            if seconds > 0:
                parts.append(what.format(", ".join(f"{value:.3g}" for value in watts)))
        return " and ".join(parts) or "no device time is recorded"

    def to_dict(self) -> dict[str, Any]:
        measured = self.measured
        return {
            "totals": self._spent(self.total),
            "by_status": {name: {"runs": n, **self._spent(s)} for name, (n, s) in self.by_status().items()},
            "by_study": {name: {"runs": n, **self._spent(s)} for name, (n, s) in self.by_study().items()},
            "energy_source": "+".join(sorted(self.total.sources)) or "none",
            "energy_coverage": self.coverage,
            "idle_included": bool(self.total.sources) or None,
            "measured": None if measured is None else measured.to_dict(),
            "estimate": {
                name: one.to_dict()
                for name, one in zip(("low", "middle", "high"), self.estimate, strict=True)
            }
            | {"basis": self.how},
            "pue": self.pue,
            "carbon": None if self.carbon is None else vars(self.carbon),
            "flops_per_s": self.flops_per_s,
            "utilisation": self.utilisation,
            "point_nats": POINT,
            "points_basis": self.basis,
            "points": [
                {
                    "run_id": one.entry.run_id,
                    "loss": one.entry.loss,
                    "joules": one.joules,
                    "joules_a_point": one.joules_a_point,
                }
                for one in self.points
            ],
            "runs": [
                {
                    "run_id": one.run_id,
                    "study": one.study,
                    "status": one.status,
                    "params": one.params,
                    "tokens": one.tokens,
                    "loss": one.loss,
                    "flops": one.flops,
                    **self._spent(one.spent),
                }
                for one in self.entries
            ],
        }

    def _spent(self, spent: Spent) -> dict[str, Any]:
        low, middle, high = self.joules(spent)
        return {
            "device_seconds": spent.device_seconds,
            "compile_seconds": spent.compile_seconds,
            "energy_joules": spent.joules if spent.metered_seconds > 0 else None,
            "energy_coverage": spent.metered_seconds / spent.seconds if spent.seconds else 0.0,
            "energy_joules_low": low,
            "energy_joules_middle": middle,
            "energy_joules_high": high,
        }


def ledger(
    runs: Runs,
    watts: tuple[float, ...] = (),
    pue: float = 1.0,
    carbon: Carbon | None = None,
    peak_flops: float | None = None,
) -> Ledger:
    """What the runs of a store spent by their records, those of a table by its columns.

    watts: of a core, or of a card where all ran on cards: one, low and high, or low, middle and high; without
    any, what the studies of a store say (`[run] watts`), else the bounds of the class.

    Raises InputError for bad numbers, for a table without device-seconds, and where `watts` could be of both.
    """
    check_pue(pue)
    check({f"--watts[{index}]": value for index, value in enumerate(watts)})
    if peak_flops is not None and not (np.isfinite(peak_flops) and peak_flops > 0):
        raise InputError(f"--peak-flops: {peak_flops} is not a positive number")
    path = Path(runs.source)
    spent, unshared = {}, {}
    if runs.store and path.is_dir():
        ids = _texts(runs, "run_id")
        trunks = _texts(runs, "trunk")
        spent, unshared = of_store(path, dict(zip(ids, (name or None for name in trunks), strict=True)))
    entries = _entries(runs, spent)
    if not entries and not unshared:
        raise InputError(f"{runs.source}: no run has device_seconds: what they cost was not recorded")
    total = together([*(entry.spent for entry in entries), *unshared.values()])
    both = total.core_seconds > 0 and total.card_seconds > 0
    if watts and both:
        raise InputError("--watts: some runs were on processors and some on cards; pick them with --where")
    stated = () if watts or both else _stated(path) if runs.store else ()
    given = _three(watts or stated) if watts or stated else None
    cores = given or _three(CORE_WATTS)
    cards = given or _three(CARD_WATTS)
    # Where every second was metered the counters say what a point costs; else the estimate's middle does.
    metered = total.metered_seconds >= 0.99 * total.seconds > 0
    basis = "measured" if metered else "estimate, middle"
    points = _points(entries, lambda one: one.joules if metered else _middle(one, cores, cards))
    return Ledger(tuple(entries), unshared, cores, cards, pue, carbon, peak_flops, tuple(points), basis)


def _stated(path: Path) -> tuple[float, ...]:
    """`[run] watts` of the studies of a store, from the lowest to the highest; of those that can be read."""
    found: list[float] = []
    for study in sorted((path / "studies").glob("*.toml")):
        try:
            told = tomllib.loads(files.read_text(study, path)).get("run", {}).get("watts", ())
        except (OSError, files.Refused, tomllib.TOMLDecodeError, AttributeError):
            continue
        numbers_of = told if isinstance(told, list) else ()
        if len(numbers_of) == 2 and all(isinstance(v, int | float) and 0 < v < 1e6 for v in numbers_of):
            found += map(float, numbers_of)
    return (min(found), max(found)) if found else ()


def _three(watts: tuple[float, ...]) -> Watts:
    if len(watts) > 3 or list(watts) != sorted(watts):
        raise InputError("--watts: one number, low and high, or low, middle and high")
    return watts[0], watts[1] if len(watts) == 3 else float(np.sqrt(watts[0] * watts[-1])), watts[-1]


def _middle(spent: Spent, cores: Watts, cards: Watts) -> float:
    return spent.core_seconds * cores[1] + spent.card_seconds * cards[1]


def _texts(runs: Runs, name: str) -> list[str]:
    column = runs.columns.get(name)
    values = [None] * len(runs) if column is None else column.tolist()
    return [value if isinstance(value, str) else "" for value in values]


def _numbers(runs: Runs, name: str) -> list[float]:
    column = runs.columns.get(name)
    return [float("nan")] * len(runs) if column is None else numbers(column).tolist()


def _entries(runs: Runs, spent: Mapping[str, Spent]) -> list[Entry]:
    names = ("params", "tokens", "loss", "batch_tokens", "device_seconds", "compile_seconds", "cpu_seconds")
    names += ("energy_joules", "energy_coverage", "flops_exact")
    columns = {name: _numbers(runs, name) for name in names}
    if "flops_exact" not in runs.columns:
        columns["flops_exact"] = _numbers(runs, "flops")
    texts = {
        name: _texts(runs, name)
        for name in ("run_id", "study", "status", "device", "energy_source", "source")
    }
    found = []
    for row in range(len(runs)):
        run_id = texts["run_id"][row]
        numbers_of = {name: values[row] for name, values in columns.items()}
        own = spent.get(run_id) or _of_row(numbers_of, texts["device"][row], texts["energy_source"][row])
        if own is None:
            continue
        share = 1.0
        if run_id in spent and numbers_of["batch_tokens"] > 0 and numbers_of["tokens"] > 0:
            share = own.steps * numbers_of["batch_tokens"] / numbers_of["tokens"]
        found.append(
            Entry(
                run_id or f"row {row}",
                texts["study"][row],
                texts["status"][row] or "ok",
                numbers_of["params"],
                numbers_of["tokens"],
                numbers_of["loss"],
                share * numbers_of["flops_exact"],
                own,
                texts["source"][row],
                row,
                share,
            )
        )
    return found


def _of_row(row: Mapping[str, float], device: str, source: str) -> Spent | None:
    """By the columns of the table; None where they say nothing."""
    if not np.isfinite(row["device_seconds"]):
        return None
    line: dict[str, Any] = {"device": device or "cpu", "device_seconds": row["device_seconds"]}
    line["compile_seconds"] = row["compile_seconds"] if np.isfinite(row["compile_seconds"]) else 0.0
    if np.isfinite(row["cpu_seconds"]):
        line["cpu_seconds"] = row["cpu_seconds"]
    found = Spent()
    found.line(line)
    if np.isfinite(row["energy_joules"]):
        covered = row["energy_coverage"] if np.isfinite(row["energy_coverage"]) else 1.0
        found.joules, found.metered_seconds = row["energy_joules"], covered * found.seconds
        found.sources.add(source or "not stated")
    return found


def _points(entries: list[Entry], joules: Callable[[Spent], float]) -> list[Point]:
    """Corners of the lower convex edge, from the cheapest run on, so that a point costs ever more. Losses of
    other data are other losses: those of the source with most runs."""
    good = [one for one in entries if one.status == "ok" and one.loss > 0 and joules(one.spent) > 0]
    counts = Counter(one.source for one in good)
    most = counts.most_common(1)[0][0] if counts else ""
    edge: list[Entry] = []
    for one in sorted(good, key=lambda one: (joules(one.spent), one.loss)):
        if one.source != most or (edge and one.loss >= edge[-1].loss):
            continue
        while len(edge) > 1 and _slope(edge[-2], edge[-1], joules) >= _slope(edge[-2], one, joules):
            edge.pop()
        edge.append(one)
    prices = [None, *(-POINT / _slope(a, b, joules) for a, b in pairwise(edge))][: len(edge)]
    return [Point(one, joules(one.spent), price) for one, price in zip(edge, prices, strict=True)]


def _slope(a: Entry, b: Entry, joules: Callable[[Spent], float]) -> float:
    """Loss a joule, negative."""
    width = joules(b.spent) - joules(a.spent)
    return (b.loss - a.loss) / width if width > 0 else float("-inf")
