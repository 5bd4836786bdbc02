"""Event files of TensorBoard as rows: their scalars, read without TensorFlow.

A file is a chain of records: length (8 bytes), its CRC (4), content, its CRC (4). A record is a protocol
buffer `Event`: 2 step, 5 summary; a summary holds values: 1 tag, 2 simple_value, 8 tensor; a tensor 1 dtype,
4 tensor_content, 5 float_val, 6 double_val.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

from lab.errors import InputError
from lab.files import LIMIT, read_bytes
from sweeps.exchange.found import Found, Remark, listed, size_in

_NAME = "events.out.tfevents."


def is_event_file(path: Path) -> bool:
    return path.name.startswith(_NAME) or ".tfevents." in path.name


def files_of(folder: Path) -> list[Path]:
    """The event files below a folder, links aside."""
    return sorted(file for file in folder.rglob("*tfevents*") if file.is_file() and not file.is_symlink())


def read(path: Path, limit: int = LIMIT, every: bool = False) -> Found:
    """A row for each folder with event files (their scalars at the last step), or for each step of its loss.

    Raises:
        InputError: for files that hold no scalars.
    """
    files = files_of(path) if path.is_dir() else [path]
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    rows, remarks = [], []
    for folder, own in folders.items():
        name = folder.relative_to(path).as_posix() if path.is_dir() and folder != path else folder.name
        found: dict[str, dict[int, float]] = {}
        torn, twice = 0, []
        for file in own:
            for tag, step, value in scalars(file, limit):
                if tag is None:
                    torn += 1
                    continue
                series = found.setdefault(tag, {})
                if step in series and series[step] != value:
                    twice.append(f"{tag} at step {step}")
                series[step] = value
        if not found:
            remarks.append(Remark("no_values", f"{name}: its event files hold no scalars; no row"))
            continue
        if torn:
            remarks.append(
                Remark(
                    "torn", f"{name}: the end of {torn} event files is torn off; what stands before is read"
                )
            )
        if twice:
            text = (
                f"{name}: {len(twice)} values were logged twice (a run that was taken up again?); the last "
            )
            remarks.append(Remark("logged_twice", f"{text}counts: {listed(twice, 3)}"))
        rows += _rows(name, found, every, remarks)
    if not rows:
        raise InputError(f"{path}: no scalars in {len(files)} event files")
    return Found(rows, tuple(remarks))


def _rows(name: str, found: dict[str, dict[int, float]], every: bool, remarks: list[Remark]) -> list[dict]:
    last = {tag: max(series) for tag, series in found.items()}
    end = max(last.values())
    size = size_in(name)
    base = {"name": name} | ({} if size is None else {"params": size})
    if size is not None:
        text = f"{name}: params {size:g} is read off the folder's name; --models says it better"
        remarks.append(Remark("params_from_name", text))
    losses = [tag for tag in found if "loss" in tag.lower()]
    gone = [tag for tag in losses if not math.isfinite(found[tag][last[tag]])]
    if gone:
        remarks.append(
            Remark("diverged", f"{name}: {listed(gone)} ends in NaN or Infinity; the row is diverged")
        )
    status = {"status": "diverged" if gone else "ok"}
    if not every:
        values = {tag: series[last[tag]] for tag, series in found.items()}
        return [{**base, "step": end, **values, **status}]
    steps = sorted({step for tag in losses for step in found[tag]})
    return [
        {**base, "step": step, **{tag: s[step] for tag, s in found.items() if step in s}, **status}
        for step in steps
    ]


def scalars(file: Path, limit: int = LIMIT) -> Iterator[tuple[str | None, int, float]]:
    """(tag, step, value) of a file; (None, 0, 0) once where its end is torn off. Raises InputError."""
    data, at = read_bytes(file, limit=limit), 0
    if len(data) < 16:
        return
    while at < len(data):
        if at + 12 > len(data):
            yield None, 0, 0.0
            return
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):
            if at == 0:
                raise InputError(f"{file}: is no event file of TensorBoard")
            yield None, 0, 0.0
            return
        try:
            yield from _event(data[at + 12 : at + 12 + length])
        except (IndexError, struct.error, ValueError):
            raise InputError(f"{file}: the record at byte {at} is no event of TensorBoard") from None
        at += 16 + length


def _event(data: bytes) -> Iterator[tuple[str, int, float]]:
    step, summaries = 0, []
    for field, value in _fields(data):
        if field == 2 and isinstance(value, int):
            step = value
        elif field == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for field, value in _fields(summary):
            if field == 1 and isinstance(value, bytes):
                tag, number = _value(value)
                if number is not None:
                    yield tag, step, number


def _value(data: bytes) -> tuple[str, float | None]:
    tag, number = "", None
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            tag = value.decode("utf-8", "replace")
        elif field == 2 and isinstance(value, bytes) and len(value) == 4:
            (number,) = struct.unpack("<f", value)
        elif field == 8 and isinstance(value, bytes):
            number = _tensor(value)
    return tag, number


def _tensor(data: bytes) -> float | None:
    """The one number of a tensor of float32 or float64."""
    kinds = {1: ("<f", 4), 2: ("<d", 8)}
    fields = dict(_fields(data))
    kind = kinds.get(fields.get(1) if isinstance(fields.get(1), int) else 0)
    if kind is None:
        return None
    for field in (4, 5, 6):
        value = fields.get(field)
        if isinstance(value, bytes) and len(value) == kind[1]:
            return struct.unpack(kind[0], value)[0]
    return None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of a protocol buffer: integers, and bytes of anything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield field, value
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            yield field, data[at : at + size]
            at += size
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("beyond its end")
            yield field, data[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
