"""What a study file is made of before it is read: includes, ``--set key=value``, ranges; and TOML again.

Included files lie beneath the file that names them: its tables win key by key, its grids come after theirs.
"""

import copy
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Annotated

from lab import files
from lab.data.config import SOURCES
from lab.errors import InputError
from lab.strict import Within, build, nearest, said

_MOST_FILES = 100  # with all they include: each may name the next one twice
_MOST_BYTES = 10**7
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def read(
    path: Path,
    allowed: Sequence[Path] = (),
    inside: tuple[Path, ...] = (),
    seen: list[Path] | None = None,
) -> dict:
    """The plain data of a study file with everything it includes.

    Args:
        allowed: files and folders from which it may include beside its own folder (``--allow-include``): what
            it includes is copied into the store and told of in errors.
        inside: the files by which this one is included.
        seen: all files read so far.

    Raises:
        InputError: for a file that is not there, is not TOML or is not allowed, and for files that include
            each other.
    """
    path = Path(path)
    seen = [] if seen is None else seen
    seen.append(path)
    if len(seen) > _MOST_FILES:
        raise InputError(f"{inside[0]}: include: should read at most {_MOST_FILES} files in all")
    data = anchored(_toml(path, inside), path.parent, str(path))
    includes = data.pop("include", [])
    if isinstance(includes, str):
        includes = [includes]
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise InputError(f"{path}: include: should be a list of file names, is {includes!r}")
    chain = (*inside, path.resolve())
    merged: dict = {}
    for name in includes:
        below = path.parent / name
        _check_allowed(path, name, below, (chain[0].parent, *allowed))
        if below.resolve() in chain:
            raise InputError(f"{path}: include: {name} includes this file in turn")
        merged = merge(merged, read(below, allowed, chain, seen))
    return merge(merged, data)


def _check_allowed(path: Path, name: str, below: Path, places: Sequence[Path]) -> None:
    whole = below.resolve()
    if not any(whole.is_relative_to(place.resolve()) for place in places):
        raise InputError(
            f"{path}: include: {name} is not in the study's folder; --allow-include {whole.parent} allows it"
        )


def anchored(data: Mapping, base: Path, where: str) -> dict:
    """``data`` with the texts and tokenizers that are files or folders as absolute paths, from ``base`` on.

    A study means the same wherever it is read from: by a command in another folder, by workers from the copy
    that a store keeps. What is absolute already stays, so the second time changes nothing.

    Raises:
        InputError: for a source that lies beside the caller and not beside the file: which is meant?
    """

    def found(source, key: str):
        if isinstance(source, list):
            return [found(one, key) for one in source]
        if not isinstance(source, str) or source in ("", *SOURCES) or os.path.isabs(source) or "\0" in source:
            return source
        path = os.path.abspath(base / source)
        if not os.path.exists(path) and os.path.exists(source):
            raise InputError(
                f"{where}: {key}: {said(source)} is looked for beside this file and is not there; what lies "
                f"in the working directory is {os.path.relpath(source, base)!r} from here"
            )
        return path

    def vocabulary(name, key: str):
        if isinstance(name, list):
            return [vocabulary(one, key) for one in name]
        return found(name, key) if isinstance(name, str) and name.endswith(".json") else name

    def texts(named, key: str):
        if not isinstance(named, Mapping):
            return named
        return {name: found(source, f"{key}.{name}") for name, source in named.items()}

    readers = {"source": found, "tokenizer": vocabulary, "sources": texts}

    def table(of, key: str) -> dict:
        changed = dict(of)
        for name, read_name in readers.items():
            if f"data.{name}" in changed:  # a factor
                changed[f"data.{name}"] = read_name(changed[f"data.{name}"], f"{key}data.{name}")
        if isinstance(changed.get("data"), Mapping):
            data = dict(changed["data"])
            for name, read_name in readers.items():
                if name in data:
                    data[name] = read_name(data[name], f"{key}data.{name}")
            changed["data"] = data
        if isinstance(changed.get("factors"), Mapping):
            changed["factors"] = table(changed["factors"], f"{key}factors.")
        return changed

    whole = table(data, "")
    if isinstance(whole.get("grids"), list):
        whole["grids"] = [
            table(grid, f"grids[{i}].") if isinstance(grid, Mapping) else grid
            for i, grid in enumerate(whole["grids"])
        ]
    return whole


def read_alone(path: Path) -> dict:
    """The plain data of one file, its ``include`` as it stands."""
    return _toml(Path(path), ())


def _toml(path: Path, inside: tuple[Path, ...]) -> dict:
    hint = f"is included by {inside[-1]}" if inside else f"`lab init {path}` writes an example"
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder, should be a study file")
        text = files.read_bytes(path, limit=_MOST_BYTES).decode()
    except FileNotFoundError:
        told = files.missing(path, "no such file")
        raise InputError(f"{told}; {hint}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: {_key_at(text, str(error))}: is not TOML: {error}") from None
    except (ValueError, RecursionError) as error:  # a date or number beyond Python's, a thousand brackets
        raise InputError(f"{path}: the file: is not TOML that can be read: {error}") from None


def _key_at(text: str, message: str) -> str:
    """The key nearest above the place that the TOML reader complains of."""
    found = re.search(r"at line (\d+)", message)
    lines = text.splitlines()[: int(found[1]) if found else None]
    for line in reversed(lines):
        key = re.match(r"\s*(?:\[+\s*)?([\w.\-\"']+)", line)
        if key:
            return key[1]
    return "the file"


