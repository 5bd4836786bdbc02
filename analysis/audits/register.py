"""Forecasts that are written down before their runs are trained, and scored afterwards.

A record is plain JSON that never changes once it is written: what was forecast, by which laws, from which
rows, when. It carries its own digest, so an edit shows; that nothing was trained before is checked against
the table at hand when it is written. Ledgers of several records hold these objects as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from analysis import files
from analysis.audits.results import Cell, Forecast
from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.sample import Sample, sample
from analysis.tables.table import Runs, as_runs
from analysis.text import plain

FORMAT, VERSION = "scaling-lab forecast", 1
# Params and tokens of a run and of a target that differ by less are the same: a budget is whole steps.
SAME = 0.01
_TARGET = ("params", "tokens", "predicted", "low", "high")


def digest_of(rows: Sample) -> str:
    """SHA-256 of the numbers that were fitted: params, tokens and loss, in the table's order, which anybody
    who has the file can compute; not in that of the sample."""
    seen, places = hashlib.sha256(), np.argsort(rows.rows)
    for values in (*(rows.inputs[name] for name in ("params", "tokens")), rows.loss):
        seen.update(np.ascontiguousarray(values[places], "<f8").tobytes())
    return seen.hexdigest()


def _seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record without its own seal."""
    bare = {name: value for name, value in record.items() if name != "seal"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True, allow_nan=False).encode()).hexdigest()


def record_of(made: Forecast, runs: Runs, when: datetime | None = None) -> dict[str, Any]:
    """The record of the runs that `made` was asked to predict; `runs`: the table that it was made of.

    Raises InputError where no run was asked for, where one has no interval, and where one has been trained.
    """
    targets = [cell for cell in made.cells if cell.measured is None]
    if not targets:
        raise InputError(
            "--register: no run was asked for; name some with --params and --tokens, or --points"
        )
    if any(cell.low is None for cell in targets):
        raise InputError("--register: a forecast without intervals promises nothing; draw a --bootstrap")
    refuse_trained(targets, runs)
    assert made.fit.rows is not None
    leading = made.fit.leading
    record = {
        "format": FORMAT,
        "version": VERSION,
        "registered": (when or datetime.now(UTC)).isoformat(timespec="seconds"),
        "inputs": {"source": runs.source, "rows": made.fit.points, "sha256": digest_of(made.fit.rows)},
        "law": made.fit.law.name,
        "params": dict(made.fit.params),
        "weights": {} if leading is None else {one.law: one.weight for one in leading.rivals},
        "objective": asdict(made.fit.objective),
        "level": made.level,
        "widened": made.widened,
        "warnings": [note.code for note in made.warnings],
        "targets": [{name: getattr(cell, name) for name in _TARGET} for cell in targets],
    }
    record = plain(record)
    return {**record, "seal": _seal(record)}


def refuse_trained(targets: list[Cell], runs: Runs) -> None:
    """Raises InputError for targets whose loss the table already holds."""
    have = {name: np.asarray(runs.columns[name], float) for name in ("params", "tokens", "loss")}
    known = np.isfinite(have["loss"]) | _diverged(runs)
    problems = []
    for cell in targets:
        rows = np.flatnonzero(known & _matches(cell.params, cell.tokens, have))
        if len(rows):
            problems.append(
                f"{runs.source}: row {rows[0]} is a run of {cell.params:.6g} params and {cell.tokens:.6g} "
                "tokens already: a forecast is registered before its run is trained"
            )
    if problems:
        raise InputError(*problems)


def _diverged(runs: Runs) -> np.ndarray:
    """(rows,): runs that ended by diverging, which is an outcome too."""
    status = runs.role("status")
    if status is None:
        return np.zeros(len(runs), bool)
    return np.array([str(value).strip().lower() == "diverged" for value in status.tolist()], bool)


