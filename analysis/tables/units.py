"""Numbers as people write them (70M, 1.4 billion, 6x10^18), and units in names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

# Characters of a cell or a name that patterns are held against: their time grows with a power of it.
_LONGEST = 100
_SCALE = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21, "y": 1e24}
_WORDS = {"thousand": 1e3, "million": 1e6, "mln": 1e6, "billion": 1e9, "bn": 1e9, "trillion": 1e12}
_NUMBER = re.compile(
    r"^\s*~?([+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\s*[x*\u00d7\u00b7]\s*10\s*(?:\^|\*\*)\s*([+-]?\d+))?"
    r"\s*([kKmMbBgGtT]|thousand|million|mln|billion|bn|trillion)?"
    r"\s*(?:params?|parameters|tokens?|toks?|flops?)?\s*$",
    re.IGNORECASE,
)
_POWER = re.compile(
    r"^\s*(10|2|e)\s*(?:\^|\*\*)\s*([+-]?\d+(?:\.\d+)?)\s*(?:flops?|tokens?)?\s*$", re.IGNORECASE
)
# 1 000 000, 1'000'000 and 12,34,567, as people part thousands elsewhere.
_SPACED = re.compile(r"^[+-]?(?:\d{1,3}(?:[ \u00a0\u202f'\u2019]\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})(?:\.\d+)?$")
_UNIT = re.compile(
    r"^(.*[^\s_(\[,])[\s_,]*(?:[\s_(\[,])\s*(?:in\s+)?(k|m|b|g|t|thousands?|millions?|mln|billions?|bn|trillions?|1e\d+)"
    r"(?:\s*(?:params?|parameters|tokens?))?\s*[)\]]?$",
    re.IGNORECASE,
)
_FLOPS = re.compile(r"^(kilo|mega|giga|tera|peta|exa|zetta|yotta|[kmgtpezy])(flops?)$")
_DAYS = re.compile(r"^(.*?)(?:pf|petaflops?|pflops?)(?:s|per)?days?$")
# Names that say compute without the word FLOPs: `Compute (PF-days)` is compute, `train_PF_days` are FLOPs.
_COMPUTE = re.compile(r"compute$|budget$|flops?$")
# Numbers with one comma, which parts thousands or is the point.
_COMMA = re.compile(r"^\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*$")
_THOUSANDS = re.compile(r"^\s*[+-]?[1-9]\d{0,2},\d{3}\s*$")
# 7,5M; 1,200M has a comma that may part thousands.
_COMMA_UNIT = re.compile(
    r"^\s*[+-]?\d+,(?:\d{1,2}|\d{4,})\s*(?:[kmbgt]|million|billion|trillion|bn)\s*$", re.IGNORECASE
)
# Numbers whose points part thousands, with the comma that is their point.
_DOTTED = re.compile(r"^\s*[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?\s*$")
PF_DAY = 1e15 * 86400


def numbers(values: np.ndarray) -> np.ndarray:
    """float64 of a column, NaN where a value is no number; `70M`, `1.4 billion`, `3x10^18`, `1,000` are."""
    values = np.asarray(values)
    if values.dtype.kind in "fiub":
        return values.astype(float)
    try:
        return values.astype(float)
    except (TypeError, ValueError, OverflowError):
        return np.array([number(value) for value in values.tolist()], float)


def number(value: Any) -> float:
    """NaN for what is no number, infinity for what is larger than any float."""
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    if not isinstance(value, str) or len(value := value.strip()) > _LONGEST:
        return float("nan")
    if power := _POWER.match(value):
        return _power(float(power[2]), {"10": 10.0, "2": 2.0}.get(power[1], np.e))
    if value.endswith("%"):
        return number(value[:-1]) / 100
    if _SPACED.match(value):
        value = re.sub(r"[ \u00a0\u202f'\u2019,]", "", value)
    match = _NUMBER.match(value)
    if match is None:
        return float("nan")
    unit = (match[3] or "").lower()
    scale = _SCALE.get(unit) or _WORDS.get(unit) or 1.0
    return float(match[1].replace(",", "").replace("_", "")) * _power(int(match[2] or 0)) * scale


def _power(exponent: float, base: float = 10.0) -> float:
    try:
        return base**exponent
    except OverflowError:
        return float("inf")


def labelled(values: Iterable[Any]) -> tuple[list[str], np.ndarray]:
    """The distinct values as texts, sorted, and for each value the number of its own (n,).

    As np.unique does it, whose texts are all as wide as the longest: one of 100 kB costs that on every row.
    """
    texts = [str(value) for value in values]
    labels = sorted(set(texts))
    numbered = {label: index for index, label in enumerate(labels)}
    return labels, np.array([numbered[text] for text in texts], int)


def thousands_alone(cells: Iterable[str]) -> str | None:
    """The first cell with a comma where each of them could as well part thousands; None where one cannot."""
    commas = [
        cell for cell in cells if len(cell) <= _LONGEST and (_COMMA.match(cell) or _COMMA_UNIT.match(cell))
    ]
    return commas[0] if commas and all(map(_THOUSANDS.match, commas)) else None


def decimal_commas(cells: Iterable[str]) -> bool:
    """Whether these cells of a file write 3,21 for 3.21, as many languages do."""
    cells = [cell for cell in cells if cell and len(cell) <= _LONGEST]
    dotted = [cell for cell in cells if _DOTTED.match(cell)]
    of_numbers = [cell for cell in cells if _NUMBER.match(cell) or _COMMA.match(cell)]
    if any(cell.count(",") > 1 or ("." in cell and not _DOTTED.match(cell)) for cell in of_numbers):
        return False
    commas = [cell for cell in cells if _COMMA.match(cell)]
    if not dotted:
        return bool(commas)
    if not commas:  # 4.260 is a loss of three digits, 1.234.567 is none
        return any(cell.count(".") > 1 for cell in dotted)
    # 1.234 beside 2,345 could be either; 1.234.567, 1.234,5 and 3,21 leave no doubt.
    return any("," in cell or cell.count(".") > 1 for cell in dotted) or not all(
        map(_THOUSANDS.match, commas or [""])
    )


def pointed(cell: str) -> str:
    """3,21 as 3.21 and 1.234.567,8 as 1234567.8; anything else as it is."""
    if len(cell) > _LONGEST or not any(one.match(cell) for one in (_COMMA, _DOTTED, _COMMA_UNIT)):
        return cell
    return cell.replace(".", "").replace(",", ".")


def unit_of(name: str) -> tuple[str, float]:
    """(the name without its unit, the unit, 1 where the name states none).

    `Params (M)` is ("Params", 1e6), `total_gflops` is ("totalflops", 1e9).
    """
    if len(name) > _LONGEST:
        return name, 1.0
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if days := _DAYS.match(plain):
        return days[1] if _COMPUTE.search(days[1]) else f"{days[1]}flops", PF_DAY
    # The prefix begins a word: `compute_flops` are no exaflops.
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", name) if word]
    for count in (1, 2):
        if flops := _FLOPS.match("".join(words[-count:])):
            stem = "".join(words[:-count])
            return stem if _COMPUTE.search(stem) else f"{stem}{flops[2]}", _SCALE[flops[1][0]]
    if match := _UNIT.match(name):
        unit = match[2].lower()
        scale = _SCALE.get(unit) or _WORDS.get(unit.rstrip("s"))
        return match[1].rstrip(" _([,"), scale or float(unit)
    return name, 1.0
