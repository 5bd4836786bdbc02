"""Files of tables as raw columns: CSV, TSV, text parted by spaces, Parquet, JSON, Markdown and HTML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables import delimited
from analysis.tables.columns import is_known
from analysis.tables.limits import DEPTH, LIMITS, ReadLimits, deeper
from analysis.tables.markup import LARGEST, of_html, of_markdown, one_of, side_by_side
from analysis.tables.units import numbers

# Identifiers such as 12e4567890ab read as numbers; these columns never are.
_TEXT = "run_id study grid status trunk source device energy_source git_commit pack name cluster"
TEXT = frozenset(_TEXT.split())


_SHEET = "; a spreadsheet: save it as CSV"
# What else tables are kept in, by suffix, and what to do with it.
UNREAD = dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), _SHEET) | dict.fromkeys(
    (".yaml", ".yml", ".toml", ".pkl", ".npz", ".npy", ".feather", ".h5", ".tex"),
    "; save it as CSV, JSON or Markdown",
)


def tidy(values: Sequence[Any], name: str) -> np.ndarray:
    """An array of a column's values: float64 if all are numbers or missing, bool if all are, else objects."""
    kinds = {type(value) for value in values}
    if kinds & {dict, list} and any(map(deeper, values)):
        raise InputError(f"column {name!r}: lists or objects in more than {DEPTH} others")
    if name not in TEXT:
        if kinds == {bool}:
            return np.array(values, bool)
        if kinds <= {int, float, type(None)} and kinds & {int, float}:
            return numbers(values)
        if kinds == {str}:
            try:
                return np.array([float(value) if value else np.nan for value in values])
            except ValueError:
                pass
    array = np.empty(len(values), object)
    array[:] = values
    return array


def columns_of(
    path: Path, limits: ReadLimits = LIMITS, said: list[Note] | None = None
) -> dict[str, np.ndarray]:
    """name -> (rows,) of a file. said: gets what was chosen or left out.

    InputError for what cannot be read or is too large, and for no rows.
    """
    said = [] if said is None else said
    readers: dict[str, Callable[[Path, ReadLimits, list[Note]], dict[str, np.ndarray]]] = {
        ".csv": _csv,
        ".tsv": _csv,
        ".txt": _csv,
        ".parquet": _parquet,
        ".json": _json,
        ".jsonl": _json,
        ".md": _marked,
        ".markdown": _marked,
        ".html": _marked,
        ".htm": _marked,
    }
    reader = readers.get(_suffix(path))
    if reader is None:
        raise InputError(
            f"{path}: unknown format {path.suffix!r}; one of {', '.join(readers)}, or a store folder"
            f"{UNREAD.get(_suffix(path), '; logs are read by `lab import`')}"
        )
    try:
        raw = reader(path, limits, said)
    except InputError as error:
        raise InputError(*(p if str(path) in p else f"{path}: {p}" for p in error.problems)) from None
    if not raw or not len(next(iter(raw.values()))):
        raise InputError(f"{path}: no rows")
    return raw


def _suffix(path: Path) -> str:
    """The format's, also of runs.csv.gz."""
    return Path(path.stem if path.suffix.lower() == ".gz" else path).suffix.lower()


def _csv(path: Path, limits: ReadLimits, said: list[Note]) -> dict[str, np.ndarray]:
    names, rows = delimited.read(path, limits, said, tabs=_suffix(path) == ".tsv")
    return {name: tidy(values, name) for name, values in zip(names, zip(*rows, strict=True), strict=False)}


def _parquet(path: Path, limits: ReadLimits, said: list[Note]) -> dict[str, np.ndarray]:
    data = limits.parquet(path)
    return {name: tidy(data[name].to_pylist(), name) for name in data.column_names}