def _matches(params: float, tokens: float, have: Mapping[str, np.ndarray]) -> np.ndarray:
    with np.errstate(all="ignore"):
        away = [
            np.abs(np.log(have[name] / value)) for name, value in (("params", params), ("tokens", tokens))
        ]
    return (away[0] < SAME) & (away[1] < SAME)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a new file; a record that is there already is never replaced. Raises InputError."""
    try:
        files.create(path, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    except FileExistsError:
        raise InputError(f"--register: {path} is there already, and a record is never replaced") from None
    except OSError as error:
        raise InputError(f"--register: {path}: {error}") from None


def read_record(path: Path) -> dict[str, Any]:
    """A record from its file. Raises InputError for what is none, or was changed since it was written."""
    if not path.is_file():
        raise InputError(f"--score: {path}: no such file")
    try:
        found = files.read_json(path)
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"--score: {path}: {error}") from None
    return checked(found, str(path))


def checked(found: Any, name: str) -> dict[str, Any]:
    """The record, if it is a whole one of this version. Raises InputError naming it."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{name}: is no registered forecast")
    if found.get("version") != VERSION:
        raise InputError(f"{name}: has version {found.get('version')!r}, and {VERSION} can be read")
    try:
        is_sealed = found.get("seal") == _seal(found)
    except ValueError:  # a number that is none, which no record has
        is_sealed = False
    if not is_sealed:
        raise InputError(f"{name}: was changed after it was registered: its seal does not fit")
    if not _is_whole(found):
        raise InputError(
            f"{name}: is no whole forecast: it needs registered, law, level, targets of {', '.join(_TARGET)}"
        )
    return found


def _is_whole(found: Mapping[str, Any]) -> bool:
    """Whether a record that somebody else sealed has what is shown of one."""
    try:
        words = [found["registered"], found["law"]]
        targets = [[target[name] for name in _TARGET] for target in found["targets"]]
    except (KeyError, TypeError):
        return False
    numbers = [found.get("level"), *(value for target in targets for value in target)]
    return (
        all(isinstance(word, str) for word in words)
        and all(isinstance(one, int | float) and not isinstance(one, bool) and one > 0 for one in numbers)
        and bool(targets)
    )


@dataclass(frozen=True)
class Scored:
    """A registered forecast beside what came. cells: one for each run of a target; missing: targets without a
    run yet, (params, tokens); diverged: those whose runs all diverged, which no law foretells."""

    registered: str
    law: str
    level: float
    cells: tuple[Cell, ...]
    missing: tuple[tuple[float, float], ...]
    warnings: tuple[Note, ...]
    diverged: tuple[tuple[float, float], ...] = ()

    @property
    def inside(self) -> int:
        return sum(bool(cell.inside) for cell in self.cells)

    @property
    def mean_abs_error_percent(self) -> float | None:
        sizes = [abs(cell.error_percent) for cell in self.cells if cell.error_percent is not None]
        return float(np.mean(sizes)) if sizes else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "registered": self.registered,
            "law": self.law,
            "level": self.level,
            "cells": [asdict(cell) for cell in self.cells],
            "inside": self.inside,
            "mean_abs_error_percent": self.mean_abs_error_percent,
            "missing": [list(pair) for pair in self.missing],
            "diverged": [list(pair) for pair in self.diverged],
            "warnings": [note.to_dict() for note in self.warnings],
        }


def scored(record: Mapping[str, Any], runs: Any) -> Scored:
    """The record beside the runs of its targets in the table. Raises InputError where none is trained."""
    runs = as_runs(runs)
    rows = sample(runs)
    names = runs.columns.get("run_id")
    have = {**rows.inputs, "loss": rows.loss}
    ended = _diverged(runs)
    lost = {
        name: np.asarray(runs.columns[name], float)[ended] for name in ("params", "tokens") if ended.any()
    }
    cells, missing, diverged = [], [], []
    for target in record["targets"]:
        n, d, predicted, low, high = (float(target[name]) for name in _TARGET)
        found = np.flatnonzero(_matches(n, d, have))
        if not len(found):
            (diverged if lost and _matches(n, d, lost).any() else missing).append((n, d))
        for index in found.tolist():
            row, loss = int(rows.rows[index]), float(rows.loss[index])
            off = predicted - loss
            name = f"row {row}" if names is None else str(names[row])
            place = (n, d, 6 * n * d)
            inside = low <= loss <= high
            cells.append(Cell(row, name, *place, predicted, low, high, loss, off, 100 * off / loss, inside))
    if not cells and not diverged:
        raise InputError(f"{runs.source}: none of the {len(missing)} registered targets is trained yet")
    said = []
    if missing:
        text = f"{len(missing)} of {len(record['targets'])} registered targets are not trained yet"
        said.append(Note("targets_missing", text))
    if diverged:
        text = f"{len(diverged)} of {len(record['targets'])} registered targets diverged, inside no interval"
        said.append(Note("targets_diverged", text))
    return Scored(
        record["registered"],
        record["law"],
        record["level"],
        tuple(cells),
        tuple(missing),
        tuple(said),
        tuple(diverged),
    )
