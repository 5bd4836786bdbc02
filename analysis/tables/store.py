"""Reads a store folder of run folders: many small files, fast, whatever state they are in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.files import by_column

# The order in which people read a run; columns that the store has beyond these follow.
_FIRST = """
run_id study grid status seed trunk held_out source width layers params_total params_embedding params_head
params_matrices params_vectors tokens unique_tokens batch_tokens learning_rate flops_6nd flops_exact
flops_chinchilla flops_palm flops_kaplan loss_nats loss_se bits_per_byte train_loss_nats pack device
device_seconds compile_seconds energy_joules energy_source git_commit
"""
FIRST = tuple(_FIRST.split())
_READERS, _CHUNK, _PAGE = 8, 256, 1 << 16


def read_store(path: Path) -> tuple[dict[str, np.ndarray], list[dict[str, Any]], list[Note]]:
    """Columns, ability rows and notes of a store. A run of two studies is one row, its studies joined by +.

    A cell of a study without a result is a row with status `unfinished`, or `failed` when it was given up.
    Raises InputError when the folder has neither runs nor studies.
    """
    runs = path / "runs"
    if not runs.is_dir() and not (path / "studies").is_dir():
        raise InputError(f"{path}: not a store folder: it has neither runs/ nor studies/")
    bad: list[str] = []
    cells = _cells(path / "studies", bad)
    rows: list[dict[str, Any]] = []
    abilities: list[dict[str, Any]] = []
    seen = set()
    with os.scandir(runs) if runs.is_dir() else _nothing() as folders:
        names = sorted(entry.name for entry in folders if entry.is_dir())
    for name, result in zip(names, _results(str(runs), names, bad), strict=True):
        row = result.get("row") if isinstance(result, Mapping) else None
        if isinstance(row, dict):
            row["run_id"] = str(row.get("run_id") or name)
            row.update(_of_study(cells.get(name)))
            row.setdefault("status", "ok")
            rows.append(row)
            scores = result.get("abilities")
            abilities += [
                {**{key: row.get(key) for key in ("run_id", "study", "grid", "seed")}, **score}
                for score in (scores if isinstance(scores, list) else ())
                if isinstance(score, dict)
            ]
        elif name in cells or not cells:
            rows.append(_unfinished(name, cells.get(name), os.path.join(runs, name)))
        else:
            continue
        seen.add(name)
    rows += [_unfinished(name, cell, None) for name, cell in cells.items() if name not in seen]
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


def _results(runs: str, names: list[str], bad: list[str]) -> Iterator[Any]:
    """The results of the runs, in order; None where there is none.

    Folders are read by several threads ahead of the parser: on a cold disk most of the time is waiting.
    """

    def read(some: list[str]) -> list[bytes | OSError | None]:
        return [_bytes(f"{runs}/{name}/result.json") for name in some]

    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    with ThreadPoolExecutor(_READERS) as pool:
        for some, contents in zip(chunks, pool.map(read, chunks), strict=True):
            for name, content in zip(some, contents, strict=True):
                try:
                    yield None if content is None else json.loads(content)
                except (ValueError, RecursionError, TypeError):
                    bad.append(f"{name}/result.json")
                    yield None


def _bytes(path: str) -> bytes | OSError | None:
    """What is in a file, None where there is none, or the error that kept it from being read."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    try:
        content = os.read(handle, _PAGE)
        while len(content) % _PAGE == 0 and (more := os.read(handle, _PAGE)):
            content += more
        return content
    except OSError as error:
        return error
    finally:
        os.close(handle)


def _load(path: str, bad: list[str]) -> Any:
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError):
        bad.append(os.path.basename(os.path.dirname(path)) + "/" + os.path.basename(path))
        return None


def _cells(folder: Path, bad: list[str]) -> dict[str, dict[str, Any]]:
    """run_id -> its cell, with `study` the names of all studies that have it."""
    cells: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        study = _load(str(path), bad)
        listed = study.get("cells") if isinstance(study, Mapping) else None
        for cell in listed if isinstance(listed, list) else ():
            if not isinstance(cell, dict) or not isinstance(cell.get("run_id"), str):
                continue
            name = str(study.get("study") or path.stem)
            known = cells.get(cell["run_id"])
            if known is None:
                cells[cell["run_id"]] = {**cell, "study": name}
            else:
                known["study"] += f"+{name}" if name not in known["study"].split("+") else ""
                known["held_out"] = bool(known.get("held_out")) or bool(cell.get("held_out"))
    return cells


def _of_study(cell: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if cell is None else {key: cell[key] for key in ("study", "grid", "held_out") if key in cell}


def _unfinished(name: str, cell: Mapping[str, Any] | None, folder: str | None) -> dict[str, Any]:
    failed = folder is not None and os.path.exists(os.path.join(folder, "failure.json"))
    known = {
        key: value
        for key, value in (cell or {}).items()
        if isinstance(value, str | int | float | bool | None)
    }
    return {**known, "run_id": name, "status": "failed" if failed else "unfinished"}


def _clusters(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Runs of one shape and seed share their initialisation and most of their training: one cluster."""
    keys = [
        columns[name].tolist()
        for name in ("source", "grid", "width", "layers", "params_total", "seed")
        if name in columns
    ]
    index: dict[tuple, str] = {}
    return np.array([index.setdefault(key, f"c{len(index)}") for key in zip(*keys, strict=True)], object)
