"""What a reader of a foreign file found: rows, and what was left out, renamed, guessed or standing twice."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import InputError

# What harnesses and tables write for a score that was not measured.
NOT_MEASURED = frozenset((-1.0, -9.0, -99.0, -100.0, -999.0, -9999.0))
DEEPEST = 32  # lists and objects of JSON in one another

_SIZE = re.compile(
    r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)\s?([KMBT])(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([kmbt])(?![A-Za-z0-9])"
)
_SCALE = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


@dataclass(frozen=True)
class Remark:
    """`code` is stable and meant for programs, `text` is one sentence for people. about: what it is said of,
    a run or a file, for a list where the same is said of many."""

    code: str
    text: str
    about: str = ""


@dataclass(frozen=True)
class Found:
    """Rows of one file or more, and remarks. scores: the rows are scores of tasks, for `lab thresholds`."""

    rows: list[dict[str, Any]]
    remarks: tuple[Remark, ...] = ()
    scores: bool = False


# Names of files that every run has.
_ALIKE = (
    "trainer_state metrics log logs history train training results result losses stats main output out "
    "stdout console summary slurm all_results eval_results train_results"
)
_GENERIC = frozenset(_ALIKE.split())


def run_name(path: Path) -> str:
    """A run's name: its file's, or of files that are all called alike the folder's, checkpoints aside."""
    stem = path.name.split(".")[0]
    if stem.lower() not in _GENERIC:
        return path.stem if path.suffix in (".log", ".txt", ".out") else stem
    folder = path.absolute().parent
    return folder.parent.name if re.match(r"(checkpoint|ckpt|step)[-_]?\d", folder.name) else folder.name


# Remarks of one code that are printed one by one; of more the first, and what the others are about.
_APART = 2


def grouped(remarks: Iterable[Remark]) -> list[Remark]:
    """What is said of many files said once, with what else it is said of; all else as it is."""
    by_code: dict[str, list[Remark]] = {}
    for one in dict.fromkeys(remarks):
        by_code.setdefault(one.code if one.about else one.text, []).append(one)
    out = []
    for same in by_code.values():
        if len(same) <= _APART:
            out += same
            continue
        more = listed((one.about for one in same[1:]), 20)
        out.append(Remark(same[0].code, f"{same[0].text}; the same of {len(same) - 1} more: {more}"))
    return out


def size_in(name: str) -> float | None:
    """Parameters in a name such as `pythia-1.4b` or `OPT 125M`; None for none, or two that differ.

    A letter before the digits makes them something else: `d512`, `v2b`, `8x7B`. Tokens (`300B tokens`) are no
    size, and `1_4b` may be 1.4 or 4 billion.
    """
    name = name[:300]
    if re.search(r"\d_\d+[kmbt]", name, re.IGNORECASE):
        return None
    name = re.sub(r"\d+(?:\.\d+)?\s?[kmbtKMBT][\s_-]?(?:tokens?|toks?)\b", "", name)
    name = name.replace("_", " ").replace("-", " ")
    found = {
        float(big or small) * _SCALE[(unit or letter).lower()]
        for big, unit, small, letter in _SIZE.findall(name)
    }
    return found.pop() if len(found) == 1 else None


def read_off(path: Path, params: float, name: str) -> Remark:
    """That a size is a guess."""
    text = f"{path.name}: params {params:g} is read off the name {name!r}; --models says it better"
    return Remark("params_from_name", text, f"{name} {params:g}")


def sized(
    rows: list[dict], models: Mapping[str, Mapping[str, Any]], key: str = "model"
) -> tuple[list[dict], list[str]]:
    """Rows with what the user says of their models, and what is wrong with it. models: a name, its last part
    or an unambiguous piece of it -> params, tokens, ...; key: the column of names."""
    names = list(dict.fromkeys(str(row.get(key)) for row in rows))
    chosen: dict[str, Mapping[str, Any]] = {}
    problems = []
    for given, values in models.items():
        exact = [name for name in names if given in (name, name.rsplit("/", 1)[-1])]
        fits = exact or [name for name in names if given.lower() in name.lower()]
        if len(fits) == 1:
            chosen[fits[0]] = values
        else:
            what = f"fits {listed(fits)}" if fits else f"fits none of {listed(names)}"
            problems.append(f"--models: {given!r} {what}")
    return [row | chosen.get(str(row.get(key)), {}) for row in rows], problems


def loaded(path: Path, text: str) -> Any:
    """The JSON of a file. Raises InputError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{path}: lists or objects in more than {DEEPEST} others") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def number(value: Any) -> float | None:
    """A number, or None for what is none (`N/A`, true, NaN)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if found == found and abs(found) != float("inf") else None


def objects_in_cells(path: Path, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Remark]]:
    """Rows with columns of objects (`{"n_params": 1e7}`, as JSON or Python writes it) as columns of values.

    What is in an object goes under its own name, and under `column.name` where that is taken.
    """
    names = [
        name
        for name in (rows[0] if rows else ())
        if all(_object(row.get(name)) is not None for row in rows[:20]) and str(name) != "losses"
    ]
    if not names:
        return rows, []
    out = []
    for row in rows:
        new = {name: value for name, value in row.items() if name not in names}
        for name in names:
            for key, value in (_object(row.get(name)) or {}).items():
                if isinstance(value, str | int | float | bool) and not str(key).startswith("_"):
                    new[str(key) if str(key) not in new else f"{name}.{key}"] = value
        out.append(new)
    text = f"{path.name}: what is in the objects of {listed(names)} is columns; lists in them are not read"
    return out, [Remark("objects", text)]


def _object(value: Any) -> dict | None:
    """The object of a cell; numbers, texts and lists in it, nothing that runs."""
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, str) or not value.startswith("{") or len(value) > 100_000:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict):
            return found
    return None


def listed(names: Iterable[Any], most: int = 5) -> str:
    """`a, b, c`, and how many more."""
    names = list(dict.fromkeys(map(str, names)))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def at(data: Any, *path: str) -> Any:
    """data[a][b]..., or None where that is not there."""
    for key in path:
        if not isinstance(data, Mapping) or key not in data:
            return None
        data = data[key]
    return data