def _json(path: Path, limits: ReadLimits, said: list[Note]) -> dict[str, np.ndarray]:
    try:
        with limits.text(path) as file:
            text = file.read()
        lines = [line for line in text.splitlines() if line.strip()]
        by_line = _suffix(path) == ".jsonl" or (len(lines) > 1 and _objects(lines[:2]))
        data = _each(path, lines, said, whole=text.endswith("\n")) if by_line else json.loads(text)
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{path}: lists or objects in more than {DEPTH} others") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    rows = data.get("rows") if isinstance(data, dict) else data
    if isinstance(data, dict) and rows is None:
        rows = _oriented(data)
    if isinstance(data, dict) and rows is None:
        lists = [value for value in data.values() if isinstance(value, list) and value]
        objects = [value for value in lists if all(isinstance(row, dict) for row in value)]
        rows = objects[0] if len(objects) == 1 else None
    if isinstance(data, dict) and rows is None:
        rows = _nested(data, said)
    if isinstance(data, dict) and rows is None and all(isinstance(values, list) for values in data.values()):
        if len({len(values) for values in data.values()}) > 1:
            raise InputError(f"{path}: its columns differ in length")
        limits.check(path, max(map(len, data.values()), default=0), len(data))
        return {name: tidy(values, name) for name, values in data.items()}
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(
            f"{path}: a table is {{columns, rows: [{{...}}]}}, a list of objects, or lists by column; "
            f"logs and results of single runs are read by `lab import`"
        )
    limits.check(path, len(rows), 1)
    return by_column(rows, lambda columns: limits.check(path, len(rows), columns))


def _marked(path: Path, limits: ReadLimits, said: list[Note]) -> dict[str, np.ndarray]:
    """A table of a Markdown or HTML file."""
    with limits.text(path, errors="replace") as file:
        text = file.read()
    if len(text) > LARGEST:
        raise InputError(f"{path}: more than {LARGEST:,} characters of Markdown or HTML; cut its table out")
    tables = list((of_html if _suffix(path) in (".html", ".htm") else of_markdown)(text))
    found = one_of(tables, is_known, said)
    if found is None:
        raise InputError(f"{path}: holds no table")
    head, rows = found
    if side_by_side(head, rows):
        raise InputError(f"{path}: {delimited.TURNED}")
    limits.check(path, len(rows), len(head))
    names = [name or f"column_{index}" for index, name in enumerate(head)]
    if repeated := sorted(name for name, times in Counter(names).items() if times > 1):
        raise InputError(*(f"{path}: the column {name!r} occurs twice" for name in repeated))
    return {name: tidy(values, name) for name, values in zip(names, zip(*rows, strict=True), strict=False)}


def _nested(data: Mapping[str, Any], said: list[Note]) -> list[dict[str, Any]] | None:
    """Rows that lie deeper: the one list of objects in it, or objects by names in one another."""
    lists = list(_lists(data, "", 0))
    if len(lists) == 1 and lists[0][1]:
        said.append(
            Note("nested", f"the rows are those of {lists[0][0]!r}; what stands beside it is not read")
        )
        return lists[0][1]
    leaves = list(_leaves(data, (), 0))
    depths = {len(path) for path, _ in leaves}
    series = any(isinstance(value, list) for _, leaf in leaves for value in leaf.values())
    if lists or len(leaves) < 2 or len(depths) != 1 or (depths == {1} and not series):
        return None
    levels = [f"level_{i + 1}" for i in range(depths.pop())]
    rows = []
    for path, leaf in leaves:
        lengths = {len(value) for value in leaf.values() if isinstance(value, list)}
        if len(lengths) > 1:
            return None
        for index in range(lengths.pop() if lengths else 1):
            row = {key: value[index] if isinstance(value, list) else value for key, value in leaf.items()}
            rows.append(dict(zip(levels, path, strict=True)) | row)
    said.append(Note("levels", f"names that lie in one another are columns: {', '.join(levels)}"))
    if series:
        said.append(Note("series", "lists of one length in an object are a row for each place in them"))
    return rows


