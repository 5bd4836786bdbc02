"""`lab import`: tables and logs of other tools as one table that `lab fit` takes.

Formats: csv, tsv, parquet, json and jsonl tables (a runs table exported from Weights & Biases is a CSV of
this kind, with a row a run); offline runs of Weights & Biases; training logs of nanoGPT and nanochat.
"""

import csv
import io
import json
import math
from pathlib import Path
from typing import Annotated, Literal

import tyro

from analysis.tables.limits import LIMITS, ReadLimits
from analysis.text import no_formula
from analysis.verbs.options import Reading
from lab.errors import InputError
from lab.files import writing
from lab.strict import nearest
from sweeps.exchange import training_logs, wandb_files

Format = Literal["auto", "table", "wandb", "nanogpt", "nanochat"]
ROLES = ("params", "tokens", "flops", "loss", "seed", "status", "held_out", "unique_tokens", "name")
_FIRST = ("name", "params", "tokens", "flops", "loss", "seed", "status")
_TABLES = (".csv", ".tsv", ".parquet", ".json", ".jsonl")


def import_(argv: list[str]) -> int:
    def command(
        files: tyro.conf.Positional[tuple[Path, ...]],
        out: Path,
        format: Format = "auto",
        columns: str = "",
        params: float | None = None,
        tokens_per_step: float | None = None,
        all_evaluations: bool = False,
        raw: bool = False,
        limits: Reading = LIMITS,
        as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    ) -> int:
        """Bring tables and training logs of other tools into one table, a row a run.

        Args:
            files: tables, logs, or folders of offline wandb runs; several are put one below the other.
            out: the table to write: .csv or .parquet.
            format: what the files are; auto looks at them.
            columns: which columns are what: params=N,tokens=D,loss=val/loss; others keep their names.
            params: parameters of the run, where its log does not say.
            tokens_per_step: tokens of a step, where the log does not say.
            all_evaluations: a row for each evaluation instead of the last one; only right where the rate did
                not decay: a loss in mid-schedule is not that of a run of that many tokens (2203.15556).
            raw: texts as they are; else a CSV has an apostrophe before those a spreadsheet would compute.
            as_json: print one JSON object.
        """
        if not files:
            raise InputError("files: name a table or a log to import")
        rows: list[dict] = []
        problems: list[str] = []
        for path in files:
            try:
                rows += read(path, format, params, tokens_per_step, all_evaluations, limits)
            except InputError as error:
                problems += error.problems
        if not problems:
            rows, problems = mapped(rows, _map(columns), files[0])
        if problems:
            raise InputError(*problems)
        names = write(rows, out, raw)
        told = {"out": str(out), "rows": len(rows), "columns": names, "next": f"lab fit {out}"}
        print(json.dumps(told) if as_json else f"{len(rows)} rows in {out}; to fit a law: lab fit {out}")
        return 0

    return tyro.cli(command, args=argv, prog="lab import")


def _map(text: str) -> dict[str, str]:
    """`params=N,loss=val/loss` as role -> column."""
    found, problems = {}, []
    for part in filter(None, (part.strip() for part in text.split(","))):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column:
            problems.append(f"--columns: {part!r} is not name=column, as in params=N")
        elif role not in ROLES:
            problems.append(f"--columns: no such role {role!r}; {nearest(role, ROLES)}")
        elif role in found:
            problems.append(f"--columns: {role!r} is given twice")
        else:
            found[role] = column
    if problems:
        raise InputError(*problems)
    return found


def read(
    path: Path, format: Format, params=None, tokens_per_step=None, every=False, limits: ReadLimits = LIMITS
) -> list[dict]:
    """Rows of one file, under the names that it has.

    Raises:
        InputError: for files that are not of the format, or larger than the limits.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    text = None if path.is_dir() or path.suffix.lower() in (*_TABLES, ".wandb") else _text(path, limits)
    kind = guess(path, text) if format == "auto" else format
    if kind == "wandb":
        return wandb_files.read(path, limits.max_bytes)
    if kind == "table":
        return _table(path, limits)
    given = training_logs.Given(params, tokens_per_step)
    return training_logs.read(path, text if text is not None else _text(path, limits), kind, given, every)


def _text(path: Path, limits: ReadLimits) -> str:
    try:
        return limits.text(path, errors="replace").read()
    except ValueError as error:
        raise InputError(*getattr(error, "problems", [f"{path}: {error}"])) from None


def guess(path: Path, text: str | None) -> Format:
    """What a file is, by its name and what it says."""
    if path.is_dir() or path.suffix == ".wandb":
        return "wandb"
    if path.suffix.lower() in _TABLES:
        return "table"
    kind = training_logs.guess(text or "")
    if kind is None:
        raise InputError(f"{path}: is neither a table ({', '.join(_TABLES)}) nor a known log; give --format")
    return kind


def _table(path: Path, limits: ReadLimits) -> list[dict]:
    # the reader of the analysis: what it takes, `lab fit` takes
    from analysis import read as read_table

    try:
        frame = read_table(path, {}, limits).columns
    except ValueError as error:
        if not hasattr(error, "problems"):
            raise
        ambiguous = [p for p in error.problems if "could both be" in p]
        if len(ambiguous) < len(error.problems):
            raise InputError(*error.problems) from None
        frame = _plain(path, limits)
    names = list(frame)
    values = zip(*(list(frame[name]) for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


def _plain(path: Path, limits: ReadLimits):
    """The columns as they stand, where their roles are in doubt: --columns decides."""
    from analysis.tables.files import columns_of

    return columns_of(path, limits)


def mapped(rows: list[dict], roles: dict[str, str], path: Path) -> tuple[list[dict], list[str]]:
    """Rows with the mapped columns under their roles, and what is wrong with the map."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    problems = [
        f"{path}: --columns {role}={column}: no column {column!r}; {nearest(column, names)}"
        for role, column in roles.items()
        if column not in names
    ]
    if problems:
        return [], problems
    taken = set(roles.values())
    found = []
    for row in rows:
        new = {role: row.get(column) for role, column in roles.items()}
        # a column of that name that was not chosen would be taken for the role
        new |= {(f"{k}_original" if k in roles else k): v for k, v in row.items() if k not in taken}
        found.append(new)
    return found, []


def write(rows: list[dict], out: Path, raw: bool = False) -> list[str]:
    """A CSV or Parquet table; columns that people read first come first. Returns their names.

    Raises:
        InputError: for another format, or no rows.
    """
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"--out {out}: should end in .csv or .parquet")
    if not rows:
        raise InputError(f"--out {out}: nothing to write, the files hold no rows")
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [n for n in _FIRST if n in names] + [n for n in names if n not in _FIRST]
    columns = {name: [_clean(row.get(name)) for row in rows] for name in names}
    if out.suffix.lower() == ".csv":
        with writing(out) as binary:
            file = io.TextIOWrapper(binary, "utf-8", newline="")
            writer = csv.writer(file, lineterminator="\n")
            plain = (lambda value: value) if raw else no_formula
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


def _clean(value):
    """Plain Python values; what is missing is missing."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and math.isnan(value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
