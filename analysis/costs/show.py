"""Energy, carbon and parity as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.costs.carbon import COUNTRIES, SOURCE
from analysis.costs.energy import EQUIVALENTS, JOULES_A_KWH, Footprint
from analysis.costs.ledger import Ledger
from analysis.costs.published import Again
from analysis.text import number, table

# The columns of a published table computed again: heading, key of a row, format.
LLAMA = (
    ("GPU-hours", "gpu_hours", ",.0f"),
    ("MWh", "computed_mwh", ".1f"),
    ("published", "mwh", ".0f"),
    ("t CO2eq", "computed_tonnes", ".1f"),
    ("published", "tonnes", ".0f"),
)
PARITY = (
    ("training kWh", "training_kwh", ",.0f"),
    ("finetuning kWh", "finetuning_kwh", ",.0f"),
    ("kWh an inference", "inference_kwh", ".1e"),
    ("inferences", "computed", ",.0f"),
    ("published", "inferences", ",.0f"),
)


def again_text(again: Again, columns: Sequence[tuple[str, str, str]]) -> str:
    rows = [(row["name"], *(format(row[key], form) for _, key, form in columns)) for row in again.rows]
    body = table(rows, ("", *(heading for heading, _, _ in columns)))
    return "\n".join((again.title, body, *(f"  {note}" for note in again.notes)))


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


def ledger_text(found: Ledger, name: str) -> str:
    """Totals by what became of the runs, then what a point of loss cost."""
    groups = [*found.by_status().items(), ("together", (len(found.entries), found.total))]
    rows = []
    for what, (count, spent) in groups:
        kwh = [found.pue * value / JOULES_A_KWH for value in found.joules(spent)]
        measured = found.pue * spent.joules / JOULES_A_KWH if spent.metered_seconds > 0 else None
        rows.append((what, str(count), number(spent.seconds / 3600), number(measured), *map(number, kwh)))
    head = ("", "runs", "device-hours", "measured kWh", "estimate: low", "middle", "high")
    low, middle, high = found.estimate
    said = [
        f"energy of {name}",
        table(rows, head),
        f"  {measured_words(found)}",
        f"  estimate: {found.how}, PUE {found.pue:g}; not a measurement",
        _carbon_words(found, low, middle, high),
    ]
    if found.flops_per_s is not None:
        used = "" if found.utilisation is None else f", {100 * found.utilisation:.1f} % of the peak"
        said.append(f"  speed: {number(found.flops_per_s)} FLOP/s a device, evaluation counted{used}")
    studies = found.by_study()
    if len(studies) > 1:
        rows = [
            (study or "-", str(count), number(spent.seconds / 3600), number(found.joules(spent)[1] / 3.6e6))
            for study, (count, spent) in studies.items()
        ]
        said += ["by study", table(rows, ("", "runs", "device-hours", "kWh, middle estimate"))]
    if len(found.points) > 1:
        rows = [
            (
                one.entry.run_id,
                number(one.entry.params),
                number(one.entry.tokens),
                f"{one.entry.loss:.4f}",
                number(one.joules),
                number(one.joules_a_point),
            )
            for one in found.points
        ]
        said.append(
            f"a point of loss (0.01 nats), along the lower edge of loss against energy ({found.basis})"
        )
        said.append(table(rows, ("run", "params", "tokens", "loss", "joules", "joules a point")))
    return "\n".join(said)


def measured_words(found: Ledger) -> str:
    if found.measured is None:
        return "measured: nothing, no energy counter could be read (NVML, RAPL)"
    sources = "+".join(sorted(found.total.sources))
    covered = f"{100 * found.coverage:.3g} % of the device time"
    return f"measured: {number(found.measured.kwh)} kWh by {sources} in {covered}, idle draw included"


def _carbon_words(found: Ledger, low: Footprint, middle: Footprint, high: Footprint) -> str:
    if found.carbon is None:
        return "  carbon: not stated; --carbon FR or a number of grams a kWh gives it"
    kg = [number((one.grams or 0.0) / 1000) for one in (low, middle, high)]
    measured = found.measured
    by = "" if measured is None else f"measured {number((measured.grams or 0.0) / 1000)} kg CO2eq, "
    factor = f"{found.carbon.grams:g} g CO2eq a kWh ({found.carbon.source})"
    return f"  carbon: {by}estimate {kg[0]} to {kg[2]} kg (middle {kg[1]}) at {factor}"
