"""How much of a plan a budget pays for: of FLOPs, device-hours, energy or money."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lab.errors import InputError
from sweeps.plan import pricing
from sweeps.plan.cells import Cell


@dataclass(frozen=True)
class Budget:
    """One of these; ``price`` is that of a device-hour. Energy is taken at the highest watts of a device."""

    flops: float | None = None
    hours: float | None = None
    kwh: float | None = None
    money: float | None = None
    price: float | None = None

    @property
    def limit(self) -> tuple[str, float]:
        """(its unit, how much of it there is)."""
        return next((name, value) for name, value in asdict(self).items() if value is not None)

    def problems(self) -> list[str]:
        given = {f"--{name}": value for name, value in asdict(self).items() if value is not None}
        wrong = [
            f"{name}: {value} is not a positive number"
            for name, value in given.items()
            if not (math.isfinite(value) and value > 0)
        ]
        if len(given.keys() - {"--price"}) != 1:
            wrong.append("give one budget: --flops, --hours, --kwh or --money")
        if (self.money is None) != (self.price is None):
            wrong.append("--money and --price go together: what there is, and the price of a device-hour")
        return wrong


def budget(
    flops: float | None, hours: float | None, kwh: float | None, money: float | None, price: float | None
) -> Budget | None:
    """None where nothing was given. Raises InputError."""
    found = Budget(flops, hours, kwh, money, price)
    if found == Budget():
        return None
    if problems := found.problems():
        raise InputError(*problems)
    return found


@dataclass(frozen=True)
class Affordable:
    """``limit`` of a unit pays for ``runs`` of those left, cheapest first; all ``left`` need ``needed``."""

    unit: str
    limit: float
    needed: float
    runs: int
    left: int
    run_ids: tuple[str, ...]

    def __str__(self) -> str:
        unit = {"flops": "FLOPs", "hours": "device-hours", "kwh": "kWh", "money": "of money"}[self.unit]
        if self.runs == self.left:
            paid = f"all {self.left} runs left, which need {self.needed:.3g}"
        else:
            paid = f"{self.runs} of the {self.left} runs left, the cheapest first; all need {self.needed:.3g}"
        return f"budget: {self.limit:.3g} {unit} pay for {paid}"


def affordable(found: Budget, prices: pricing.Prices, left: Sequence[Cell]) -> Affordable:
    """Of the cells ``left``. A cell costs its own steps and the stretch of its trunk it is the first to need,
    so that in order of cost the shorter budgets of a trunk come before the longer ones."""
    unit, limit = found.limit
    costs = {cell.run_id: _cost(unit, found, prices, cell) for cell in left}
    paid, spent = [], 0.0
    for run_id in sorted(costs, key=lambda run_id: (costs[run_id], run_id)):
        spent += costs[run_id]
        if spent > limit * (1 + 1e-9):
            break
        paid.append(run_id)
    return Affordable(unit, limit, sum(costs.values()), len(paid), len(left), tuple(paid))


def _cost(unit: str, found: Budget, prices: pricing.Prices, cell: Cell) -> float:
    if unit == "flops":
        return cell.flops["flops_exact"] * prices.trained_steps[cell.run_id] / cell.steps
    hours = prices.shares[cell.run_id] / 3600
    if unit == "kwh":
        return hours * pricing.watts(prices.plan)[1] / 1000
    return hours if unit == "hours" else hours * (found.price or 0.0)
