"""A plan as people and programs read it."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from sweeps.plan import design_checks, pricing
from sweeps.plan.budgets import Affordable, Budget, affordable
from sweeps.plan.cells import Cell, Plan
from sweeps.plan.promised_intervals import Expected, Promise, best_prior, promises
from sweeps.quantities import duration, short
from sweeps.running import OPEN, states
from sweeps.store import step_times
from sweeps.store.store import Store

_ROWS = 60  # longer tables are shortened in the middle; --json and --csv have them all


@dataclass(frozen=True)
class Priced:
    """A plan with the state of its cells, what they cost, and what they will tell."""

    plan: Plan
    out: Path | None = None
    workers: int = 1
    prior_store: Path | None = None  # whose runs say what law and scatter to expect
    budget: Budget | None = None

    @cached_property
    def states(self) -> dict[str, str]:
        return states(self.plan, Store(self.out)) if self.out else {}

    @cached_property
    def prices(self) -> pricing.Prices:
        return pricing.Prices(self.plan, step_times.seen(Store(self.out)) if self.out else pricing.Seen())

    @cached_property
    def prior(self) -> Expected:
        return best_prior(self.plan, self.out, self.prior_store)

    @cached_property
    def promises(self) -> list[Promise]:
        return promises(self.plan, self.prior)

    @cached_property
    def warnings(self) -> list[str]:
        return design_checks.warnings(self.plan, self.prior)

    @cached_property
    def affordable(self) -> Affordable | None:
        left = [cell for cell in self.plan.cells if self.states.get(cell.run_id, "new") in OPEN]
        return None if self.budget is None else affordable(self.budget, self.prices, left)

    def seconds_left(self) -> float:
        """Device-seconds of what is neither done nor given up."""
        return sum(s for run_id, s in self.prices.shares.items() if self.states.get(run_id, "new") in OPEN)

    def totals(self) -> dict:
        plan = self.plan
        spent, straight = plan.flops_spent(), plan.flops_straight()
        left = self.seconds_left()
        low, high = pricing.watts(plan)
        times = self.prices.seconds_per_step
        programs = self.prices.programs
        return {
            "cells": len(plan.cells),
            "states": dict(Counter(self.states.get(cell.run_id, "new") for cell in plan.cells)),
            "trunks": len(plan.trunks),
            "programs": len(programs),
            "flops": spent,
            "flops_without_trunks": straight,
            "saved": 1 - spent / straight,
            "device_seconds": sum(self.prices.shares.values()),
            "device_seconds_left": left,
            "hours_left": left / 3600 / self.workers,
            "workers": self.workers,
            "measured": sum(times[cell.run_id].measured for cell in plan.cells) / len(plan.cells),
            "memory_bytes": max(self.prices.memory.values(), default=None),
            "energy_kwh": [watt * left / 3.6e6 for watt in (low, high)],
            "energy_source": f"estimate: {low:g} to {high:g} W a device x predicted device-seconds left",
            "budget": None if self.affordable is None else asdict(self.affordable),
            "unique_tokens": {d.config.label: d.unique_tokens for d in plan.datasets.values()},
            "prior": self.prior.to_dict(),
            "intervals": [asdict(p) for p in self.promises],
            "warnings": self.warnings,
        }

    def rows(self, cells: Sequence[Cell] | None = None) -> list[dict]:
        """The table of the plan, one dictionary a cell; of all cells, or of those given."""
        low, high = pricing.watts(self.plan)
        return [self._row(cell, low, high) for cell in (self.plan.cells if cells is None else cells)]

    def _row(self, cell: Cell, low: float, high: float) -> dict:
        c = cell.config
        seconds = self.prices.shares[cell.run_id]
        program = pricing.program_key(c, self.plan.dataset(c).vocab_size)
        return {
            "run_id": cell.run_id,
            "grid": cell.grid,
            "state": self.states.get(cell.run_id, "new"),
            "width": c.model.width,
            "layers": c.model.layers,
            "heads": c.model.heads,
            "params_total": cell.params.total,
            "params_embedding": cell.params.embedding,
            "tokens": cell.steps * c.batch_tokens,
            "steps": cell.steps,
            "seed": c.seed,
            "batch_tokens": c.batch_tokens,
            "learning_rate": c.optimizer.learning_rate,
            "held_out": cell.held_out,
            "flops_6nd": cell.flops["flops_6nd"],
            "flops_exact": cell.flops["flops_exact"],
            "seconds": seconds,
            "measured": self.prices.seconds_per_step[cell.run_id].measured,
            "memory_bytes": self.prices.memory[program],
            "energy_joules_low": seconds * low,
            "energy_joules_high": seconds * high,
            "trunk": cell.trunk,
        }


def as_json(priced: Priced) -> str:
    return json.dumps({"study": priced.plan.study.name, **priced.totals(), "rows": priced.rows()})


def as_csv(priced: Priced) -> str:
    buffer = io.StringIO()
    rows = priced.rows()
    writer = csv.DictWriter(buffer, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def as_text(priced: Priced) -> str:
    cells = priced.plan.cells
    shown = cells if len(cells) <= _ROWS else cells[: _ROWS // 2] + cells[-_ROWS // 2 :]
    lines = ["  ".join(_COLUMNS).format(*_COLUMN_NAMES)]
    for i, row in enumerate(priced.rows(shown)):
        if len(shown) < len(cells) and i == _ROWS // 2:
            lines.append(f"... {len(cells) - len(shown)} more, all in --json and --csv ...")
        lines.append("  ".join(_COLUMNS).format(*_cells(row)).rstrip())
    return "\n".join([*lines, "", *_summary(priced), *(f"warning: {text}" for text in priced.warnings)])


def _summary(priced: Priced) -> list[str]:
    t = priced.totals()
    counts = ", ".join(f"{n} {state}" for state, n in sorted(t["states"].items()))
    low, high = t["energy_kwh"]
    source = (
        "step times measured on this machine"
        if t["measured"] == 1
        else f"~: {1 - t['measured']:.0%} of the cells estimated from other shapes; --probe measures them"
    )
    lines = [
        f"{t['cells']} runs ({counts}), {t['trunks']} trunks, {t['programs']} programs: "
        f"{t['flops']:.3g} FLOPs, {t['saved']:.0%} less than without trunks",
        f"about {duration(t['device_seconds_left'])} of device time left, "
        f"{duration(t['hours_left'] * 3600)} on {t['workers']} workers here ({source})",
        f"not in it: compiling {t['programs']} programs, each by every worker that trains it; of short runs "
        "that may be most of the time",
    ]
    if t["memory_bytes"]:
        lines.append(f"memory: about {short(t['memory_bytes'])}B for the largest run (predicted)")
    watts = t["energy_source"].removeprefix("estimate: ").partition(" W")[0]
    lines.append(f"energy: {low:.2g} to {high:.2g} kWh (estimate from {watts} W a device, not a measurement)")
    if priced.affordable is not None:
        lines.append(str(priced.affordable))
    return [*lines, *(_said(p, priced.prior) for p in priced.promises)]


def _said(p: Promise, prior: Expected) -> str:
    if p.why:
        return f"grid {p.grid}: no law can be fitted: {p.why}"
    shown = [name for name in p.ranges if name == "E" or name.startswith(("alpha", "beta", "gamma"))]
    ranges = ", ".join("{} {:.3g} to {:.3g}".format(name, *p.ranges[name]) for name in shown)
    low, high = p.params_exponent or (float("nan"), float("nan"))
    # A law with one exponent for both terms fixes how params grow: no run can tell, and none is promised.
    split = f"{low:.3g} by assumption" if low == high else f"{low:.3g} to {high:.3g}"
    lost = f"; {p.lost:.0%} of the fits found no optimum" if p.lost > 0.02 else ""
    return (
        f"grid {p.grid}: a study like this would print 95% intervals about as wide as {ranges}, params "
        f"exponent {split}, and the loss at ten times the compute within "
        f"{100 * p.forecast:.2g}% ({prior.law} law and scatter of {prior.source}: {prior.scatter}{lost})"
    )


_COLUMN_NAMES = ("run id", "grid", "shape", "params", "tokens", "seed", "batch", "rate", "FLOPs", "seconds")
_COLUMN_NAMES += ("trunk", "state")
_COLUMNS = ("{:<12}", "{:<10.10}", "{:>8}", "{:>7}", "{:>7}", "{:>4}", "{:>6}", "{:>7}", "{:>8}", "{:>8}")
_COLUMNS += ("{:<12}", "{}")


def _cells(row: dict) -> tuple:
    return (
        row["run_id"],
        row["grid"],
        f"{row['width']}x{row['layers']}h{row['heads']}",
        short(row["params_total"]),
        short(row["tokens"]),
        row["seed"],
        short(row["batch_tokens"]),
        f"{row['learning_rate']:.4g}",
        f"{row['flops_exact']:.2e}",
        ("" if row["measured"] else "~") + f"{row['seconds']:.1f}",
        row["trunk"] or "-",
        row["state"] + (", held out" if row["held_out"] else ""),
    )
