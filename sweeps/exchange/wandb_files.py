"""Offline runs of Weights & Biases as rows: the files that are otherwise unreadable without its server.

A ``.wandb`` file is a header of 7 bytes and a log in blocks of 32 KiB, of records framed as in LevelDB: CRC
(4), length (2), type (1: whole, 2: first, 3: middle, 4: last part). Each is a protocol buffer, which the
package ``wandb`` describes.
"""

import json
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.errors import InputError
from lab.files import LIMIT, read_bytes
from sweeps.exchange.found import Found, Remark, loaded

_BLOCK = 32768
_HEADER = 7


def read(path: Path, limit: int = LIMIT) -> list[dict]:
    """A row for each run: configuration, summary and the last logged values.

    Args:
        path: a ``.wandb`` file, or a folder with any number of them below it.
        limit: bytes of a file.

    Raises:
        InputError: where there is none, or the package is missing.
    """
    # the link to the latest run is not another one
    files = sorted({file.resolve() for file in path.rglob("*.wandb")}) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no .wandb file in this folder; offline runs lie in wandb/offline-run-*")
    try:
        from wandb.proto import wandb_internal_pb2
    except ImportError:
        raise InputError(
            f"{path}: reading .wandb files needs the package wandb; "
            "pip install --require-hashes -r requirements-dev.lock"
        ) from None
    return [_row(file, wandb_internal_pb2.Record, limit) for file in files]


def summaries(files: list[Path], text: Callable[[Path], str]) -> Found:
    """Rows of folders of runs whose `.wandb` file is gone: `wandb-summary.json` beside `config.yaml`.

    Raises:
        InputError: for a summary that is no JSON object.
    """
    rows = []
    for file in files:
        summary = loaded(file, text(file))
        if not isinstance(summary, dict):
            raise InputError(f"{file}: should be a JSON object")
        folder = file.parent.parent if file.parent.name == "files" else file.parent
        config = file.parent / "config.yaml"
        values = _config(text(config)) if config.is_file() and not config.is_symlink() else {}
        plain = {k: v for k, v in {**values, **summary}.items() if isinstance(v, str | int | float | bool)}
        rows.append({"name": folder.name} | {k: v for k, v in plain.items() if not k.startswith("_")})
    said = Remark("summaries", f"{len(rows)} runs by their summaries: the last value of each series")
    return Found(rows, (said,))


def _config(text: str) -> dict:
    """`key:` with `  value: X` below it, as wandb writes its configuration; nested values are not read."""
    found, key = {}, ""
    for line in text.splitlines():
        if match := re.match(r"^([\w./-]+):\s*$", line):
            key = match[1]
        elif key and (match := re.match(r"^ {2,4}value:\s+(\S.*)$", line)):
            value = match[1].strip().strip("'\"")
            try:
                found[key] = json.loads(value)
            except (ValueError, RecursionError):
                found[key] = value
    return found


def wait(file: Path, seconds: float = 60.0) -> None:
    """Until the end of a run is in its file: the service of wandb writes on after the run has ended.

    Raises:
        OSError: where that does not come.
    """
    from wandb.proto import wandb_internal_pb2

    until = time.monotonic() + seconds
    while True:
        found = list(records(file)) if file.exists() and file.stat().st_size > _HEADER else []
        if found and wandb_internal_pb2.Record.FromString(found[-1]).WhichOneof("record_type") == "exit":
            return
        if time.monotonic() > until:
            raise OSError(f"{file}: wandb did not write the end of the run in {seconds:g} s")
        time.sleep(0.05)


def _row(file: Path, record_class, limit: int) -> dict:
    config: dict = {}
    logged: dict = {}
    summary: dict = {}
    name = file.stem.removeprefix("run-")
    for data in records(file, limit):
        record = record_class()
        try:
            record.ParseFromString(data)
        except Exception as error:  # the library's own error class depends on its version
            raise InputError(f"{file}: a record cannot be read: {error}") from None
        kind = record.WhichOneof("record_type")
        if kind == "run":
            name = record.run.display_name or record.run.run_id or name
            _update(config, record.run.config.update)
        elif kind == "config":
            _update(config, record.config.update)
        elif kind == "history":
            _update(logged, record.history.item)
        elif kind == "summary":
            _update(summary, record.summary.update)
    found = {**config, **logged, **summary}
    found = {k: v for k, v in found.items() if not k.startswith("_")}
    plain = {k: v for k, v in found.items() if isinstance(v, str | int | float | bool)}
    if not plain:
        raise InputError(f"{file}: holds no configuration, summary or history")
    return {"name": name, **plain}


def _update(values: dict, items) -> None:
    for item in items:
        key = item.key or "/".join(item.nested_key)
        try:
            value = json.loads(item.value_json)
        except (ValueError, RecursionError):
            continue
        # configurations are wrapped once more by some versions
        values[key] = value["value"] if isinstance(value, dict) and set(value) == {"value"} else value


def records(file: Path, limit: int = LIMIT) -> Iterator[bytes]:
    """The whole records of a file; one that a kill tore off at the end is not there.

    Raises:
        InputError: for a file that is no such log, or larger.
    """
    data = read_bytes(file, limit=limit)
    if data[:4] != b":W&B":
        raise InputError(f"{file}: is not a .wandb file: it does not begin with :W&B")
    at, parts = _HEADER, []
    while at + 7 <= len(data):
        room = _BLOCK - at % _BLOCK
        if room < 7:  # a block's tail too short for a frame is padding
            at += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        body = data[at + 7 : at + 7 + length]
        at += 7 + length
        if len(body) < length or kind == 0:
            return
        if kind in (1, 2):
            parts = []
        parts.append(body)
        if kind in (1, 4):
            yield b"".join(parts)
