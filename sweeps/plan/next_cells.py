"""The cells that could be trained next: shapes of a study's family, budgets on a grid, what each costs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np

from lab.config import ModelConfig, RunConfig
from lab.data import DataConfig, Dataset
from lab.errors import InputError
from sweeps.plan import cells as planned
from sweeps.plan.cells import Cell, Plan
from sweeps.plan.pricing import Prices, Seen
from sweeps.study import loader
from sweeps.study.schema import BUDGETS, Grid, flat

_WIDTHS, _BUDGETS, _SEEDS = 12, 10, 3  # candidates: so many of each at most, beside those of the study
_LARGER = 2.0  # times the largest width of the study: four times its params
_LONGER = 4.0  # times its largest budget
# What a grid of chosen cells says anew. Not `max_flops`: of more compute than that no run was wanted.
_REPLACED = (
    *BUDGETS, "design", "sizes", "params", "shape", "valley", "optimal_tokens_per_param",
    "seeds", "more_seeds", "held_out", "held_out_where", "only_where", "factors",
)  # fmt: skip

Shape = tuple[int, int, int]  # width, layers, heads
Key = tuple[int, int, int, float | None]  # and the learning rate, None where a published law sets it
_KEYS = ("width", "layers", "heads", "learning_rate")


def shape_key(model: ModelConfig) -> Shape:
    return model.width, model.layers, model.heads


def _key_of(size: Mapping) -> Key:
    return size["width"], size["layers"], size["heads"], size.get("learning_rate")


def _names(sizes: Collection[Key]) -> dict[Key, dict]:
    """What selects each size among these: its width; the rest of its shape, and its rate, where needed."""

    def needed(key: Key) -> dict:
        n = next((n for n in (1, 3) if sum(other[:n] == key[:n] for other in sizes) == 1), 4)
        return dict(zip(_KEYS[:n], key[:n], strict=True))

    return {key: needed(key) for key in sizes}


@dataclass(frozen=True)
class Family:
    """The grid of a study whose shapes and data further runs take. raw: the study as plain data.

    of_tasks: an elbow is looked for: many sizes up to the largest and many seeds, at the study's own budgets.
    rates: learning rates are looked for: those of each shape, at the study's own budgets; none named: the
    study's own. grids: names of those whose runs count beside the grid's own.
    """

    raw: Mapping
    grid: Grid
    plan: Plan
    load: Callable[[DataConfig], Dataset]
    of_tasks: bool = False
    rates: Mapping[Shape, Sequence[float]] | None = None
    grids: tuple[str, ...] = ()

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.plan.cells if cell.grid in (self.grid.name, *self.grids))

    @cached_property
    def sizes(self) -> tuple[dict, ...]:
        """The study's own sizes and others of their family, as a study file gives them, by shape.

        A width between or beyond the study's own takes every shape of the nearest of them, with its rate
        times the power of the width that the study's rates lie on.
        """
        own = {shape_key(cell.config.model): cell.config for cell in reversed(self.cells)}
        widths = np.array(sorted({width for width, _, _ in own}))
        found = {shape: self._size(config, config.model) for shape, config in own.items()}
        last = widths[-1] if self.of_tasks else _LARGER * widths[-1]
        for wanted in np.geomspace(widths[0], last, 2 * _WIDTHS if self.of_tasks else _WIDTHS):
            nearest = widths[np.argmin(np.abs(np.log(widths / wanted)))]
            for config in [own[shape] for shape in sorted(own) if shape[0] == nearest]:
                step = self.grid.shape.step(config.model) if not self.grid.sizes else 2 * config.model.heads
                width = max(step, round(wanted / step) * step)
                if width not in widths:
                    model = self._shape(config.model, width)
                    found.setdefault(shape_key(model), self._size(config, model))
        if not self.rates:
            return tuple(found[shape] for shape in sorted(found))
        several = ((found[shape], self.rates[shape]) for shape in sorted(self.rates))
        return tuple({**size, "learning_rate": rate} for size, rates in several for rate in rates)

    def _size(self, nearest: RunConfig, model: ModelConfig) -> dict:
        """`model` as a study file gives it, with the rate and batch that the nearest own size leads to."""
        size: dict = dict(zip(_KEYS, shape_key(model), strict=False))
        laws = {**self.plan.study.optimizer, **self.grid.optimizer}
        if not laws.get("learning_rate_law"):
            rate = nearest.optimizer.learning_rate
            if model != nearest.model:
                rate = float(f"{rate * (model.width / nearest.model.width) ** self._rate_power:.3g}")
            size["learning_rate"] = rate
        if not laws.get("batch_law") and len({c.config.batch for c in self.cells}) > 1:
            size["batch"] = nearest.batch
        return size

    @cached_property
    def _rate_power(self) -> float:
        """Of the learning rate along the width; 0 where the study has one width."""
        tuned = {(c.config.model.width, c.config.optimizer.learning_rate) for c in self.cells}
        widths, rates = np.log(np.array(sorted(tuned), float)).T
        return float(np.polyfit(widths, rates, 1)[0]) if len(np.unique(widths)) > 1 else 0.0

    def _shape(self, base: ModelConfig, width: int) -> ModelConfig:
        if self.grid.params or self.grid.valley:
            return self.grid.shape.model(base, width)
        return replace(base, width=width)

    @cached_property
    def budgets(self) -> tuple[int, ...]:
        """The study's own where they are few, others from its shortest to _LONGER times its longest; never
        more than once through its text unless the study does so."""
        own = sorted({cell.config.tokens for cell in self.cells})
        if self.of_tasks or self.rates is not None:
            return tuple(own)
        limit = self.plan.dataset(self.cells[0].config).unique_tokens or np.inf
        wanted = np.geomspace(own[0], min(_LONGER * own[-1], max(limit, own[-1])), _BUDGETS)
        more = {int(float(f"{tokens:.3g}")) for tokens in wanted}
        return tuple(sorted(more | set(own if len(own) <= _BUDGETS else own[:: len(own) - 1])))

    @cached_property
    def every(self) -> Plan:
        """All candidates."""
        return planned.make(loader.parse(self.study("candidates"), "candidates"), self.load)

    def study(self, name: str, chosen: Sequence[tuple[dict, int, int]] | None = None) -> dict:
        """A study file of (size, tokens, seed) that are chosen, or of all candidates."""
        raw = {key: value for key, value in self.raw.items() if key != "grids"}
        index = [grid.name for grid in self.plan.study.grids].index(self.grid.name)
        grid = {key: value for key, value in self.raw["grids"][index].items() if key not in _REPLACED}
        if chosen is None:
            seeds = sorted({*self.grid.seeds, *range(2 * _SEEDS if self.of_tasks else _SEEDS)})
            grid |= {"sizes": list(self.sizes), "tokens": list(self.budgets), "seeds": seeds}
            return {**raw, "name": name, "grids": [grid]}
        sizes = {_key_of(size): size for size, _, _ in chosen}
        grid |= {"sizes": [sizes[key] for key in sorted(sizes)]}
        grid |= {"tokens": sorted({tokens for _, tokens, _ in chosen})}
        seeds_of: dict[tuple[Key, int], list[int]] = {}
        for size, tokens, seed in chosen:
            seeds_of.setdefault((_key_of(size), tokens), []).append(seed)
        alike: dict[tuple[Key, tuple[int, ...]], list[int]] = {}
        for (key, tokens), seeds in sorted(seeds_of.items()):
            alike.setdefault((key, tuple(sorted(seeds))), []).append(tokens)
        named = _names(sizes)
        where = [({**named[key], "tokens": tokens}, seeds) for (key, seeds), tokens in alike.items()]
        grid |= {"seeds": list(where[0][1])}
        if len(seeds_of) < len(sizes) * len(grid["tokens"]):
            grid["only_where"] = [one for one, _ in where]
        if more := [{"where": one, "seeds": list(s)} for one, s in where if list(s) != grid["seeds"]]:
            grid["more_seeds"] = more
        return {**raw, "name": name, "grids": [grid]}


def family(
    raw: Mapping, where: str, load: Callable, grid: str = "", task: str = "", of_rates: bool = False
) -> Family:
    """The family of a study's grid that was named, else of its first one that crosses no factors and is of
    text, or has the task.

    of_rates: for the best rates of sizes: rates may be a factor, and grids that differ in shapes, rates and
    budgets alone count together unless one is named. Raises InputError where there is none.
    """
    plan = planned.make(loader.parse(raw, where), load)
    grids = {one.name: one for one in plan.study.grids}
    if grid and grid not in grids:
        raise InputError(f"{where}: has no grid {grid!r}; there are {', '.join(grids)}")
    allowed = {"optimizer.learning_rate"} if of_rates else set()
    for one in [grids[grid]] if grid else grids.values():
        found = Family(raw, one, plan, load, bool(task), {} if of_rates else None)
        if not found.cells or {key for key, _ in flat(one.factors)} - allowed:
            continue
        tasks = plan.dataset(found.cells[0].config).ability_sets()
        if task in tasks if task else (grid or of_rates or not tasks):
            return found if grid or not of_rates else replace(found, grids=_alike(found))
    if task:
        raise InputError(f"{where}: no grid without factors has the task {task!r}")
    if of_rates:
        raise InputError(f"{where}: no grid without factors beside optimizer.learning_rate")
    said = f"grid {grid} crosses factors" if grid else "no grid of text without factors"
    raise InputError(f"{where}: {said}: a law of params and tokens is fitted to sizes and budgets alone")


def _alike(of: Family) -> tuple[str, ...]:
    """Names of the grids whose runs differ from the family's in shapes, rates, budgets and seeds alone."""
    first = of.cells[0].config

    def same(config: RunConfig) -> bool:
        shape = dict(zip(_KEYS, shape_key(first.model), strict=False))
        optimizer = replace(config.optimizer, learning_rate=first.optimizer.learning_rate)
        model = replace(config.model, **shape)
        return (
            replace(config, tokens=first.tokens, seed=first.seed, model=model, optimizer=optimizer) == first
        )

    names = dict.fromkeys(cell.grid for cell in of.plan.cells)
    return tuple(n for n in names if all(same(cell.config) for cell in of.plan.cells if cell.grid == n))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Cells that could be trained: params, tokens and seed (m,), and what they cost in `unit`: own, of each
    alone; hold, of the trunk numbered `trunk` (-1: none) from `kept`, which the store has, up to where it
    branches off; start, of the shape numbered `shape`, compiled once in a `lab run`."""

    params: np.ndarray
    tokens: np.ndarray
    seeds: np.ndarray
    own: np.ndarray
    trunk: np.ndarray
    kept: np.ndarray
    hold: np.ndarray
    shape: np.ndarray
    start: np.ndarray
    unit: str
    cells: tuple[Cell, ...] = ()
    rates: np.ndarray | None = None  # (m,), where they are what is looked for

    def __len__(self) -> int:
        return len(self.params)

    @classmethod
    def straight(cls, params, tokens, seeds, own, unit: str) -> "Candidates":
        """Of runs that share nothing."""
        none, nothing = np.full(len(params), -1), np.zeros(len(params))
        return cls(params, tokens, seeds, own, none, nothing, nothing, none, nothing, unit)

    @property
    def alone(self) -> np.ndarray:
        """(m,): what each costs without the others."""
        return self.own + self.hold - self.kept + self.start

    def where(self, keep: np.ndarray) -> "Candidates":
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        arrays = {name: value[keep] for name, value in values.items() if isinstance(value, np.ndarray)}
        cells = (
            tuple(cell for cell, keeps in zip(self.cells, keep, strict=True) if keeps) if self.cells else ()
        )
        return replace(self, cells=cells, **arrays)


@dataclass(frozen=True)
class There:
    """What a store has that makes further runs cheaper, and what its runs took.

    seen: seconds a step. checkpoints: steps of trunks by id: a trunk goes on from the last one before its
    branch. new, again: seconds that a shape takes beyond its steps in a `lab run` of its own, where the store
    knows none of it, and where it does; shapes: (source, width, layers, heads) that it knows.
    """

    seen: Seen = field(default_factory=Seen)
    checkpoints: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    new: float = 0.0
    again: float = 0.0
    shapes: frozenset[tuple] = frozenset()


def shape_of(cell: Cell) -> tuple:
    """As a store's lists of cells tell shapes apart."""
    return cell.config.data.label, *shape_key(cell.config.model)


