"""Fits kept beside a store, so that a verb does not compute again what another has computed.

A kept fit is named by a hash of all that goes into it: the rows as numbers, the law, the settings, and this
program's own text. So it is never older than its rows; the folder may be deleted at any time. It holds JSON,
no code; whoever can write there can write the runs as well.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from analysis import files
from analysis.errors import InputError
from analysis.fits.leading import Leading, Rival
from analysis.fits.noise import Stated
from analysis.fits.results import Basin, Calibration, Certificate, Exponents, Fit, Objective
from analysis.intervals.freedom import Freedom
from analysis.laws.law import Law
from analysis.laws.named import LAWS
from analysis.notes import Excluded, Note
from analysis.solve.objectives import Rho
from analysis.tables.sample import Sample
from analysis.tables.table import Runs

FOLDER = "cache"
# What may stand in a file; anything else is not kept, or not read.
CLASSES = {
    one.__name__: one
    for one in (
        *(Basin, Calibration, Certificate, Excluded, Exponents, Fit, Freedom, Leading, Note),
        *(Objective, Rho, Rival, Sample, Stated),
    )
}
# Fits of more rows are not kept: reading them would take as long as it saves.
MOST_ROWS = 5_000
LARGEST = 16_000_000


class Unkeepable(Exception):
    """A result that has no plain form, or a file that holds none."""


@dataclass(frozen=True)
class Kept:
    """The kept fits of one store."""

    store: Path

    def fit(self, rows: Sample, law: Law, source: str, settings: Any, compute: Callable[[], Fit]) -> Fit:
        """The fit of `rows`, from the folder where it is there, else computed and put there."""
        if LAWS.get(law.name) is not law or len(rows) > MOST_ROWS:
            return compute()
        path = self.store / FOLDER / f"{_name(rows, law, settings)}.json"
        found = self._read(path)
        if found is not None and _is_of(found, rows, law):
            # Where the rows stand in their table, and what was left out of it, is the caller's.
            clusters = found.rows if found.rows is not None else rows
            mine = replace(rows, clusters=clusters.clusters, clustered_by=clusters.clustered_by)
            place = np.argsort(rows.rows)
            held = {**found.sampled, "row": rows.rows}
            data = {name: values[place] for name, values in held.items()}
            told = _renumbered(found.warnings, found.sampled["row"], rows.rows)
            return replace(
                found,
                data=data,
                rows=mine,
                excluded=rows.excluded,
                notes=rows.notes,
                source=source,
                warnings=told,
            )
        made = compute()
        self._write(path, made)
        return made

    def _read(self, path: Path) -> Fit | None:
        found = read(path, self.store, CLASSES)
        return found if isinstance(found, Fit) else None

    def _write(self, path: Path, made: Fit) -> None:
        write(path, self.store, made, CLASSES)


def read(path: Path, store: Path, classes: Mapping[str, type]) -> Any:
    """The result kept in a file; None where there is none that can be used."""
    try:
        return decoded(files.read_json(path, store, LARGEST), classes)
    except (OSError, InputError, Unkeepable, ValueError, TypeError, KeyError, RecursionError):
        return None


def write(path: Path, store: Path, made: Any, classes: Mapping[str, type]) -> None:
    """Keep a result, where it can be: a store that cannot be written to is read all the same."""
    try:
        value = encoded(made, classes)
        files.make_folder(path.parent, store)
        files.write_json(path, value, store)
    except (OSError, InputError, Unkeepable):
        return


def _is_of(found: Fit, rows: Sample, law: Law) -> bool:
    """Whether a fit is one of these rows: its losses are theirs, and its law's values give what it says."""
    try:
        with np.errstate(all="ignore"):
            fitted = law.loss(found.params, rows.inputs)
            gap = np.log(rows.loss) - np.log(fitted) - found.sampled["residual"]
        return (
            found.law is law
            and np.array_equal(found.sampled["loss"], rows.loss)
            and bool(np.abs(gap).max() < 1e-9)
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _renumbered(notes: tuple[Note, ...], before: np.ndarray, now: np.ndarray) -> tuple[Note, ...]:
    """Remarks that name single rows, by the rows' places in this table."""
    place = dict(zip(before.tolist(), now.tolist(), strict=True))

    def moved(found: re.Match[str]) -> str:
        return f"row {place.get(int(found[1]), int(found[1]))}"

    return tuple(
        replace(note, text=re.sub(r"\brow (\d+)", moved, note.text)) if note.code == "outliers" else note
        for note in notes
    )


def beside(runs: Runs) -> Kept | None:
    """The kept fits of the store that the runs were read from; None for other tables."""
    folder = Path(runs.source)
    return Kept(folder) if runs.store and folder.is_dir() else None


@cache
def program() -> str:
    """A digest of this package's text: another version computes anew."""
    seen = hashlib.sha256(np.__version__.encode())
    room = Path(__file__).parents[1]
    for path in sorted(room.rglob("*.py")):
        if "plots" not in path.parts and "report" not in path.parts:
            seen.update(path.read_bytes())
    return seen.hexdigest()


def _name(rows: Sample, law: Law, settings: Any) -> str:
    seen = hashlib.sha256(program().encode())
    rho = settings.rho
    how = [settings.bootstrap, settings.method, settings.level, settings.seed]
    plain = [
        law.name,
        rows.clustered_by,
        *how,
        rho.name,
        rho.delta,
        rho.raw,
        rho.over,
        rho.smooth,
        rho.scaled,
    ]
    seen.update(json.dumps(plain).encode())
    arrays = {f"input {name}": values for name, values in rows.inputs.items()}
    arrays |= {f"group {name}": values for name, values in rows.groups.items()}
    arrays |= {"loss": rows.loss, "clusters": rows.clusters}
    arrays |= {"noise": rows.noise} if rows.noise is not None else {}
    arrays |= {"scale": rho.scale} if rho.scale is not None else {}
    for name, values in sorted(arrays.items()):
        seen.update(f"{name} {values.dtype} {values.shape}".encode() + np.ascontiguousarray(values).tobytes())
    return seen.hexdigest()[:32]


def encoded(value: Any, classes: Mapping[str, type] = CLASSES) -> Any:
    """Plain JSON of a result. Raises Unkeepable for what has none."""
    if isinstance(value, float) and not math.isfinite(value):
        # An end that the table does not bound; JSON has no number for it.
        return {"float": str(value)}
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": [value.dtype.str, list(value.shape), content]}
    if isinstance(value, np.generic):
        return encoded(value.item(), classes)
    if isinstance(value, tuple | list):
        return {type(value).__name__: [encoded(item, classes) for item in value]}
    if isinstance(value, Mapping):
        return {"map": [[encoded(key, classes), encoded(item, classes)] for key, item in value.items()]}
    if isinstance(value, Law) and LAWS.get(value.name) is value:
        return {"law": value.name}
    if is_dataclass(value) and classes.get(type(value).__name__) is type(value):
        named = {one.name: encoded(getattr(value, one.name), classes) for one in fields(value)}
        return {"class": type(value).__name__, "fields": named}
    raise Unkeepable(type(value).__name__)


def decoded(value: Any, classes: Mapping[str, type] = CLASSES) -> Any:
    """What `encoded` made plain. Raises Unkeepable, or what a wrong value raises."""
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    if "array" in value:
        kind, shape, content = value["array"]
        if np.dtype(kind).kind not in "fiub":
            raise Unkeepable(kind)
        return np.frombuffer(base64.b64decode(content), kind).reshape(shape).copy()
    if "tuple" in value:
        return tuple(decoded(item, classes) for item in value["tuple"])
    if "list" in value:
        return [decoded(item, classes) for item in value["list"]]
    if "map" in value:
        return {decoded(key, classes): decoded(item, classes) for key, item in value["map"]}
    if "law" in value:
        return LAWS[value["law"]]
    return classes[value["class"]](**{name: decoded(item, classes) for name, item in value["fields"].items()})
