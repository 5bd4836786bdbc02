"""What a foreign file is, by its name and what it says; and logs of single runs as rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from lab.errors import InputError
from sweeps.exchange import charts, evaluations, line_logs, run_logs, training_logs
from sweeps.exchange.found import Found, Remark, loaded, size_in
from sweeps.exchange.written import clean

Format = Literal[
    "auto", "table", "wandb", "chart", "tensorboard", "log", "scores",
    "nanogpt", "nanochat", "llmc", "modded",
]  # fmt: skip
_TABLES = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".md", ".markdown", ".html", ".htm", ".txt")


# Gives the columns of a table that is read only where its kind depends on them.
Columns = Callable[[], Mapping[str, Any]]


def guess(path: Path, suffix: str, text: str | None, columns: Columns) -> Format:
    """What a file is, by its name and what it says.

    suffix: of the name, without that of a compression. text: what the file holds, None where it is no text.
    columns: reads it as a table; called only where the heads alone do not tell.

    Raises:
        InputError: for a file that no reader takes.
    """
    text = text or ""
    if suffix == ".csv":
        head = text.lstrip("\ufeff").split("\n", 1)[0]
        if charts.is_chart(head):
            return "chart"
        return "log" if _maybe_steps(head) and run_logs.is_steps(steps_of(path, columns)) else "table"
    if suffix == ".jsonl":
        first = run_logs.lines_of(text[: 1 << 16]) or []
        if first and (evaluations.is_samples(first[0]) or evaluations.is_results(first[0])):
            return "scores"
        return "log" if run_logs.is_steps(first) else "table"
    if suffix == ".json" and text.lstrip()[:1] in ("{", "["):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return "table"  # whose reader says what is wrong
        if evaluations.is_results(data):
            return "scores"
        logs = data if isinstance(data, list) else [data]
        if logs and all(map(run_logs.is_log, logs)):
            return "log"
        if _scalars(data) or _by_run(data) or run_logs.is_result(data):
            return "log"
        return "log" if isinstance(data, list) and run_logs.is_steps(data) else "table"
    if suffix in _TABLES and suffix != ".txt":
        return "table"
    kind = training_logs.guess(text)
    if kind is None and is_text_log(text):
        return "log"
    if kind is None and suffix == ".txt":
        return "table"
    if kind is None:
        raise InputError(
            f"{path}: is neither a table ({', '.join(_TABLES)}) nor a log whose lines say a step and a loss "
            "(step=100 loss=3.2); --format says what else it is"
        )
    return kind


def is_text_log(text: str) -> bool:
    """Whether a text is a log that is known here."""
    return training_logs.guess(text) is not None or line_logs.entries(text) is not None


_SERIES = re.compile(r"^run-(?P<run>.+)-tag-(?P<tag>.+)$")


def _maybe_steps(head: str) -> bool:
    """Whether the heads of a CSV could be those of the steps of one run, as loggers write them."""
    names = [name.strip(' "\r') for name in re.split("[,;\t]", head)]
    return names == _SCALARS or (any(map(run_logs.is_step, names)) and any(map(run_logs.is_loss, names)))


# The heads of a series that TensorBoard exports; as JSON it is lists of these three.
_SCALARS = ["Wall time", "Step", "Value"]


def _scalars(data: Any) -> bool:
    return (
        isinstance(data, list)
        and len(data) > 1
        and all(isinstance(one, list) and len(one) == 3 for one in data)
        and all(isinstance(value, int | float) for one in data for value in one)
        # the first are times of one run, in seconds since 1970: no params, which would differ more
        and all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(data))
        and 9e8 < data[0][0] <= data[-1][0] < 1.1 * data[0][0]
    )


# Series of one run, not runs.
_PART = re.compile(
    r"(train|val|valid|eval|test)(ing|idation|uation)?$|lr$|learning_rate$|grad", re.IGNORECASE
)


def _by_run(data: Any) -> list[dict[str, Any]]:
    """The logs in {run: [[step, loss], ...]}, and in {size: [loss, ...]}."""
    if not isinstance(data, Mapping) or not data or not all(isinstance(v, list) and v for v in data.values()):
        return []
    paired = all(len(one) > 1 and run_logs.is_pairs(one) for one in data.values())
    sized = all(size_in(str(name)) and run_logs.is_figures(one) for name, one in data.items())
    known = any(
        run_logs.is_loss(name) or run_logs.is_step(str(name)) or _PART.match(str(name)[:99]) for name in data
    )
    return [] if known or not (paired or sized) else [{"name": k, "losses": v} for k, v in data.items()]


def steps_of(path: Path, columns: Columns) -> list[dict[str, Any]]:
    """The rows of a CSV of steps, or of a series that TensorBoard exports, without empty cells."""
    found = {name: list(values) for name, values in columns().items()}
    if list(found) == _SCALARS:
        match = _SERIES.match(path.name.rsplit(".", 1)[0])
        tag = match["tag"] if match else "loss"
        if not run_logs.is_loss(tag):
            raise InputError(f"{path}: is the series {tag!r} of TensorBoard and no loss: export the loss's")
        found = {"step": found["Step"], tag: found["Value"]}
    rows = zip(*found.values(), strict=True)
    return [
        {name: clean(value) for name, value in zip(found, row, strict=True) if value == value and value != ""}
        for row in rows
    ]


def read_log(
    path: Path, suffix: str, text: str, given: training_logs.Given, every: bool, columns: Columns
) -> Found:
    """The log of one run, whatever writes it. Raises InputError."""
    if suffix == ".csv":
        data = steps_of(path, columns)
    elif suffix in (".json", ".jsonl"):
        data = run_logs.lines_of(text) if suffix == ".jsonl" else loaded(path, text)
    else:
        data = line_logs.entries(text)
        given = training_logs.completed(given, text)
        if data is None:
            raise InputError(f"{path}: no lines that say a step or an epoch and a loss")
    if data is None:
        raise InputError(f"{path}: its lines are not all JSON")
    data = _by_run(data) or data
    if _scalars(data):
        data = steps_of(path, lambda: dict(zip(_SCALARS, zip(*data, strict=True), strict=True)))
    if isinstance(data, list) and data and all(map(run_logs.is_log, data)):
        parts = [run_logs.read(path, one, given, every) for one in data]
        return Found([r for p in parts for r in p.rows], tuple(one for p in parts for one in p.remarks))
    if isinstance(data, dict) and not run_logs.is_log(data) and run_logs.is_result(data):
        return run_logs.result(path, data, given)
    return run_logs.read(path, data, given, every)


def remarks_of_log(path: Path, rows: list[dict]) -> tuple[Remark, ...]:
    said = []
    if not rows:
        said.append(Remark("no_values", f"{path.name}: no evaluation after step 0; no row", path.name))
    if any(row.get("status") == "diverged" for row in rows[-1:]):
        text = f"{path.name}: its loss ends in NaN or Infinity; the row is diverged and fitted by nobody"
        said.append(Remark("diverged", text, path.name))
    if back := training_logs.went_back(rows):
        text = f"{path.name}: its steps go back {back} times (taken up again, or two runs?); the last counts"
        said.append(Remark("logged_twice", text, path.name))
    return tuple(said)
