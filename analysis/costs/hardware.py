"""From FLOPs to hours, energy and money and back: what a device does a second, draws, and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.costs.carbon import Carbon
from analysis.costs.energy import Footprint, check_pue
from analysis.costs.ledger import ledger
from analysis.errors import InputError
from analysis.tables.table import Runs


@dataclass(frozen=True)
class Hardware:
    """flops_per_s: 6 params tokens FLOPs a second of a device while it trains; source says whence. slowdown:
    how many times less of its peak it does while it serves. watts of a device, price of a device-hour."""

    flops_per_s: float
    source: str
    slowdown: float = 1.0
    watts: float | None = None
    pue: float = 1.0
    price: float | None = None
    carbon: Carbon | None = None

    def flops(
        self, kwh: float | None = None, hours: float | None = None, money: float | None = None
    ) -> float:
        """FLOPs of training that one budget buys. Raises InputError unless exactly one is given, and where
        watts or the price lack."""
        given = {"--kwh": kwh, "--hours": hours, "--money": money}
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) != 1:
            raise InputError("give one budget: --flops, --kwh, --hours or --money")
        positive(named)
        if kwh is not None:
            if self.watts is None:
                raise InputError("--kwh: a budget of energy needs --watts, what a device draws")
            hours = 1000 * kwh / (self.watts * self.pue)
        if money is not None:
            if self.price is None:
                raise InputError("--money: a budget of money needs --price, that of a device-hour")
            hours = money / self.price
        assert hours is not None
        return hours * 3600 * self.flops_per_s

    def cost(self, flops: float) -> dict[str, Any]:
        """Device-hours, kWh at the meter, kg of CO2eq and money of so many FLOPs of training; what cannot be
        said without watts, price or carbon is None."""
        hours = flops / self.flops_per_s / 3600
        drawn = None if self.watts is None else Footprint(hours * self.watts / 1000, self.pue, self.carbon)
        grams = None if drawn is None else drawn.grams
        return {
            "hours": hours,
            "kwh": None if drawn is None else drawn.kwh,
            "co2eq_kg": None if grams is None else grams / 1000,
            "money": None if self.price is None else hours * self.price,
        }

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "carbon": None if self.carbon is None else vars(self.carbon)}


def hardware(
    runs: Runs | None,
    peak_flops: float | None = None,
    utilisation: float | None = None,
    serving_utilisation: float | None = None,
    watts: float | None = None,
    pue: float = 1.0,
    price: float | None = None,
    carbon: Carbon | None = None,
) -> Hardware:
    """A device by its peak FLOP/s and the part of it that training and serving use; without a peak, as fast
    as the finished runs of a table with device-seconds were.

    Raises InputError for numbers out of range, and where neither a peak nor a measured speed is there.
    """
    check_pue(pue)
    positive({"--peak-flops": peak_flops, "--watts": watts, "--price": price})
    for name, share in {"--utilisation": utilisation, "--serving-utilisation": serving_utilisation}.items():
        if share is not None and not 0 < share <= 1:
            raise InputError(f"{name}: {share} is not a part of the peak, above 0 and at most 1")
    if (peak_flops is None) != (utilisation is None):
        raise InputError("--peak-flops and --utilisation go together: FLOP/s of a device, and the part used")
    if serving_utilisation is not None and utilisation is None:
        raise InputError("--serving-utilisation: is a part of --peak-flops; give that and --utilisation")
    shared = {"watts": watts, "pue": pue, "price": price, "carbon": carbon}
    if peak_flops is not None and utilisation is not None:
        slow = utilisation / serving_utilisation if serving_utilisation is not None else 1.0
        source = f"{utilisation:g} of a peak of {peak_flops:g} FLOP/s"
        return Hardware(peak_flops * utilisation, source, slow, **shared)
    rate = None if runs is None else measured(runs)
    if rate is None:
        raise InputError(
            "--peak-flops and --utilisation: the runs have no device_seconds that tell their speed"
        )
    return Hardware(rate, "as measured on the finished runs, evaluation counted", **shared)


def measured(runs: Runs) -> float | None:
    """6 params tokens FLOPs a device-second of the finished runs, each step of a trunk once; None without."""
    try:
        entries = ledger(runs).entries
    except InputError:
        return None
    good = [one for one in entries if one.status == "ok" and one.params > 0 and one.tokens > 0]
    seconds = sum(one.spent.device_seconds for one in good)
    return sum(6 * one.params * one.tokens * one.share for one in good) / seconds if seconds > 0 else None


def positive(given: Mapping[str, float | None]) -> None:
    """Raises InputError, a line for each that is no positive number; None is not asked."""
    wrong = [
        f"{name}: {value} is not a positive number"
        for name, value in given.items()
        if value is not None and not (math.isfinite(value) and value > 0)
    ]
    if wrong:
        raise InputError(*wrong)
