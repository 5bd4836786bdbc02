"""A study as data: one TOML file, validated whole before anything runs."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig
from lab.errors import InputError
from lab.strict import build


@dataclass(frozen=True)
class Size:
    """One model of a ladder. What is left out is taken from the study's [model], [optimizer], batch."""

    width: int
    layers: int | None = None
    heads: int | None = None
    learning_rate: float | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Grid:
    """Sizes x token budgets x seeds. Tables given here replace keys of the study's own."""

    name: str
    sizes: tuple[Size, ...]
    tokens: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    held_out: int = 0  # (size, tokens) points of highest compute that are predicted, not fitted
    batch: int | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    model: Mapping[str, object] = field(default_factory=dict)
    optimizer: Mapping[str, object] = field(default_factory=dict)

    def problems(self):
        if not self.name.replace("-", "").replace("_", "").isalnum():
            yield "name", f"should be letters, digits, - and _, is {self.name!r}"
        for name in ("sizes", "tokens", "seeds"):
            values = getattr(self, name)
            if not values:
                yield name, "should not be empty"
            elif len(set(values)) < len(values):
                yield name, "has the same entry twice"
        if not 0 <= self.held_out < len(self.sizes) * len(self.tokens):
            points = len(self.sizes) * len(self.tokens)
            yield (
                "held_out",
                f"should lie between 0 and {points - 1} of the {points} points, is {self.held_out}",
            )


@dataclass(frozen=True)
class RunOptions:
    """How the study is run; none of it changes a result beyond what ``pack`` says."""

    pack: Literal["serial", "pmap", "devices"] = "serial"
    retries: int = 1  # attempts after the first failure of a cell
    checkpoint_seconds: float = 30.0


@dataclass(frozen=True)
class Study:
    name: str
    grids: tuple[Grid, ...]
    data: Mapping[str, object] = field(default_factory=dict)
    model: Mapping[str, object] = field(default_factory=dict)
    optimizer: Mapping[str, object] = field(default_factory=dict)
    batch: int = 16
    run: RunOptions = RunOptions()

    def problems(self):
        if not self.name.replace("-", "").replace("_", "").isalnum():
            yield "name", f"should be letters, digits, - and _, is {self.name!r}"
        names = [grid.name for grid in self.grids]
        if not names:
            yield "grids", "should not be empty"
        if len(set(names)) < len(names):
            yield "grids", f"two grids have one name: {', '.join(names)}"


@dataclass(frozen=True)
class Point:
    """One cell before it is priced: which grid it belongs to, and its run."""

    grid: str
    config: RunConfig


def load(path: Path) -> Study:
    """The study of a TOML file.

    Raises:
        InputError: with all problems of the file, one line each.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `lab init {path}` writes an example") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, should be a study file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML: {error}") from None
    return parse(data, str(path))


def parse(data: Mapping, where: str) -> Study:
    """The study of plain data; also checks every run it would make."""
    study = build(Study, data, where)
    points(study, where)
    return study


def points(study: Study, where: str = "study") -> list[Point]:
    """All runs of a study, grid by grid, sizes outermost.

    Raises:
        InputError: when a run cannot be, naming the key at fault.
    """
    problems: list[str] = []
    found: list[Point] = []
    for index, grid in enumerate(study.grids):
        at = f"grids[{index}]"
        tables = {}
        for key, cls in (("data", DataConfig), ("optimizer", OptimizerConfig)):
            tables[key] = _table(
                cls, {**getattr(study, key), **getattr(grid, key)}, where, f"{at}.{key}", problems
            )
        for i, size in enumerate(grid.sizes):
            shape = {k: v for k, v in _given(size).items() if k in {f.name for f in fields(ModelConfig)}}
            model = _table(
                ModelConfig, {**study.model, **grid.model, **shape}, where, f"{at}.sizes[{i}]", problems
            )
            if model is None or None in tables.values():
                continue
            optimizer = tables["optimizer"]
            if size.learning_rate is not None:
                optimizer = replace(optimizer, learning_rate=size.learning_rate)
            run = RunConfig(
                tokens=max(grid.tokens),
                model=model,
                optimizer=optimizer,
                data=tables["data"],
                batch=next(b for b in (size.batch, grid.batch, study.batch) if b is not None),
            )
            for tokens in grid.tokens:
                config = replace(run, tokens=tokens)
                lines = [*config.problems(), *optimizer.problems()]
                problems.extend(f"{where}: {at}.sizes[{i}].{key}: {text}" for key, text in lines)
                found.extend(Point(grid.name, replace(config, seed=seed)) for seed in grid.seeds)
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return found


def _given(size: Size) -> dict:
    return {f.name: getattr(size, f.name) for f in fields(size) if getattr(size, f.name) is not None}


def _table(cls, data, where, key, problems):
    try:
        return build(cls, data, where, key)
    except InputError as error:
        problems.extend(error.problems)
        return None
