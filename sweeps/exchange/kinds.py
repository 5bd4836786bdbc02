"""What a foreign file is, by its name and what it says; and logs of single runs as rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from lab.errors import InputError
from sweeps.exchange import charts, evaluations, run_logs, training_logs
from sweeps.exchange.found import Found, Remark, loaded

Format = Literal[
    "auto", "table", "wandb", "chart", "tensorboard", "log", "scores",
    "nanogpt", "nanochat", "llmc", "modded",
]  # fmt: skip
_TABLES = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".md", ".markdown", ".html", ".htm", ".txt")


def guess(path: Path, suffix: str, text: str | None) -> Format:
    """What a file is, by its name and what it says."""
    text = text or ""
    if suffix == ".csv" and charts.is_chart(text.lstrip("\ufeff").split("\n", 1)[0]):
        return "chart"
    if suffix == ".jsonl":
        first = run_logs.lines_of(text[: 1 << 16]) or []
        if first and evaluations.is_samples(first[0]):
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
        return "log" if isinstance(data, list) and run_logs.is_steps(data) else "table"
    if suffix in _TABLES and suffix != ".txt":
        return "table"
    kind = training_logs.guess(text)
    if kind is None and suffix == ".txt":
        return "table"
    if kind is None:
        raise InputError(f"{path}: is neither a table ({', '.join(_TABLES)}) nor a known log; give --format")
    return kind


def read_log(path: Path, suffix: str, text: str, given: training_logs.Given, every: bool) -> Found:
    data = run_logs.lines_of(text) if suffix == ".jsonl" else loaded(path, text)
    if data is None:
        raise InputError(f"{path}: its lines are not all JSON")
    if isinstance(data, list) and data and all(map(run_logs.is_log, data)):
        parts = [run_logs.read(path, one, given, every) for one in data]
        return Found([r for p in parts for r in p.rows], tuple(one for p in parts for one in p.remarks))
    return run_logs.read(path, data, given, every)


def remarks_of_log(path: Path, rows: list[dict]) -> tuple[Remark, ...]:
    said = []
    if not rows:
        said.append(Remark("no_values", f"{path.name}: no evaluation after step 0; no row"))
    if any(row.get("status") == "diverged" for row in rows[-1:]):
        text = f"{path.name}: its loss ends in NaN or Infinity; the row is diverged and fitted by nobody"
        said.append(Remark("diverged", text))
    if back := training_logs.went_back(rows):
        text = f"{path.name}: its steps go back {back} times (taken up again, or two runs?); the last counts"
        said.append(Remark("logged_twice", text))
    return tuple(said)