def of_family(of: Family, there: There) -> Candidates:
    """Every shape, budget and seed, priced in device-seconds: steps and evaluation as `lab plan` prices them,
    and what is `there`."""
    return priced(of.every, of.every.cells, there)


def priced(plan: Plan, cells: Sequence[Cell], there: There) -> Candidates:
    prices = Prices(plan, there.seen)
    evaluation: dict[tuple, float] = {}
    own, kept, hold, start = [], [], [], []
    trunks: dict[str | None, int] = {None: -1}
    shapes: dict[tuple, int] = {}
    trunk, shape = [], []
    for cell in cells:
        per_step = prices.seconds_per_step[cell.run_id].seconds
        key = (id(cell.config.data), cell.config.batch, per_step)
        if key not in evaluation:
            evaluation[key] = prices.evaluation_seconds(cell)
        own.append(cell.own_steps * per_step + evaluation[key])
        branch = cell.steps - cell.own_steps
        before = [step for step in there.checkpoints.get(cell.trunk or "", ()) if step <= branch]
        kept.append(max(before, default=0) * per_step)
        hold.append(branch * per_step)
        trunk.append(trunks.setdefault(cell.trunk, len(trunks) - 1))
        of = shape_of(cell)
        shape.append(shapes.setdefault(of, len(shapes)))
        start.append(there.again if of in there.shapes else there.new)
    return Candidates(
        np.array([cell.params.total - cell.params.embedding for cell in cells], float),
        np.array([cell.steps * cell.config.batch_tokens for cell in cells], float),
        np.array([cell.config.seed for cell in cells]),
        *(np.array(one) for one in (own, trunk, kept, hold, shape, start)),
        "seconds",
        tuple(cells),
    )  # fmt: skip


