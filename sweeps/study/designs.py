"""From the grids of a study to its runs: sizes x factors x budgets x seeds, each combination checked."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import product
from typing import Literal, get_args, get_type_hints

from lab.config import Batch, ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig, Dataset
from lab.errors import InputError
from lab.strict import beyond, build, nearest_key
from lab.training import recipes
from sweeps.study import ladders
from sweeps.study.schema import Grid, Size, Study, flat
from sweeps.study.selection import Selection

_TABLES = {"model": ModelConfig, "optimizer": OptimizerConfig, "data": DataConfig}
_SHAPE = ("width", "layers", "heads")
Vocab = Callable[[DataConfig], int]


@dataclass(frozen=True)
class Point:
    """One cell before it is priced: which grid it belongs to, its run, whether it was chosen as held out."""

    grid: str
    config: RunConfig
    held_out: bool = False


def points(study: Study, where: str = "study", vocab: Vocab | None = None, seeds: bool = True) -> list[Point]:
    """All runs of a study, grid by grid, sizes outermost, seeds innermost.

    Args:
        seeds: False: one run a place, for a check of all that can be wrong.
        vocab: size of the vocabulary of a data set; asked only where parameters must be counted.

    Raises:
        InputError: when a run cannot be, naming the key at fault.
    """
    problems: list[str] = []
    found: list[Point] = []
    for index, grid in enumerate(study.grids):
        before = len(problems)
        made = _Grid(study, grid, f"{where}: grids[{index}]", vocab or vocab_size, problems)
        cells = list(made.cells())  # a study that was read has no more than can be listed
        if len(problems) == before:
            found += made.seeded(cells, seeds)
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return found


@dataclass(frozen=True, eq=False)
class _ByText:
    """A configuration as a key: its table of task rates keeps it from being one itself."""

    config: DataConfig

    def __hash__(self) -> int:
        return hash(repr(self.config))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByText) and repr(self.config) == repr(other.config)


@cache
def _loaded(key: _ByText) -> Dataset:
    from lab.data import load

    return load(key.config)


def vocab_size(config: DataConfig) -> int:
    """V of a data set; the text is looked at only where it decides that."""
    from lab.data import tokenizer_of

    known = tokenizer_of(config)
    return _loaded(_ByText(config)).vocab_size if known is None else known.vocab_size


class _Grid:
    """One grid on its way to runs; collects what is wrong with it in ``problems``."""

    def __init__(self, study: Study, grid: Grid, at: str, vocab: Vocab, problems: list[str]):
        self.study, self.grid, self.at, self.vocab, self.problems = study, grid, at, vocab, problems

    def cells(self) -> Iterator[RunConfig]:
        """Runs of seed 0, in order."""
        for size, place, budgets in self._sizes():
            for factors in self._factors():
                base = self._run(size, place, factors)
                if base is not None:
                    yield from filter(self._affordable, self._budgeted(base, place, budgets))

    def _affordable(self, config: RunConfig) -> bool:
        most = self.grid.max_flops
        return most is None or 6 * self._params(config) * config.tokens <= most

    def seeded(self, cells: list[RunConfig], every: bool) -> list[Point]:
        cells = _unique(cells)
        if not cells and self.grid.max_flops is not None and not self.problems:
            self.problems.append(f"{self.at}.max_flops: leaves no cell; the cheapest needs more")
        cells = self._selected(cells)
        held = [
            Selection(s, f"{self.at}.held_out_where[{i}]") for i, s in enumerate(self.grid.held_out_where)
        ]
        more = [
            (Selection(s.where, f"{self.at}.more_seeds[{i}].where"), s.seeds)
            for i, s in enumerate(self.grid.more_seeds)
        ]
        chosen: list[list[bool]] = []
        for selection in (*held, *(s for s, _ in more)):
            try:
                chosen.append(selection.of(cells, self._params))
            except InputError as error:
                self.problems.extend(error.problems)
        if not 0 <= self.grid.held_out < max(len(cells), 1):
            self.problems.append(
                f"{self.at}.held_out: should lie between 0 and {len(cells) - 1} of the {len(cells)} points, "
                f"is {self.grid.held_out}"
            )
        if len(chosen) < len(held) + len(more):
            return []
        found = []
        for i, config in enumerate(cells):
            seeds = self.grid.seeds
            for (_, its), which in zip(more, chosen[len(held) :], strict=True):
                seeds = its if which[i] else seeds
            is_held = any(which[i] for which in chosen[: len(held)])
            for seed in seeds if every else seeds[:1]:
                found.append(Point(self.grid.name, replace(config, seed=seed) if seed else config, is_held))
        return found

    def _selected(self, cells: list[RunConfig]) -> list[RunConfig]:
        """Those that ``only_where`` leaves."""
        if not self.grid.only_where:
            return cells
        kept = [False] * len(cells)
        for i, where in enumerate(self.grid.only_where):
            try:
                these = Selection(where, f"{self.at}.only_where[{i}]").of(cells, self._params)
            except InputError as error:
                self.problems.extend(error.problems)
            else:
                kept = [a or b for a, b in zip(kept, these, strict=True)]
        return [cell for cell, keep in zip(cells, kept, strict=True) if keep]

    def _sizes(self) -> Iterator[tuple[Size, str, list | None]]:
        """Sizes with their place in the file; budgets of their own only in a valley."""
        grid = self.grid
        if grid.params:
            for i, target in enumerate(grid.params):
                size = self._shaped(target, f".params[{i}]")
                if size:
                    yield size, f".params[{i}]", None
        elif grid.valley:
            for i, flops in enumerate(grid.flops):
                for size in self._valley(flops, f".flops[{i}]"):
                    yield size, f".flops[{i}]", [flops]
        elif grid.sizes:
            yield from ((size, f".sizes[{i}]", None) for i, size in enumerate(grid.sizes))
        else:
            yield Size(), "", None

    def _base(self, factors: Mapping[str, object]) -> tuple[ModelConfig, DataConfig] | None:
        model = self._table("model", self._merged("model", factors), "")
        data = self._table("data", self._merged("data", factors), "")
        return None if model is None or data is None else (model, data)

    def _shaped(self, target: float, place: str) -> Size | None:
        base = self._base({})
        if base is None:
            return None
        try:
            shape = ladders.shape_for(target, self.grid.shape, base[0], self.vocab(base[1]))
        except InputError as error:
            self.problems.extend(f"{self.at}{place}: {problem}" for problem in error.problems)
            return None
        return self._size_of(shape)

    def _valley(self, flops: float, place: str) -> list[Size]:
        base = self._base({})
        if base is None:
            return []
        valley, vocab = self.grid.valley, self.vocab(base[1])
        try:
            shapes = ladders.valley(
                flops,
                valley.sizes,
                valley.spread,
                valley.tokens_per_param,
                lambda target: ladders.shape_for(target, self.grid.shape, base[0], vocab),
            )
        except InputError as error:
            self.problems.extend(f"{self.at}{place}: {problem}" for problem in error.problems)
            return []
        return [self._size_of(shape) for shape in shapes]

    def _size_of(self, model: ModelConfig) -> Size:
        rate = self.grid.shape.rate
        return Size(model.width, model.layers, model.heads, rate.at(model.width) if rate else None)

    def _factors(self) -> Iterator[dict[str, object]]:
        """Every combination of the factors' values, under dotted keys."""
        factors = dict(flat(self.grid.factors))
        axes = []
        for key, values in factors.items():
            place = f"{self.at}.factors.{key}"
            if problem := _problem_of_factor(key):
                self.problems.append(f"{place}: {problem}")
            elif not isinstance(values, list | tuple) or not values:
                self.problems.append(f"{place}: should be a list of values, is {values!r}")
            elif len({repr(v) for v in values}) < len(values):
                self.problems.append(f"{place}: has the same entry twice")
            else:
                axes.append([(key, value) for value in values])
        if len(axes) == len(factors):
            yield from (dict(combination) for combination in product(*axes))

    def _run(self, size: Size, place: str, factors: dict[str, object]) -> RunConfig | None:
        """The run of a size before its budget, None where its keys are wrong."""
        shape = {name: getattr(size, name) for name in _SHAPE if getattr(size, name) is not None}
        model = {**self.study.model, **self.grid.model, **shape, **_under("model", factors)}
        optimizer = {**self._merged("optimizer", {})}
        if size.learning_rate is not None:
            optimizer["learning_rate"] = size.learning_rate
        optimizer |= _under("optimizer", factors)
        tables = {
            "model": self._table("model", model, place, {*shape, *_under("model", factors)}),
            "optimizer": self._table("optimizer", optimizer, place, _own(size, factors)),
            "data": self._table("data", self._merged("data", factors), place),
        }
        if None in tables.values():
            return None
        precision = self.grid.precision or self.study.precision
        batch = next(b for b in (size.batch, self.grid.batch, self.study.batch) if b is not None)
        rest = {"tokens": 2**62, "batch": batch, "precision": precision} | {
            key: value for key, value in factors.items() if "." not in key
        }
        try:
            config = build(_Rest, rest, self.at.partition(": ")[0], self.at.partition(": ")[2] + place)
        except InputError as error:
            self.problems.extend(error.problems)
            return None
        return RunConfig(config.tokens, **tables, batch=config.batch, precision=config.precision)

    def _budgeted(self, base: RunConfig, place: str, budgets: list | None) -> Iterator[RunConfig]:
        grid = self.grid
        if grid.design == "trunk_branch" and base.optimizer.schedule != "wsd":
            self.problems.append(
                f"{self.at}.optimizer.schedule: branches need a trunk of constant rate, 'wsd'; "
                f"is {base.optimizer.schedule!r}"
            )
            return
        key = grid.budget
        values = budgets or getattr(grid, key)
        if key == "epochs":
            unique = _loaded(_ByText(base.data)).unique_tokens
            if unique is None:
                self.problems.append(
                    f"{self.at}.epochs: {base.data.label} has no end: say tokens, or data.max_tokens"
                )
                return
            values = [max(1, round(value * unique)) for value in values]
        elif key != "tokens":
            params = self._params(base)
            per = grid.optimal_tokens_per_param if key == "multiples" else 1.0
            values = [
                ladders.tokens_of_flops(value, params) if key == "flops" else round(value * per * params)
                for value in values
            ]
        for tokens in values:
            config = replace(base, tokens=tokens)
            lines = list(beyond(config, ("tokens",))) or list(config.problems())  # tables are checked before
            self.problems.extend(f"{self.at}{place}.{name}: {text}" for name, text in lines)
            if not lines:
                resolved = self._with_numbers(config, place)
                if resolved is not None:
                    yield resolved

    def _params(self, config: RunConfig) -> int:
        return ladders.counted(config.model, self.vocab(config.data))

    def _with_numbers(self, config: RunConfig, place: str) -> RunConfig | None:
        """Numbers where the optimizer names published laws of rate and batch."""
        if config.optimizer.learning_rate_law is None and config.optimizer.batch_law is None:
            return config
        try:
            return recipes.resolve(config, self.vocab(config.data), f"{self.at}{place}.")
        except InputError as error:
            self.problems.extend(error.problems)
            return None

    def _merged(self, name: str, factors: Mapping[str, object]) -> dict:
        merged = {**getattr(self.study, name), **getattr(self.grid, name)}
        for key, value in _under(name, factors).items():
            table, dot, entry = key.partition(".")  # of a table in the table: rates.code
            below = merged.get(table) or {}
            merged[table] = {**below, entry: value} if dot and isinstance(below, Mapping) else value
        return merged

    def _table(self, name: str, data: Mapping, place: str, own: Collection[str] = ()):
        """The table, or None; problems name the place where a key was written. ``own``: keys of the size."""
        where, _, at = self.at.partition(": ")
        try:
            return build(_TABLES[name], data, where, name)
        except InputError as error:
            for problem in error.problems:
                said = problem.removeprefix(f"{where}: {name}.")
                key = re.match(r"[A-Za-z0-9_-]*", said)[0]
                if key in own:
                    written = f"{at}{place}"
                elif key in getattr(self.grid, name) or key not in getattr(self.study, name):
                    written = f"{at}.{name}"
                else:
                    written = name
                self.problems.append(f"{where}: {written}.{said}")
            return None


