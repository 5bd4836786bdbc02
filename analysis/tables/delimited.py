"""Text files of tables as raw cells: CSV, TSV, parted by semicolons, bars or spaces, as people save them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.columns import is_known
from analysis.tables.limits import ReadLimits
from analysis.tables.markup import side_by_side, split_errors
from analysis.tables.units import decimal_commas, number, pointed, thousands_alone

TURNED = "its runs stand side by side, a column each: turn it round, a row a run"
_PARTED = "\t;,|"
# Lines among which the heads are looked for: titles stand above them.
_BEFORE = 10


def read(
    path: Path, limits: ReadLimits, said: list[Note], tabs: bool = False
) -> tuple[list[str], list[list[str]]]:
    """(heads, rows of as many cells). tabs: they part the columns whatever else there is.

    Titles above the heads and rows without any value are left out. Raises InputError for what is no table of
    one row a run: no heads, two of one name, cells beyond the heads, runs side by side.
    """
    try:
        with limits.text(path, "utf-8-sig", newline="", errors="replace") as file:
            lines = _lines(file)
            first = [line for line in islice(lines, _BEFORE) if not _RULE.match(line)]
            own = re.match(r"sep=(.)\s*$", first[0], re.IGNORECASE) if first else None
            first = first[1:] if own else first
            above = _above(first)
            head = first[above] if first else ""
            delimiter = own[1] if own else "\t" if tabs else max(_PARTED, key=head.count)
            lines = chain(first[above:], lines)
            if delimiter not in head and len(head.split()) > 1:
                found = _spaced(head, (line.strip() for line in lines if line.strip()))
            else:
                lines = (line for line in lines if delimiter != "|" or not _RULE.match(line))
                found = (row for row in csv.reader(lines, delimiter=delimiter) if any(map(str.strip, row)))
            head = next(found, [])
            limits.check(path, 1, len(head))
            rows = list(limits.counted(path, found))
    except csv.Error as error:
        raise InputError(f"{path}: {error}") from None
    if not head:
        raise InputError(f"{path}: empty file")
    if above:
        title = " ".join(first[0].split())[:60].rstrip(delimiter)
        said.append(Note("title", f"{above} lines above the heads are not read: {title!r}"))
    limits.check(path, len(rows), len(head))
    if rows and all(len(row) == len(head) + 1 for row in rows) and _numbered([row[0] for row in rows]):
        head = ["row", *head]  # as R and pandas write the numbers of rows
    names = [name.strip() or f"column_{index}" for index, name in enumerate(head)]
    if rows and len(units := [cell.strip() for cell in rows[0]]) == len(names) and _are_units(units):
        names, rows = [f"{name} {unit}".strip() for name, unit in zip(names, units, strict=True)], rows[1:]
    _is_table(path, names, rows, said)
    if any(len(row) < len(names) for row in rows):
        rows = [row + [""] * (len(names) - len(row)) for row in rows]
    bare = [i for i, name in enumerate(head) if not name.strip() and not any(row[i].strip() for row in rows)]
    if bare and len(bare) < len(names):
        names = [name for i, name in enumerate(names) if i not in bare]
        rows = [[cell for i, cell in enumerate(row) if i not in bare] for row in rows]
    if decimal_commas(cell for row in rows for cell in row):
        # Between semicolons a comma is the point; elsewhere 1,234 alone is a thousand and more.
        single = None if delimiter == ";" else thousands_alone(cell for row in rows for cell in row)
        if single is None:
            rows = [[pointed(cell) for cell in row] for row in rows]
        else:
            value = f"{number(single):.0f}"
            said.append(Note("commas", f"{single!r} is read as {value}: its comma parts thousands"))
    split_errors(names, rows, said)
    return names, rows


# The lines between the rows of a table that is drawn with bars.
_RULE = re.compile(r"^[\s+|:=-]+$")


def _spaced(head: str, lines: Iterator[str]) -> Iterator[list[str]]:
    """Cells parted by spaces; by two or more where that gives the heads (`Val loss`) as many as the rows."""
    first = list(islice(lines, 1, _BEFORE))
    heads = re.split(r"\s{2,}", head.strip())
    counts = {len(line.split()) for line in first}
    wide = len(heads) > 1 and len(heads) < len(head.split())
    apart = wide and {len(re.split(r"\s{2,}", line)) for line in first} == {len(heads)} != counts
    yield heads if wide and (apart or counts == {len(heads)}) else head.split()
    for line in chain(first, lines):
        yield re.split(r"\s{2,}", line) if apart else line.split()


def _numbered(cells: list[str]) -> bool:
    return len(cells) > 1 and any(
        cells == [str(i) for i in range(start, start + len(cells))] for start in (0, 1)
    )


def _are_units(cells: list[str]) -> bool:
    """Whether a row says the units of the columns: (M), (B), (nats)."""
    said = [cell for cell in cells if cell]
    return len(said) > 1 and all(re.fullmatch(r"[\[(][^()\[\]]{1,20}[\])]", cell) for cell in said)


def _above(lines: list[str]) -> int:
    """How many lines of one cell stand above the heads, a line with two that are known."""
    for index, line in enumerate(lines):
        delimiter = max(_PARTED, key=line.count)
        if delimiter in line and sum(is_known(cell.strip(' "')) for cell in line.split(delimiter)) > 1:
            return index
        if len([cell for cell in line.split(delimiter) if cell.strip(' "\r\n')]) > 1:
            return 0
    return 0


def _is_table(path: Path, names: list[str], rows: list[list[str]], said: list[Note]) -> None:
    """InputError for what is no table of one row a run."""
    figures = [name for name in names if np.isfinite(number(name))]
    if len(names) > 1 and len(figures) == len(names):
        raise InputError(
            f"{path}: its first line is {', '.join(names[:4])}: a table begins with the names of its "
            "columns, as in params,tokens,loss"
        )
    if side_by_side(names, rows):
        raise InputError(f"{path}: {TURNED}")
    if repeated := sorted(name for name, times in Counter(names).items() if times > 1):
        raise InputError(*(f"{path}: the column {name!r} occurs twice; rename one" for name in repeated))
    if long := [index for index, row in enumerate(rows) if len(row) > len(names)]:
        counts = [
            f"{path}: row {index}: {len(rows[index])} values for {len(names)} columns" for index in long[:5]
        ]
        hint = f"{path}: a cell with a comma stands in quotes, 3,21 too; or part the columns by semicolons"
        raise InputError(*counts, *([hint] if any("," in cell for cell in names) or len(long) > 1 else []))
    if len(figures) > 2 and 2 * len(figures) > len(names):
        text = (
            f"{len(figures)} of its heads are numbers, {', '.join(figures[:3])}, ...: where each cell is a "
            "loss, write a row a run instead: params, tokens, loss"
        )
        said.append(Note("numeric_heads", text))


def _lines(file) -> Iterator[str]:
    """The lines of a table: not the empty ones, nor comments before it, of which the last may be its head."""
    comment = ""
    for line in file:
        if not line.strip():
            continue
        if line.startswith("#"):
            comment = line.lstrip("# ")
            continue
        if comment and all(np.isfinite(number(cell)) for cell in re.split(r"[\s,;]+", line.strip())):
            yield comment
        yield line
        break
    yield from file
