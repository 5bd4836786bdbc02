"""Reads a store folder of run folders: many small files, fast, whatever state they are in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analysis import files
from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables import contents
from analysis.tables.files import by_column

# The order in which people read a run; columns that the store has beyond these follow.
_FIRST = """
run_id study grid status seed trunk held_out source width layers heads
params_total params_embedding params_head params_matrices params_vectors
tokens unique_tokens batch_tokens learning_rate flops_6nd flops_exact
flops_chinchilla flops_palm flops_kaplan loss_nats loss_se bits_per_byte train_loss_nats pack device
device_seconds compile_seconds energy_joules energy_source git_commit
"""
FIRST = tuple(_FIRST.split())
_READERS, _CHUNK = 8, 256


def read_store(path: Path) -> tuple[dict[str, np.ndarray], list[dict[str, Any]], list[Note]]:
    """Columns, ability rows and notes of a store. A run of two studies is one row, its studies joined by +.

    A cell of a study without a result is a row with status `unfinished`, or `failed` when it was given up.
    Raises InputError when the folder has neither runs nor studies.
    """
    runs = path / "runs"
    if not runs.is_dir() and not (path / "studies").is_dir():
        raise InputError(
            f"{path}: not a store folder: it has neither runs/ nor studies/; folders of logs or results are "
            "read by `lab import`"
        )
    if links := [folder for folder in (runs, path / "studies") if folder.is_symlink()]:
        raise InputError(*(f"{folder}: is a link, which is not followed here" for folder in links))
    bad: list[str] = []
    cells = _cells(path, bad)
    rows: list[dict[str, Any]] = []
    abilities: list[dict[str, Any]] = []
    seen = set()
    with os.scandir(runs) if runs.is_dir() else _nothing() as folders:
        names = sorted(entry.name for entry in folders if entry.is_dir(follow_symlinks=False))
    names = [name for name in names if contents.is_name(name)]
    failed = _Failed(path, frozenset(names), bad)
    for name, result in zip(names, _results(path, names, bad), strict=True):
        if result is not None:
            row = result["row"]
            row["run_id"] = name
            row.update(_of_study(cells.get(name)))
            row.setdefault("status", "ok")
            rows.append(row)
            about = {key: row.get(key) for key in ("run_id", "study", "grid", "seed")}
            abilities += [{**about, **score, "run_id": name} for score in result.get("abilities") or ()]
        elif name in cells or not cells:
            rows.append(_unfinished(name, cells.get(name), failed))
        else:
            continue
        seen.add(name)
    rows += [_unfinished(name, cell, failed) for name, cell in cells.items() if name not in seen]
    notes = []
    if bad:
        shown = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
        notes.append(
            Note("unreadable_files", f"{len(bad)} files could not be read and were left out: {shown}")
        )
    for name in FIRST:
        if rows and name not in rows[0]:
            rows[0][name] = None
    columns = by_column([{**dict.fromkeys(FIRST), **row} for row in rows[:1]] + rows[1:])
    if rows:
        columns["cluster"] = _clusters(columns)
    return columns, abilities, notes


class _nothing:
    def __enter__(self):
        return ()

    def __exit__(self, *_):
        return None


def _results(path: Path, names: list[str], bad: list[str]) -> Iterator[dict[str, Any] | None]:
    """The results of the runs, in order; None where there is none that is whole.

    Folders are read by several threads ahead of the parser: on a cold disk most of the time is waiting.
    """

    def read(some: list[str]) -> list[bytes | Exception | None]:
        return [_bytes(path / "runs" / name / "result.json", path) for name in some]

    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    with ThreadPoolExecutor(_READERS) as pool:
        for some, found in zip(chunks, pool.map(read, chunks), strict=True):
            for name, content in zip(some, found, strict=True):
                try:
                    result = None if content is None else json.loads(content)
                    torn = content is not None and bool(contents.fault_of_result(result, name))
                except (ValueError, RecursionError, TypeError):
                    torn = True
                if torn:
                    bad.append(f"{name}/result.json")
                yield None if torn else result


def _bytes(path: Path, root: Path) -> bytes | Exception | None:
    """What is in a file, None where there is none, or the error that kept it from being read."""
    try:
        return files.read_bytes(path, root)
    except FileNotFoundError:
        return None
    except (OSError, files.Refused) as error:
        return error


def _load(path: Path, root: Path, bad: list[str], fault: Callable[[Any], str]) -> Any:
    """The value of a file; None where there is none, or none that is whole."""
    try:
        value = files.read_json(path, root)
        torn = bool(fault(value)) if value is not None or os.path.lexists(path) else False
    except (OSError, files.Refused):
        torn = True
    if torn:
        bad.append(f"{path.parent.name}/{path.name}")
        return None
    return value


def _cells(path: Path, bad: list[str]) -> dict[str, dict[str, Any]]:
    """run_id -> its cell, with `study` the names of all studies that have it."""
    cells: dict[str, dict[str, Any]] = {}
    for listed in sorted((path / "studies").glob("*.json")):
        study = _load(listed, path, bad, contents.fault_of_study)
        for cell in study["cells"] if study else ():
            name = study["study"]
            known = cells.get(cell["run_id"])
            if known is None:
                cells[cell["run_id"]] = {**cell, "study": name}
            else:
                known["study"] += f"+{name}" if name not in known["study"].split("+") else ""
                known["held_out"] = bool(known.get("held_out")) or bool(cell.get("held_out"))
    return cells


@dataclass(frozen=True)
class _Failed:
    """Whether runs were given up: by a whole record of it, as `lab status` sees it. Each is read once."""

    path: Path
    names: frozenset[str]
    bad: list[str]
    _known: dict[str, bool] = field(default_factory=dict)

    def __call__(self, name: str | None) -> bool:
        if name not in self.names:
            return False
        if name not in self._known:
            where = self.path / "runs" / name / "failure.json"
            self._known[name] = _load(where, self.path, self.bad, contents.fault_of_failure) is not None
        return self._known[name]


def _of_study(cell: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if cell is None else {key: cell[key] for key in ("study", "grid", "held_out") if key in cell}


def _unfinished(name: str, cell: Mapping[str, Any] | None, failed: _Failed) -> dict[str, Any]:
    """The row of a run without a result; one whose trunk was given up failed with it."""
    given_up = failed(name) or failed((cell or {}).get("trunk"))
    return {**(cell or {}), "run_id": name, "status": "failed" if given_up else "unfinished"}


def _clusters(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Runs of one shape and seed share their initialisation and most of their training: one cluster."""
    keys = [
        columns[name].tolist()
        for name in ("source", "grid", "width", "layers", "heads", "params_total", "seed")
        if name in columns
    ]
    index: dict[tuple, str] = {}
    return np.array([index.setdefault(key, f"c{len(index)}") for key in zip(*keys, strict=True)], object)
