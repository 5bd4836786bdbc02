"""gCO2eq of a kWh of electricity by country: a dated table, from which nothing is ever fetched anew."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

from analysis.errors import InputError

SOURCE = "Ember and Energy Institute, by Our World in Data"
# Life-cycle intensity of the electricity that a country makes: two letters -> (name, g, year).
COUNTRIES = {
    "AE": ("United Arab Emirates", 561, 2022),
    "AT": ("Austria", 111, 2023),
    "AU": ("Australia", 549, 2023),
    "BE": ("Belgium", 138, 2023),
    "BR": ("Brazil", 98, 2023),
    "CA": ("Canada", 170, 2023),
    "CH": ("Switzerland", 35, 2023),
    "CL": ("Chile", 291, 2023),
    "CN": ("China", 582, 2023),
    "CZ": ("Czechia", 450, 2023),
    "DE": ("Germany", 381, 2023),
    "DK": ("Denmark", 152, 2023),
    "ES": ("Spain", 174, 2023),
    "FI": ("Finland", 79, 2023),
    "FR": ("France", 56, 2023),
    "GB": ("United Kingdom", 238, 2023),
    "GR": ("Greece", 337, 2023),
    "ID": ("Indonesia", 676, 2022),
    "IE": ("Ireland", 291, 2023),
    "IL": ("Israel", 583, 2022),
    "IN": ("India", 713, 2023),
    "IS": ("Iceland", 28, 2022),
    "IT": ("Italy", 331, 2023),
    "JP": ("Japan", 485, 2023),
    "KR": ("South Korea", 431, 2023),
    "MX": ("Mexico", 507, 2023),
    "NL": ("Netherlands", 268, 2023),
    "NO": ("Norway", 30, 2023),
    "NZ": ("New Zealand", 113, 2023),
    "PL": ("Poland", 662, 2023),
    "PT": ("Portugal", 166, 2023),
    "SA": ("Saudi Arabia", 707, 2022),
    "SE": ("Sweden", 41, 2023),
    "SG": ("Singapore", 471, 2023),
    "TR": ("Turkey", 465, 2023),
    "TW": ("Taiwan", 642, 2023),
    "UA": ("Ukraine", 260, 2022),
    "US": ("United States", 369, 2023),
    "VN": ("Vietnam", 475, 2023),
    "ZA": ("South Africa", 708, 2023),
}


@dataclass(frozen=True)
class Carbon:
    """grams: CO2 equivalents of a kWh. source: who says so, of which year."""

    grams: float
    source: str


def carbon(given: str | float) -> Carbon:
    """What a kWh emits, by country (FR, or its name) or as a number of grams.

    Raises InputError for a country that the table lacks, and for what is no number of grams: one between 0
    and 1 is of kilograms, as papers write it.
    """
    text = str(given).strip()
    try:
        grams = float(text)
    except ValueError:
        return _of_country(text)
    if not math.isfinite(grams) or grams < 0:
        raise InputError(f"--carbon: {text} is not a number of grams of CO2eq a kWh")
    if 0 < grams < 1:
        raise InputError(f"--carbon: grams are meant; {text} kg a kWh is {1000 * grams:g}")
    return Carbon(grams, "as given")


def _of_country(text: str) -> Carbon:
    names = {name.lower(): code for code, (name, _, _) in COUNTRIES.items()}
    code = text.upper() if text.upper() in COUNTRIES else names.get(text.lower())
    if code is None:
        close = difflib.get_close_matches(text.lower(), names, n=1)
        hint = f"did you mean {names[close[0]]}" if close else "`lab energy countries` lists them"
        raise InputError(f"--carbon: no country {text[:40]!r}; {hint}, or give a number of grams a kWh")
    name, grams, year = COUNTRIES[code]
    return Carbon(float(grams), f"{name} {year}, {SOURCE}")
