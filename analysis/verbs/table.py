"""The verb `lab table`: the runs of a store or file, as CSV, Parquet or JSON."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from analysis import files
from analysis.errors import InputError
from analysis.tables.files import by_column
from analysis.text import dumps, no_formula
from analysis.verbs.options import TableOptions, read_table


@dataclass(frozen=True)
class TableVerbOptions(TableOptions):
    """Print the table of runs: one row a run, or one row an ability score."""

    format: Literal["csv", "json", "parquet"] = "csv"
    """The format of the output; parquet needs --out."""
    abilities: bool = False
    """The ability scores, long, instead of the runs."""
    out: Path | None = None
    """A file to write to instead of stdout."""
    raw: bool = False
    """Texts as they are; else CSV has an apostrophe before those that a spreadsheet would compute (=...)."""
    json: bool = False
    """The same as --format json: {columns, rows}."""


def table(argv: list[str]) -> int:
    """`lab table DIR`."""
    options = tyro.cli(TableVerbOptions, args=argv, prog="lab table")
    runs = read_table(options)
    columns = by_column(list(runs.ability_rows)) if options.abilities else dict(runs.columns)
    form = "json" if options.json else options.format
    if form == "parquet":
        return _parquet(columns, options.out)
    values = {name: _cells(column) for name, column in columns.items()}
    rows = zip(*values.values(), strict=True)
    if form == "json":
        text = dumps({"columns": list(values), "rows": [dict(zip(values, row, strict=True)) for row in rows]})
        text += "\n"
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        plain = (lambda value: value) if options.raw else no_formula
        writer.writerow(map(plain, values))
        writer.writerows(["" if value is None else plain(value) for value in row] for row in rows)
        text = buffer.getvalue()
    if options.out is None:
        sys.stdout.write(text)
    else:
        files.write_text(_writable(options.out), text)
    return 0


def _parquet(columns: dict[str, Any], out: Path | None) -> int:
    if out is None:
        raise InputError("--format parquet is binary: name a file with --out")
    import pyarrow
    import pyarrow.parquet

    clean = {name: _cells(column) for name, column in columns.items()}
    with files.writing(_writable(out)) as file:
        pyarrow.parquet.write_table(pyarrow.table(clean), file)
    return 0


def _cells(column) -> list[Any]:
    """Values for people and files: None where missing, whole numbers without a point."""
    values = [None if value is None or value != value else value for value in column.tolist()]
    whole = all(isinstance(v, float) and abs(v) < 2**53 and v == int(v) for v in values if v is not None)
    return [v if v is None else int(v) for v in values] if whole and column.dtype.kind == "f" else values


def _writable(path: Path) -> Path:
    if not path.parent.is_dir():
        raise InputError(f"--out: {path.parent}: no such folder")
    return path
