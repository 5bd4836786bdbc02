"""Energy, carbon and parity as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.costs.carbon import COUNTRIES, SOURCE
from analysis.costs.energy import EQUIVALENTS, Footprint
from analysis.costs.published import Again
from analysis.text import number, table


def llama_text(again: Again) -> str:
    rows = [
        (
            row["name"],
            f"{row['gpu_hours']:,.0f}",
            f"{row['computed_mwh']:.1f}",
            f"{row['mwh']:.0f}",
            f"{row['computed_tonnes']:.1f}",
            f"{row['tonnes']:.0f}",
        )
        for row in again.rows
    ]
    head = ("", "GPU-hours", "MWh", "published", "t CO2eq", "published")
    return _page(again, table(rows, head))


def parity_text(again: Again) -> str:
    rows = [
        (
            row["name"],
            f"{row['training_kwh']:,.0f}",
            f"{row['finetuning_kwh']:,.0f}",
            f"{row['inference_kwh']:.1e}",
            f"{row['computed']:,.0f}",
            f"{row['inferences']:,.0f}",
        )
        for row in again.rows
    ]
    head = ("", "training kWh", "finetuning kWh", "kWh an inference", "inferences", "published")
    return _page(again, table(rows, head))


def countries_text() -> str:
    rows = [(code, name, f"{grams}", str(year)) for code, (name, grams, year) in COUNTRIES.items()]
    return "\n".join(
        (
            f"g CO2eq of a kWh of electricity, life cycle ({SOURCE})",
            table(rows, ("", "country", "g/kWh", "year")),
        )
    )


def footprints_text(found: Sequence[Footprint], inferences: float | None, money: float | None) -> str:
    """One column, or low, middle and high."""
    one = found[0]
    head = ("", *(("low", "middle", "high") if len(found) == 3 else ("",)))
    rows = [
        ("kWh of the devices", *(number(each.device_kwh) for each in found)),
        (f"kWh at the meter (PUE {one.pue:g})", *(number(each.kwh) for each in found)),
    ]
    if one.carbon is not None:
        rows.append(("kg CO2eq", *(number((each.grams or 0.0) / 1000) for each in found)))
    names = list(one.equivalents)
    rows += [(f"= {name}", *(number(each.equivalents[name]) for each in found)) for name in names]
    if inferences is not None:
        rows.append(("inferences of the same energy", f"{inferences:,.0f}", *("",) * (len(found) - 1)))
    if money is not None:
        rows.append(("money", number(money), *("",) * (len(found) - 1)))
    said = [
        "  carbon: not stated; --carbon FR or a number of grams a kWh gives it"
        if one.carbon is None
        else f"  carbon: {one.carbon.grams:g} g CO2eq a kWh ({one.carbon.source})"
    ]
    said += [f"  {name}: {EQUIVALENTS[name]}" for name in names]
    return "\n".join((table(rows, head), *said))


def _page(again: Again, body: str) -> str:
    return "\n".join((again.title, body, *(f"  {note}" for note in again.notes)))
