"""Published energy of training and of inference, computed again: the calculators must give these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from analysis.costs.carbon import Carbon
from analysis.costs.energy import Footprint, footprint, parity

# arXiv 2302.13971, table 15: every model as if trained in one data centre.
LLAMA_WATTS, LLAMA_PUE = 400.0, 1.1
LLAMA_CARBON = Carbon(385.0, "arXiv 2302.13971, US average")


@dataclass(frozen=True)
class Trained:
    """A row of the table: GPU-hours, and the MWh and tonnes of CO2eq that were printed."""

    name: str
    gpu_hours: float
    mwh: float
    tonnes: float


LLAMA = (
    Trained("OPT-175B", 809_472, 356, 137),
    Trained("BLOOM-175B", 1_082_880, 475, 183),
    Trained("LLaMA-7B", 82_432, 36, 14),
    Trained("LLaMA-13B", 135_168, 59, 23),
    Trained("LLaMA-33B", 530_432, 233, 90),
    Trained("LLaMA-65B", 1_022_362, 449, 173),
)


@dataclass(frozen=True)
class Served:
    """A row of arXiv 2311.16863, table 5: kWh of training, of finetuning, of one inference, and the printed
    number of inferences that cost as much."""

    name: str
    training_kwh: float
    finetuning_kwh: float
    inference_kwh: float
    inferences: float


BLOOMZ = (
    Served("BLOOMz-7B", 51_686, 7_571, 1.0e-4, 592_570_000),
    Served("BLOOMz-3B", 25_634, 3_242, 7.3e-5, 395_602_740),
    Served("BLOOMz-1B7", 17_052, 1_081, 6.2e-5, 292_467_741),
    Served("BLOOMz-560M", 10_505, 543, 5.4e-5, 204_592_592),
)


@dataclass(frozen=True)
class Again:
    """A published row beside what is computed. rows: dictionaries of one shape; text columns by `head`."""

    title: str
    rows: Sequence[dict[str, Any]]
    notes: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        return {"title": self.title, "rows": list(self.rows), "notes": list(self.notes)}


def llama(
    watts: float = LLAMA_WATTS, pue: float = LLAMA_PUE, carbon: Carbon = LLAMA_CARBON
) -> list[tuple[Trained, Footprint]]:
    """The table, by its own watts, PUE and carbon, or as it would be by others."""
    return [(row, footprint(row.gpu_hours, watts, pue, carbon)) for row in LLAMA]


def llama_table(watts: float = LLAMA_WATTS, pue: float = LLAMA_PUE, carbon: Carbon = LLAMA_CARBON) -> Again:
    rows = []
    for row, found in llama(watts, pue, carbon):
        assert found.grams is not None  # the factor is given
        rows.append({**asdict(row), "computed_mwh": found.kwh / 1e3, "computed_tonnes": found.grams / 1e6})
    return Again(
        f"GPU-hours x {watts:g} W x PUE {pue:g}, and x {carbon.grams:g} g CO2eq a kWh",
        rows,
        (f"hours, MWh and tonnes: arXiv 2302.13971, table 15; carbon: {carbon.source}",),
    )


def parity_table() -> Again:
    rows = [
        # whole inferences, as the table has them; a thousandth undoes the rounding of a division
        {
            **asdict(row),
            "computed": math.floor(1e-3 + parity(row.training_kwh, row.finetuning_kwh, row.inference_kwh)),
        }
        for row in BLOOMZ
    ]
    return Again(
        "inferences that take the energy of training and finetuning",
        rows,
        ("kWh and inferences: arXiv 2311.16863, table 5, whose kWh an inference are rounded to two digits",),
    )