def _own(size: Size, factors: Mapping[str, object]) -> set[str]:
    return {*_under("optimizer", factors), *(("learning_rate",) if size.learning_rate is not None else ())}


@dataclass(frozen=True)
class _Rest:
    """Keys of a run that stand in no table."""

    tokens: int
    batch: Batch
    precision: Literal["float32", "bfloat16"]


def _unique(cells: list[RunConfig]) -> list[RunConfig]:
    """Without repetitions: targets that round to one shape are one size."""
    seen: dict[tuple, RunConfig] = {}
    for c in cells:
        key = (c.model, c.optimizer, c.batch, c.tokens, c.precision, repr(c.data))
        seen.setdefault(key, c)
    return list(seen.values())


def _under(table: str, factors: Mapping[str, object]) -> dict[str, object]:
    return {k.partition(".")[2]: v for k, v in factors.items() if k.startswith(f"{table}.")}


def is_whole(key: str) -> bool:
    """Whether a factor takes whole numbers."""
    table, _, name = key.rpartition(".")
    hint = get_type_hints(_TABLES[table]).get(name) if table in _TABLES else None
    return key == "batch" or hint is int or int in get_args(hint)


@cache
def _factor_keys() -> frozenset[str]:
    """What a factor may vary: keys of a run in no table, and in its tables."""
    valid = {"batch", "precision"}
    for table, cls in _TABLES.items():
        hints = get_type_hints(cls)
        valid |= {f"{table}.{f.name}" for f in fields(cls) if not is_dataclass(hints[f.name])}
    return frozenset(valid)


def _problem_of_factor(key: str) -> str:
    valid = _factor_keys()
    if key in valid or key.rpartition(".")[0] in ("data.rates", "data.tasks"):
        return ""
    return f"no such key; {nearest_key(key, sorted(valid))}"