def merge(below: Mapping, above: Mapping) -> dict:
    """``above`` laid on ``below``: tables key by key, grids one after the other, anything else replaced."""
    merged = copy.deepcopy(dict(below))
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        elif key == "grids" and isinstance(value, list) and isinstance(merged.get(key), list):
            merged[key] = [*merged[key], *copy.deepcopy(value)]
        else:
            merged[key] = copy.deepcopy(value)
    return merged


@dataclass(frozen=True)
class Override:
    """One ``--set key=value``; the value is read as TOML, and as text where it is none."""

    text: str
    path: tuple[str | int, ...]
    value: object

    @classmethod
    def parse(cls, text: str) -> "Override":
        """Raises InputError where it is not ``key=value``."""
        key, equals, raw = text.partition("=")
        key = key.strip()
        steps = tuple(name or int(index) for name, index in _STEP.findall(key))
        if not equals or not steps or _STEP.sub("", key).strip("."):
            raise InputError(f"--set {text}: should be key=value, as in model.width=64")
        try:
            value = tomllib.loads(f"value = {raw}")
            value = value["value"] if len(value) == 1 else raw
        except tomllib.TOMLDecodeError:
            value = raw.strip()
        return cls(text, steps, value)

    def apply(self, data: dict) -> dict:
        """A copy of ``data`` with the value set; a grid may be meant by its name or its number.

        Raises:
            InputError: where the path leads through something that is no table.
        """
        changed = copy.deepcopy(data)
        at: object = changed
        for i, step in enumerate(self.path[:-1]):
            at = self._enter(at, step, i)
        last = self.path[-1]
        if isinstance(at, list):
            at[self._place(at, last)] = self.value
        elif isinstance(at, dict) and isinstance(last, str):
            at[last] = self.value
        else:
            raise InputError(f"--set {self.text}: {self._said(len(self.path) - 1)} is not a table")
        return changed

    def _enter(self, at: object, step: str | int, i: int) -> object:
        if isinstance(at, list):
            return at[self._place(at, step)]
        if isinstance(at, dict) and isinstance(step, str):
            return at.setdefault(step, {})
        raise InputError(f"--set {self.text}: {self._said(i)} is not a table")

    def _place(self, items: list, step: str | int) -> int:
        names = [item.get("name") if isinstance(item, dict) else None for item in items]
        if isinstance(step, str) and step in names:
            return names.index(step)
        if isinstance(step, int) and step < len(items):
            return step
        valid = [name for name in names if isinstance(name, str)] or [f"[{i}]" for i in range(len(items))]
        raise InputError(f"--set {self.text}: no entry {step!r} here; {nearest(str(step), valid)}")

    def _said(self, upto: int) -> str:
        parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path[:upto])
        return "".join(parts).lstrip(".") or "the study"


@dataclass(frozen=True)
class Range:
    """Numbers at equal ratios: ``count`` from ``start`` to ``stop``, or each ``times`` the one before."""

    start: Annotated[float, Within(1e-12, 1e30)]
    count: Annotated[int, Within(1, 10_000)]
    stop: Annotated[float, Within(1e-12, 1e30)] | None = None
    times: Annotated[float, Within(1.0001, 1e6)] | None = None

    def problems(self):
        if (self.stop is None) == (self.times is None):
            yield "stop", "should be given, or times; one of the two"
        if self.stop is not None and self.stop <= self.start:
            yield "stop", f"should be above start, is {self.stop}"
        if self.times is not None and log(self.start) + (self.count - 1) * log(self.times) > log(1e30):
            yield "count", f"gives numbers beyond 1e+30, is {self.count}"

    def values(self) -> list[float]:
        steps = max(self.count - 1, 1)
        ratio = self.times if self.times is not None else (self.stop / self.start) ** (1 / steps)
        return [self.start * ratio**i for i in range(self.count)]


def expand_range(raw, where: str, key: str, whole: bool):
    """``raw`` itself, or the numbers of a range written as a table; whole ones where the key wants them.

    Raises:
        InputError: for a table that is no range.
    """
    if not isinstance(raw, Mapping):
        return raw
    values = build(Range, raw, where, key).values()
    return [round(value) for value in values] if whole else values


def to_toml(data: Mapping) -> str:
    """TOML text of plain data; what :mod:`tomllib` reads from it is equal to ``data``."""
    return "".join(_table(data, ())).lstrip("\n")


def _table(data: Mapping, path: Sequence[str]) -> list[str]:
    lines = [f"{_name(k)} = {_value(v)}\n" for k, v in data.items() if not _is_table(v) and v is not None]
    for key, value in data.items():
        inner = (*path, key)
        name = ".".join(map(_name, inner))
        if isinstance(value, Mapping):
            lines += [f"\n[{name}]\n", *_table(value, inner)]
        elif _is_table(value):
            for item in value:
                lines += [f"\n[[{name}]]\n", *_table(item, inner)]
    return lines


def _is_table(value) -> bool:
    if isinstance(value, Mapping):
        return True
    # only the list of grids reads better as headed tables; short tables stay on their line
    return (
        isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) and "name" in v for v in value)
    )


def _value(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_name(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return repr(value) if isinstance(value, int | float) else str(value)


def _name(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'
