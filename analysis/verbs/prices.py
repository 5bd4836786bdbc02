"""Options that turn FLOPs into hours, energy and money, for verbs that take or tell a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from analysis.costs.carbon import carbon
from analysis.costs.hardware import Hardware, hardware
from analysis.errors import InputError
from analysis.tables.table import Runs
from analysis.text import number, table


@dataclass(frozen=True)
class PriceOptions:
    """A budget that is not in FLOPs, and the devices that it is spent on."""

    kwh: float | None = None
    """Instead of --flops: the energy to spend at the meter (with --watts)."""
    hours: float | None = None
    """Instead of --flops: device-hours to spend."""
    money: float | None = None
    """Instead of --flops: money to spend (with --price)."""
    peak_flops: float | None = None
    """FLOP/s of a device at best; without it devices are as fast as the runs of the store were."""
    utilisation: float | None = None
    """Of the peak, while training: 0.4."""
    serving_utilisation: float | None = None
    """Of the peak, while serving, often far less than training's."""
    watts: float | None = None
    """What a device draws."""
    pue: float = 1.0
    """What the building draws for each kWh of the devices."""
    price: float | None = None
    """Money for a device-hour."""
    carbon: str = ""
    """Grams of CO2eq a kWh, or a country: FR."""


Prices = Annotated[PriceOptions, tyro.conf.arg(name=""), tyro.conf.OmitArgPrefixes]
PLAIN = PriceOptions()


def devices(options: PriceOptions, runs: Runs) -> Hardware | None:
    """None where nothing but FLOPs was asked about. Raises InputError."""
    if options == PLAIN:
        return None
    factor = carbon(options.carbon) if options.carbon else None
    return hardware(
        runs,
        options.peak_flops,
        options.utilisation,
        options.serving_utilisation,
        options.watts,
        options.pue,
        options.price,
        factor,
    )


def budget(options: PriceOptions, on: Hardware | None, flops: float | None) -> float | None:
    """The budget in FLOPs of training; None where none was given. Raises InputError where two were."""
    given = [value for value in (options.kwh, options.hours, options.money) if value is not None]
    if not given:
        return flops
    if flops is not None or on is None:
        raise InputError("give one budget: --flops, --kwh, --hours or --money")
    return on.flops(options.kwh, options.hours, options.money)


def told(on: Hardware, train_flops: float, serve_flops: float) -> dict[str, Any]:
    """What training, serving and both cost. serve_flops: as many as devices that train do meanwhile."""
    parts = {"training": train_flops}
    if serve_flops > 0:
        parts |= {"serving": serve_flops, "together": train_flops + serve_flops}
    return {name: on.cost(value) for name, value in parts.items()}


def told_text(on: Hardware, costs: dict[str, Any]) -> str:
    names = [name for name in ("hours", "kwh", "co2eq_kg", "money") if costs["training"][name] is not None]
    heads = {"hours": "device-hours", "kwh": "kWh at the meter", "co2eq_kg": "kg CO2eq", "money": "money"}
    rows = [(part, *(number(cost[name]) for name in names)) for part, cost in costs.items()]
    said = [
        f"what it costs, at {number(on.flops_per_s)} FLOP/s a device ({on.source})",
        table(rows, ("", *(heads[name] for name in names))),
    ]
    if on.slowdown != 1:
        times = f"{on.slowdown:.3g} times"
        said.append(f"  a FLOP of serving takes {times} as long as one of training, and counts as many")
    if on.carbon is not None:
        said.append(f"  carbon: {on.carbon.grams:g} g CO2eq a kWh ({on.carbon.source})")
    return "\n".join(said)