def of_table(params: np.ndarray, tokens: np.ndarray, flops_per_s: float | None) -> Candidates:
    """Sizes and budgets of a table, others between and beyond, priced by 6 params tokens: in seconds where
    the table tells how many FLOPs a second its runs did, else in FLOPs."""
    sizes = _around(params, _LARGER**2, _WIDTHS)
    budgets = _around(tokens, _LONGER, _BUDGETS)
    n, d, s = (one.ravel() for one in np.meshgrid(sizes, budgets, np.arange(_SEEDS), indexing="ij"))
    own = 6 * n * d / (flops_per_s or 1.0)
    return Candidates.straight(n, d, s.astype(int), own, "seconds" if flops_per_s else "FLOPs")


def _around(values: np.ndarray, beyond: float, count: int) -> np.ndarray:
    own = np.unique(values)
    wanted = np.geomspace(own[0], beyond * own[-1], count)
    return np.unique(np.concatenate([own if len(own) <= count else own[[0, -1]], wanted]))


def chosen_study(of: Family, name: str, cells: Sequence[Cell]) -> dict:
    """The study file of these candidates."""
    sizes = {_key_of(size): size for size in of.sizes}
    has_rates = "learning_rate" in of.sizes[0]

    def size_of(cell: Cell) -> dict:
        rate = cell.config.optimizer.learning_rate if has_rates else None
        return sizes[(*shape_key(cell.config.model), rate)]

    wanted = [(size_of(cell), cell.config.tokens, cell.config.seed) for cell in cells]
    made = of.study(name, wanted)
    again = planned.make(loader.parse(made, name), of.load)
    # The file must mean what was chosen: a run of another id would be another run.
    assert {cell.run_id for cell in again.cells} == {cell.run_id for cell in cells}
    return made
