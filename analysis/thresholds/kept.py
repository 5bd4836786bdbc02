"""Verdicts kept beside a store: what `lab thresholds` found, the report does not simulate again.

As with fits (`analysis.fits.kept`), a kept verdict is named by a hash of the rows, the options and this
program's own text, so it is never older than its rows; the folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.fits.kept import FOLDER, program, read, write
from analysis.notes import Note
from analysis.second_process import Second
from analysis.tables.table import Runs
from analysis.thresholds.collapse import Collapse
from analysis.thresholds.detector import run
from analysis.thresholds.frontier import Frontier, Point
from analysis.thresholds.over_plane import over_plane
from analysis.thresholds.result import Calibration, Gates, Places, SeedSd, Series, Threshold, Thresholds

CLASSES = {
    one.__name__: one
    for one in (
        *(Calibration, Collapse, Frontier, Gates, Note, Places, Point, SeedSd, Series, Threshold),
        Thresholds,
    )
}


def detected(
    runs: Runs,
    frame: Any,
    axis: str = "params",
    seed_sd: float | None = None,
    alpha: float = 0.05,
    draws: int = 500,
    seed: int = 0,
    calibrate: bool | Sequence[str] = True,
    chance: Mapping[str, float] | None = None,
    progress: Callable[[str], None] | None = None,
    second: Second | None = None,
) -> Thresholds:
    """`analysis.thresholds.detect` of the runs' ability scores in `frame` (a pandas DataFrame), which an
    earlier call with the same rows and options may have computed; one with cards for all metrics serves those
    who want a few. second: a process to share the work with; what is found is the same.

    Raises InputError as `detect` does.
    """
    options = {"axis": axis, "seed_sd": seed_sd, "alpha": alpha, "draws": draws, "seed": seed}
    options |= {"chance": dict(chance or {})}
    wanted = calibrate if isinstance(calibrate, bool) else sorted(calibrate)

    def file(cards: bool | list[str]) -> Path | None:
        return _file(runs, frame, {**options, "calibrate": cards})

    whole = _found(file(True))
    found = whole if whole is not None else _found(file(wanted))
    if isinstance(found, Thresholds):
        return found
    made = run(frame, axis, seed_sd, alpha, draws, seed, calibrate, chance, progress, second)
    _keep(file(wanted), made)
    return made


def detected_over_plane(
    runs: Runs,
    frame: Any,
    alpha: float = 0.05,
    draws: int = 199,
    seed: int = 0,
    seed_sd: float | None = None,
    chance: Mapping[str, float] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[tuple[Collapse, Frontier]]:
    """`over_plane` in the same way. Raises InputError as it does."""
    options = {"plane": True, "alpha": alpha, "draws": draws, "seed": seed, "seed_sd": seed_sd}
    path = _file(runs, frame, {**options, "chance": dict(chance or {})})
    found = _found(path)
    if isinstance(found, list) and all(_is_pair(one) for one in found):
        return found
    made = over_plane(frame, alpha, draws, seed, seed_sd, dict(chance or {}), progress=progress)
    _keep(path, made)
    return made


def _is_pair(one: Any) -> bool:
    return isinstance(one, tuple) and tuple(map(type, one)) == (Collapse, Frontier)


def _file(runs: Runs, frame: Any, options: dict[str, Any]) -> Path | None:
    """Where a result is kept; None for tables that are no store."""
    store = Path(runs.source)
    return store / FOLDER / f"{_name(frame, options)}.json" if runs.store and store.is_dir() else None


def _found(path: Path | None) -> Any:
    return None if path is None else read(path, path.parents[1], CLASSES)


def _keep(path: Path | None, made: Any) -> None:
    if path is not None:
        write(path, path.parents[1], made, CLASSES)


def _name(frame: Any, options: dict[str, Any]) -> str:
    seen = hashlib.sha256(b"verdicts" + program().encode())
    seen.update(json.dumps(options, sort_keys=True).encode())
    for column in sorted(map(str, frame.columns)):
        values = frame[column].to_numpy()
        seen.update(f"{column} {values.dtype} {values.shape}".encode())
        if values.dtype.kind in "fiub":
            seen.update(np.ascontiguousarray(values).tobytes())
        else:
            seen.update(json.dumps([None if value is None else str(value) for value in values]).encode())
    return seen.hexdigest()[:32]
