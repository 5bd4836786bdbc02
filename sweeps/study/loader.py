"""From a TOML file to a study, validated whole before anything runs: includes, overrides, ranges, runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from lab.data import DataConfig
from lab.errors import InputError
from lab.files import read_text
from lab.strict import build
from sweeps.study import overrides
from sweeps.study.designs import is_whole, points
from sweeps.study.schema import BUDGETS, Study


def load(path: Path, sets: Sequence[str] = (), allowed: Sequence[Path] = ()) -> Study:
    """The study of a TOML file, with ``--set key=value`` applied; ``allowed``: of ``--allow-include``.

    Raises:
        InputError: with all problems of the file, one line each.
    """
    return parse(resolved(path, sets, allowed), str(path))


def resolved(path: Path, sets: Sequence[str] = (), allowed: Sequence[Path] = ()) -> dict:
    """The plain data of a study, includes merged and overrides applied.

    Raises:
        InputError: for files that cannot be read, and for overrides that are wrong or change nothing.
    """
    data = overrides.read(path, allowed)
    parsed = [overrides.Override.parse(text) for text in sets]
    final = _applied(data, parsed)
    if final == data:
        return data
    try:
        after = parse(final, str(path))
    except InputError as error:
        lines = (problem.removeprefix(f"{path}: ") for problem in error.problems)
        said = f"{path} with {' '.join(f'--set {text}' for text in sets)}"
        raise InputError(*(f"{said}: {line}" for line in lines)) from None
    idle = []
    for i, override in enumerate(parsed):
        without = _applied(data, [*parsed[:i], *parsed[i + 1 :]])
        if without != final and _is_idle(without, after, str(path)):
            idle.append(
                f"--set {override.text}: changes no run of this study: its grids give their own; set it there"
            )
    if idle:
        raise InputError(*idle)
    return final


def _applied(data: dict, parsed: Sequence[overrides.Override]) -> dict:
    for override in parsed:  # what a command names, it means from where it is given
        data = overrides.anchored(override.apply(data), Path(), f"--set {override.text}")
    return data


def text_of(path: Path, sets: Sequence[str] = (), allowed: Sequence[Path] = ()) -> str:
    """A study file that stands alone: the file itself, or one of all that it includes and all keys set.

    A store keeps it, and workers on other machines read it there.
    """
    data = resolved(path, sets, allowed)
    if data == overrides.read_alone(path):
        return read_text(path)
    heading = f"# {Path(path).name} with what it includes, and whole paths" + "".join(
        f", --set {text}" for text in sets
    )
    return f"{heading}\n{overrides.to_toml(data)}"


def _is_idle(before: Mapping, after: Study, where: str) -> bool:
    try:
        study = parse(before, where)
    except InputError:
        return False
    same = (study.name, study.run, study.prior) == (after.name, after.run, after.prior)
    return same and points(study) == points(after)


def parse(data: Mapping, where: str, vocab: Callable[[DataConfig], int] | None = None) -> Study:
    """The study of plain data; also checks every run it would make."""
    study = build(Study, _expanded(data, where), where)
    points(study, where, vocab, seeds=False)
    return study


def checked(study: Study, where: str = "study") -> Study:
    """A study that was built in Python, as its own file would give it: what a file may hold may be here too
    (ranges, relative paths, from the working folder).

    Raises:
        InputError: with all its problems, one line each.
    """
    return parse(overrides.anchored(plain(study), Path(), where), where)


def plain(value: Any) -> dict:
    """A study, or a part of one, as the plain data of its file: what differs from the defaults."""
    found = {}
    for one in fields(value):
        given = getattr(value, one.name)
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if given is not None and (default is MISSING or given != default):
            found[one.name] = _plain(given)
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return plain(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _expanded_factors(factors: Mapping, where: str, at: str, key: str, problems: list[str]) -> dict:
    """Factors with their ranges written out, whole numbers where the key takes those."""
    found = {}
    for name, values in factors.items():
        inner = f"{key}.{name}" if key else name
        if isinstance(values, Mapping) and {"start", "count"} & set(values):
            try:
                found[name] = overrides.expand_range(values, where, f"{at}.{inner}", is_whole(inner))
            except InputError as error:
                problems.extend(error.problems)
                found[name] = []
        elif isinstance(values, Mapping):
            found[name] = _expanded_factors(values, where, at, inner, problems)
        else:
            found[name] = values
    return found


def _expanded(data: Mapping, where: str) -> dict:
    """``data`` with its ranges written out; what is no grid is left for the loader to refuse."""
    grids = data.get("grids")
    if not isinstance(grids, list):
        return dict(data)
    problems: list[str] = []
    found = []
    for i, grid in enumerate(grids):
        new = dict(grid) if isinstance(grid, Mapping) else grid
        for key in ("params", *BUDGETS):
            if isinstance(new, dict) and key in new:
                try:
                    new[key] = overrides.expand_range(
                        new[key], where, f"grids[{i}].{key}", key in ("params", "tokens")
                    )
                except InputError as error:
                    problems.extend(error.problems)
                    new[key] = []
        if isinstance(new, dict) and isinstance(new.get("factors"), Mapping):
            new["factors"] = _expanded_factors(new["factors"], where, f"grids[{i}].factors", "", problems)
        found.append(new)
    if problems:
        raise InputError(*problems)
    return {**data, "grids": found}
