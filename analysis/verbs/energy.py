"""`lab energy`: what training and serving draw, as published, as calculated, as recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from analysis.costs.carbon import COUNTRIES, SOURCE, Carbon, carbon
from analysis.errors import InputError
from analysis.tables.limits import LIMITS
from analysis.verbs.options import Reading, print_json

TABLES = ("llama", "parity", "serving", "countries")


@dataclass(frozen=True)
class EnergyOptions:
    """Energy, carbon and money: of a store, of hours or kWh of your own, or a published table computed again.

    lab energy --hours 82432 --watts 400 --pue 1.1 --carbon US
    """

    what: Annotated[str, tyro.conf.Positional] = ""
    """A store folder or a table of runs; or llama (arXiv 2302.13971, table 15), parity (arXiv 2311.16863,
    table 5), serving (arXiv 2401.00448), countries (the carbon of electricity); nothing for numbers of
    your own."""
    hours: float | None = None
    """Device-hours: hours times devices."""
    watts: tuple[float, ...] = ()
    """Of a device, and of a store's cores: one number, or low, middle and high."""
    kwh: float | None = None
    """Instead of hours and watts: what the devices drew."""
    pue: float | None = None
    """What the building draws for each kWh of the devices (1; llama: 1.1)."""
    carbon: str = ""
    """Grams of CO2eq a kWh, or a country: FR."""
    finetuning_kwh: float = 0.0
    """For parity: of finetuning, at the meter."""
    inference_kwh: float | None = None
    """For parity: kWh of one inference; how many of them take as much as training did?"""
    price: float | None = None
    """Money for a device-hour."""
    peak_flops: float | None = None
    """For a store: FLOP/s of a device at best; how much of it did training use?"""
    frontier: bool = False
    """For a store: runs that none beats for their energy, FLOPs, bytes and cost of serving."""
    within: float = 2.0
    """With --frontier: the smallest model within so many percent of the best."""
    baseline: float | None = None
    """With --frontier: the loss of a model without a network, as `lab data ngram` prints it."""
    where: str = ""
    """For a store: only rows with these values, as in grid=language."""
    limits: Reading = LIMITS
    json: bool = False
    """Print one JSON object."""


def energy(argv: list[str]) -> int:
    """`lab energy [TABLE] [--hours H --watts W]`."""
    options = tyro.cli(EnergyOptions, args=argv, prog="lab energy")
    factor = carbon(options.carbon) if options.carbon else None
    if not options.what:
        return _own(options, factor)
    if options.what not in TABLES:
        return _ledger(options, factor)
    _refuse(options)
    if options.what == "countries":
        return _countries(options)
    if options.what == "serving":
        from analysis.allocations.serving import published, published_text

        if options.json:
            return print_json({"rows": published()})
        print(published_text())
        return 0
    return _published(options, factor)


def _ledger(options: EnergyOptions, factor: Carbon | None) -> int:
    """`lab energy STORE`."""
    from pathlib import Path

    from analysis.costs.ledger import ledger
    from analysis.costs.show import ledger_text
    from analysis.tables.columns import parse_map
    from analysis.tables.table import read

    path = Path(options.what)
    if not path.exists():
        raise InputError(f"{options.what[:200]}: no such store or file; tables are {', '.join(TABLES)}")
    _refuse(options)
    runs = read(path, limits=options.limits)
    runs = runs.where(**parse_map(options.where, "--where")) if options.where else runs
    pue = 1.0 if options.pue is None else options.pue
    found = ledger(runs, options.watts, pue, factor, options.peak_flops)
    if options.frontier:
        from analysis.resources.sobriety import sobriety, sobriety_text

        thrifty = sobriety(runs, found, options.within, options.baseline)
        if options.json:
            return print_json(thrifty.to_dict())
        print(sobriety_text(thrifty))
        return 0
    if options.json:
        return print_json({"store": str(path), **found.to_dict()})
    print(ledger_text(found, str(path)))
    return 0


def _published(options: EnergyOptions, factor: Carbon | None) -> int:
    from analysis.costs import published, show
    from analysis.costs.energy import check, check_pue

    if options.what == "parity":
        found, columns = published.parity_table(), show.PARITY
    else:
        if len(options.watts) > 1:
            raise InputError("--watts: one number for the table")
        watts = options.watts[0] if options.watts else published.LLAMA_WATTS
        pue = published.LLAMA_PUE if options.pue is None else options.pue
        check({"--watts": watts})
        check_pue(pue)
        found, columns = published.llama_table(watts, pue, factor or published.LLAMA_CARBON), show.LLAMA
    if options.json:
        return print_json(found.to_dict())
    print(show.again_text(found, columns))
    return 0


def _countries(options: EnergyOptions) -> int:
    from analysis.costs.show import countries_text

    if options.json:
        names = ("code", "country", "grams_per_kwh", "year")
        rows = [dict(zip(names, (code, *row), strict=True)) for code, row in COUNTRIES.items()]
        return print_json({"source": SOURCE, "rows": rows})
    print(countries_text())
    return 0


def _refuse(options: EnergyOptions) -> None:
    """Hours of one's own say nothing to a published table, nor to a store."""
    given = {
        "--hours": options.hours,
        "--kwh": options.kwh,
        "--inference-kwh": options.inference_kwh,
        "--price": options.price,
    }
    if wrong := [name for name, value in given.items() if value is not None]:
        raise InputError(*(f"{name}: `lab energy {options.what}` takes none" for name in wrong))


def _own(options: EnergyOptions, factor: Carbon | None) -> int:
    """`lab energy --hours H --watts W`, or --kwh E."""
    from analysis.costs.energy import Footprint, check, check_pue, footprint, parity
    from analysis.costs.show import footprints_text

    check({"--hours": options.hours, "--kwh": options.kwh, "--price": options.price})
    pue = 1.0 if options.pue is None else options.pue
    check_pue(pue)
    if (options.kwh is None) == (options.hours is None):
        raise InputError("give --hours and --watts, or --kwh; or a table: " + ", ".join(TABLES))
    if options.kwh is not None:
        if options.watts:
            raise InputError("--watts: --kwh is what the devices drew already")
        found = [Footprint(options.kwh, pue, factor)]
    else:
        if len(options.watts) not in (1, 3) or list(options.watts) != sorted(options.watts):
            raise InputError("--watts: one number, or three that rise: low, middle and high")
        found = [footprint(options.hours, watts, pue, factor) for watts in options.watts]
    if options.price is not None and options.hours is None:
        raise InputError("--price: is of a device-hour; give --hours")
    money = None if options.price is None else options.hours * options.price
    middle = found[len(found) // 2]
    inferences = None
    if options.inference_kwh is not None:
        inferences = parity(middle.kwh, options.finetuning_kwh, options.inference_kwh)
    if options.json:
        names = ("low", "middle", "high") if len(found) == 3 else ("footprint",)
        said = {name: each.to_dict() for name, each in zip(names, found, strict=True)}
        return print_json({"hours": options.hours, **said, "parity": inferences, "money": money})
    print(footprints_text(found, inferences, money))
    return 0
