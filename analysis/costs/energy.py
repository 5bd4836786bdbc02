"""Energy, carbon and money of training and of serving, from hours, watts and factors that are stated.

Energy at the meter is device-hours x watts x PUE (power usage effectiveness: what the building draws beside
what the devices do), carbon that times grams a kWh, as in arXiv 2302.13971, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.costs.carbon import Carbon
from analysis.errors import InputError

JOULES_A_KWH = 3.6e6
# 400 g of CO2 a mile: US EPA 420-F-23-014, Tailpipe Greenhouse Gas Emissions from a Typical Vehicle.
CAR_GRAMS_A_KM = 400 / 1.609344
# Gas that a typical household of Great Britain heats with in a year: Ofgem, typical domestic consumption
# values of April 2020 to September 2023 (hot water and cooking are in it).
HOUSE_KWH_A_YEAR = 12_000.0
EQUIVALENTS = {
    "km by car": "US EPA 420-F-23-014 (June 2023): 400 g CO2 a mile of a typical passenger vehicle",
    "houses heated for a year": "Ofgem typical domestic consumption values (2020-2023): 12,000 kWh of gas",
}


@dataclass(frozen=True)
class Footprint:
    """What some work drew. kwh: at the meter, `device_kwh` x `pue`; grams of CO2eq: None without a factor."""

    device_kwh: float
    pue: float
    carbon: Carbon | None = None

    @property
    def kwh(self) -> float:
        return self.device_kwh * self.pue

    @property
    def grams(self) -> float | None:
        return None if self.carbon is None else self.kwh * self.carbon.grams

    @property
    def equivalents(self) -> dict[str, float]:
        """What else emits as much, or takes as much energy; sources in EQUIVALENTS."""
        found = {"houses heated for a year": self.kwh / HOUSE_KWH_A_YEAR}
        return found if self.grams is None else {"km by car": self.grams / CAR_GRAMS_A_KM, **found}

    def to_dict(self) -> dict[str, Any]:
        said = {"device_kwh": self.device_kwh, "pue": self.pue, "kwh": self.kwh, "co2eq_kg": None}
        if self.carbon is not None:
            said |= {"co2eq_kg": self.kwh * self.carbon.grams / 1000, "carbon": vars(self.carbon)}
        return said | {"equivalents": self.equivalents}


def footprint(hours: float, watts: float, pue: float = 1.0, carbon: Carbon | None = None) -> Footprint:
    """Of device-hours at so many watts a device. Raises InputError for what is negative or no number."""
    check({"--hours": hours, "--watts": watts})
    check_pue(pue)
    return Footprint(hours * watts / 1000, pue, carbon)


def parity(training_kwh: float, finetuning_kwh: float, inference_kwh: float) -> float:
    """Inferences that take as much energy as making the model did (arXiv 2311.16863, section 4.4).

    Raises InputError for what is negative or no number, and for an inference that takes none.
    """
    check({"--kwh": training_kwh, "--finetuning-kwh": finetuning_kwh, "--inference-kwh": inference_kwh})
    if inference_kwh == 0:
        raise InputError("--inference-kwh: an inference that takes no energy has no parity; is it measured?")
    return (training_kwh + finetuning_kwh) / inference_kwh


def check(given: Mapping[str, float | None]) -> None:
    """Raises InputError, a line for each number that is negative or not finite; None is not asked."""
    wrong = [
        f"{name}: {value} is not a number of at least 0"
        for name, value in given.items()
        if value is not None and not (math.isfinite(value) and value >= 0)
    ]
    if wrong:
        raise InputError(*wrong)


def check_pue(pue: float) -> None:
    """Raises InputError unless `pue`, energy of the hall over energy of its machines, lies from 1 to 10."""
    if not (math.isfinite(pue) and 1.0 <= pue <= 10.0):
        raise InputError(f"--pue: {pue} is not a power usage effectiveness, which is 1 or more (1.1 to 2)")
