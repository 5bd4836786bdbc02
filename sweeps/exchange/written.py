"""Rows as a CSV or Parquet table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.errors import InputError
from lab.files import writing

_SCORES = ("task", "metric", "score", "stderr", "correct", "items", "chance", "shots")
_FIRST = ("name", "model", "params", "tokens", "flops", "loss", "seed", "status", *_SCORES)


def write(rows: list[dict], out: Path, plain: Callable[[Any], Any] = lambda value: value) -> list[str]:
    """A CSV or Parquet table; columns that people read first come first. Returns their names.

    plain: what becomes of a text in a CSV, so that no spreadsheet computes it.

    Raises:
        InputError: for another format, or no rows.
    """
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"--out {out}: should end in .csv or .parquet")
    if not rows:
        raise InputError(f"--out {out}: nothing to write, the files hold no rows")
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [n for n in _FIRST if n in names] + [n for n in names if n not in _FIRST]
    columns = {name: [clean(row.get(name)) for row in rows] for name in names}
    if out.suffix.lower() == ".csv":
        with writing(out) as binary:
            file = io.TextIOWrapper(binary, "utf-8", newline="")
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(map(plain, names))
            writer.writerows(map(plain, row) for row in zip(*columns.values(), strict=True))
            file.detach()  # flushed, and left open
        return names
    import pyarrow
    import pyarrow.parquet

    for name, values in columns.items():
        if len({type(v) for v in values if v is not None and not isinstance(v, int | float)}) > 0:
            columns[name] = [None if v is None else str(v) for v in values]
    with writing(out) as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return names


def clean(value):
    """Plain Python values; what is missing is missing."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and math.isnan(value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