def _lists(data: Any, path: str, depth: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(path, list) of every list of two objects or more."""
    if depth > DEPTH or not isinstance(data, Mapping):
        return
    for key, value in data.items():
        if isinstance(value, list) and len(value) > 1 and all(isinstance(one, dict) for one in value):
            yield f"{path}{key}", value
        else:
            yield from _lists(value, f"{path}{key}.", depth + 1)


def _leaves(data: Mapping[str, Any], path: tuple[str, ...], depth: int):
    """(names, object) of the innermost objects; a number alone is an object of a value."""
    if depth > DEPTH or not data:
        return
    inner = [value for value in data.values() if isinstance(value, Mapping)]
    if len(inner) == len(data):
        for key, value in data.items():
            yield from _leaves(value, (*path, str(key)), depth + 1)
        return
    flat = not inner and not any(
        isinstance(one, Mapping | list) for value in data.values() if isinstance(value, list) for one in value
    )
    # What is no leaf has a depth of its own, so that the whole is no table.
    yield (path, dict(data)) if flat and path else (("",) * (DEPTH + 1 + depth), {})


def _each(path: Path, lines: Sequence[str], said: list[Note], whole: bool) -> list[Any]:
    """The value of each line; a last one that was torn off in writing is left out. InputError for others.

    whole: the last line ends as a written line does.
    """
    found = []
    for index, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            if found and index == len(lines) and not whole:
                said.append(Note("torn", f"line {index}, the last, is torn off and left out: {line[:40]!r}"))
                break
            raise InputError(f"{path}: line {index}: {error.msg} at column {error.colno}") from None
    return found


def _objects(lines: Sequence[str]) -> bool:
    """Whether each line is a JSON object of its own, whatever the file is called."""
    try:
        return all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        return False


def _oriented(data: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of what pandas writes ({column: {index: value}}, {columns, data}) and of named objects."""
    head, body = data.get("columns"), data.get("data")
    if isinstance(head, list) and isinstance(body, list) and all(isinstance(row, list) for row in body):
        return [dict(zip(map(str, head), row, strict=False)) for row in body]
    if not data or not all(isinstance(value, dict) and value for value in data.values()):
        return None
    first = next(iter(data.values()))
    if all(key.isdigit() for key in first) and len({tuple(value) for value in data.values()}) == 1:
        return [{name: values[key] for name, values in data.items()} for key in first]
    if all(isinstance(value, dict) for value in first.values()):
        # {run: {config: {...}, metrics: {...}}}: what is inside a run differs, and is the same in every run.
        parts = [set(value) for value in first.values()]
        alike = len({tuple(map(frozenset, row.values())) for row in data.values() if _deep(row)}) == 1
        if len(parts) < 2 or set.intersection(*parts) or not alike or not all(map(_deep, data.values())):
            return None
        return [{"name": name, **row} for name, row in data.items()] if len(data) > 1 else None
    shared = set(first).intersection(*data.values())
    return [{"name": name, **row} for name, row in data.items()] if shared and len(data) > 1 else None


def _deep(row: Mapping[str, Any]) -> bool:
    return all(isinstance(value, dict) for value in row.values())


def by_column(
    rows: Sequence[Mapping[str, Any]], check: Callable[[int], None] = lambda columns: None
) -> dict[str, np.ndarray]:
    """Columns of a list of rows; a key that a row lacks is missing there. Nested keys are joined: a.b.

    check: told the number of columns before they are made.
    """
    if any(isinstance(value, Mapping) for value in (rows[0].values() if rows else ())):
        rows = [_flat(row) for row in rows]
    shapes = dict.fromkeys(tuple(row) for row in rows)  # few, however many rows there are
    names = list(dict.fromkeys(name for shape in shapes for name in shape))
    check(len(names))
    if all(len(shape) == len(names) for shape in shapes):
        return {name: tidy([row[name] for row in rows], name) for name in names}
    return {name: tidy([row.get(name) for row in rows], name) for name in names}


def _flat(row: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    if depth > DEPTH:
        raise InputError(f"column {prefix[:40]!r}...: objects in more than {DEPTH} others")
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{name}.", depth + 1)
        else:
            out[f"{prefix}{name}"] = value
    return out
