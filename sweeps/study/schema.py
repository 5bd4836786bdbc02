"""A study as frozen dataclasses; each checks its own keys. :mod:`sweeps.study.loader` reads the file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from lab.config import Batch, Heads, Layers, Rate, Seed, Tokens, Width
from lab.strict import Within, name_problem
from sweeps.study.ladders import Shape
from sweeps.study.prior import Prior

Design = Literal["grid", "isoflop", "ladder", "trunk_branch", "factorial"]
_SHAPE, _PRIOR = Shape(), Prior()
BUDGETS = ("tokens", "tokens_per_param", "flops", "multiples", "epochs")
_ANY = tuple(key for key in BUDGETS if key != "multiples")
# What a plan takes seconds for, and a store of runs can hold: lab/model/accounting.py counts each shape.
MOST_CELLS = 100_000
MOST_SHAPES = 512
Ratio = Annotated[float, Within(1e-6, 1e9)]
Flops = Annotated[float, Within(1.0, 1e30)]
Problems = Iterator[tuple[str, str]]  # key and what is wrong with it


@dataclass(frozen=True)
class Size:
    """One model of a ladder. What is left out is taken from the study's [model], [optimizer], batch."""

    width: Width | None = None  # as in [model]
    layers: Layers | None = None
    heads: Heads | None = None
    learning_rate: Rate | None = None  # the peak, as in [optimizer]
    batch: Batch | None = None  # sequences a step


@dataclass(frozen=True)
class Valley:
    """IsoFLOP sizes chosen for each budget, evenly in the logarithm of their parameters, around the optimum
    that ``tokens_per_param`` expects (approach 2 of 2203.15556)."""

    sizes: Annotated[int, Within(1, MOST_SHAPES)] = 5  # for each budget
    # the smallest is a factor of this below the expected optimum, the largest above
    spread: Annotated[float, Within(1.01, 1e4)] = 4.0
    tokens_per_param: Ratio = 20.0  # expected at the optimum; 20 is of 2203.15556, for its tokens


@dataclass(frozen=True)
class Seeds:
    """Seeds of the cells that ``where`` selects, in place of the grid's own."""

    where: Mapping[str, object]  # { width = 48, tokens = "largest" }
    seeds: tuple[Seed, ...]  # of these cells

    def problems(self) -> Problems:
        yield from _distinct("seeds", self.seeds)
        if not self.where:
            yield "where", 'should select cells, as in { width = 48, tokens = "largest" }'


@dataclass(frozen=True)
class Grid:
    """Sizes x factors x budgets x seeds. Tables given here replace keys of the study's own.

    Sizes are explicit, or ``params`` with a ``shape`` rule, or for IsoFLOP a ``valley``; with none of them
    there is one size, the study's [model].
    """

    name: str  # what tables and figures call it
    # what the grid is for; it decides which budgets are allowed, and what the plan doubts
    design: Design = "grid"
    sizes: tuple[Size, ...] = ()  # one by one
    params: tuple[Annotated[int, Within(1, 10**15)], ...] = ()  # targets, to which shapes are found
    shape: Shape = _SHAPE  # how
    valley: Valley | None = None  # sizes around the minimum that is expected at each of `flops`
    tokens: tuple[Tokens, ...] = ()  # trained on
    tokens_per_param: tuple[Ratio, ...] = ()  # of those that multiply activations
    flops: tuple[Flops, ...] = ()  # 6 params tokens
    multiples: tuple[Ratio, ...] = ()  # ladder: of the compute-optimal tokens
    epochs: tuple[Ratio, ...] = ()  # times through the unique tokens of the data
    max_flops: Flops | None = None  # points of more than 6 params tokens are left out
    optimal_tokens_per_param: Ratio = 20.0  # ladder: what is compute-optimal (2203.15556)
    factors: Mapping[str, object] = field(default_factory=dict)  # key -> values, each crossed with the others
    seeds: tuple[Seed, ...] = (0,)  # of the parameters at the start; each is a run
    more_seeds: tuple[Seeds, ...] = ()  # other seeds for chosen cells
    only_where: tuple[Mapping[str, object], ...] = ()  # of all these cells those that one of these selects
    # (size, tokens) points of highest compute that are predicted, not fitted
    held_out: Annotated[int, Within(0, MOST_CELLS)] = 0
    held_out_where: tuple[Mapping[str, object], ...] = ()  # the same for chosen cells
    batch: Batch | None = None  # these five replace keys of the study's own
    precision: Literal["float32", "bfloat16"] | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    model: Mapping[str, object] = field(default_factory=dict)
    optimizer: Mapping[str, object] = field(default_factory=dict)

    @property
    def budget(self) -> str:
        """The one key of the budgets that is given."""
        return next((key for key in BUDGETS if getattr(self, key)), "tokens")

    def count(self) -> tuple[int, int]:
        """Shapes and cells, at most: sizes x factors of the model, and x the others x budgets x seeds."""
        shapes = len(self.flops) * self.valley.sizes if self.valley else len(self.params or self.sizes) or 1
        others = 1 if self.valley else len(getattr(self, self.budget))
        for key, values in flat(self.factors):
            number = len(values) if isinstance(values, list | tuple) else 1
            if key.startswith("model."):
                shapes *= number
            else:
                others *= number
        seeds = max(map(len, (self.seeds, *(more.seeds for more in self.more_seeds))))
        return shapes, shapes * others * seeds

    def problems(self) -> Problems:
        if problem := name_problem(self.name):
            yield "name", problem
        for name in ("sizes", "params", *BUDGETS, "seeds"):
            yield from _distinct(name, getattr(self, name), may_be_empty=name != "seeds")
        points = len(self.sizes) * len(getattr(self, self.budget))
        if self.sizes and not (self.factors or self.only_where) and self.held_out >= max(points, 1):
            yield (
                "held_out",
                f"should lie between 0 and {points - 1} of the {points} points, is {self.held_out}",
            )
        for key in ("only_where", "held_out_where"):
            if not all(getattr(self, key)):
                yield key, 'should select cells, as in { width = 48, tokens = "largest" }'
        yield from self._problems_of_choices()

    def _problems_of_choices(self) -> Problems:
        given = [key for key in ("sizes", "params", "valley") if getattr(self, key)]
        if len(given) > 1:
            yield given[1], f"replaces {given[0]}, which is given too; give one of them"
        if not self.params and not self.valley and self.shape != _SHAPE:
            yield "shape", "is a rule for params or a valley, and neither is given"
        allowed = {"isoflop": ("flops",), "ladder": ("multiples",)}.get(self.design, _ANY)
        budgets = [key for key in BUDGETS if getattr(self, key)]
        for key in budgets:
            if key not in allowed:
                yield key, f"is not a budget of design {self.design!r}, which takes {' or '.join(allowed)}"
        if not set(budgets) & set(allowed):
            yield allowed[0], f"is missing: design {self.design!r} needs {' or '.join(allowed)}"
        if len(set(budgets) & set(allowed)) > 1:
            yield budgets[1], f"replaces {budgets[0]}, which is given too; give one of them"
        if self.valley and self.design != "isoflop":
            yield "valley", f'belongs to design "isoflop", this is {self.design!r}'
        if self.design == "factorial" and not self.factors:
            yield "factors", "is missing: design 'factorial' crosses them"
        if self.design == "trunk_branch" and len(budgets) == 1 and len(getattr(self, budgets[0])) < 2:
            yield budgets[0], "should be two budgets or more: one has no trunk to share"


@dataclass(frozen=True)
class RunOptions:
    """How the study is run; none of it changes a result beyond what ``pack`` says."""

    # runs of one shape in lockstep, or one by one; auto: whichever a probe finds faster here
    pack: Literal["serial", "auto", "devices", "pmap", "vmap"] = "serial"
    retries: Annotated[int, Within(0, 1000)] = 1  # attempts after the first failure of a cell
    checkpoint_seconds: Annotated[float, Within(0.0, 604_800.0)] = 30.0  # between two; at most a week
    memory: Literal["check", "ignore"] = "check"  # whether a run that by prediction cannot fit is refused
    # a trunk of every size and seed, kept for longer budgets; or checkpoints go once no branch waits for them
    keep_trunks: bool = False
    # steps between two validations on the way, rounded up to whole calls of 20; 0: at the end alone
    evaluate_every: Annotated[int, Within(0, 10**9)] = 0
    # lowest and highest draw a device, for the estimate of energy
    watts: tuple[Annotated[float, Within(0.0, 1e5)], ...] = ()

    def problems(self) -> Problems:
        if self.watts and (len(self.watts) != 2 or self.watts[0] > self.watts[1]):
            yield "watts", f"should be the lowest and the highest, as in [5, 20]; is {list(self.watts)}"


@dataclass(frozen=True)
class Study:
    """A study: the file of ``lab run`` as a whole. ``problems`` yields what is wrong with it, by key."""

    name: str  # of its files in the store
    grids: tuple[Grid, ...]  # one or more, each `[[grids]]`
    data: Mapping[str, object] = field(default_factory=dict)  # what all runs are trained on
    model: Mapping[str, object] = field(default_factory=dict)  # what sizes leave out
    optimizer: Mapping[str, object] = field(default_factory=dict)  # of all runs
    batch: Batch = 16  # sequences a step
    precision: Literal["float32", "bfloat16"] = "float32"  # of activations; masters are float32
    run: RunOptions = RunOptions()  # how it is run
    prior: Prior = _PRIOR  # the law that the plan judges the design by

    def problems(self) -> Problems:
        if problem := name_problem(self.name):
            yield "name", problem
        names = [grid.name for grid in self.grids]
        if not names:
            yield "grids", "should not be empty"
        if len(set(names)) < len(names):
            yield "grids", f"two grids have one name: {', '.join(names)}"
        yield from self._problems_of_size()

    def _problems_of_size(self) -> Problems:
        """Before any cell is made; what rounds to one shape or is told twice counts as two."""
        for i, (what, most) in enumerate((("shapes", MOST_SHAPES), ("runs", MOST_CELLS))):
            numbers = [grid.count()[i] for grid in self.grids]
            if sum(numbers) > most:
                worst = numbers.index(max(numbers))
                yield (
                    f"grids[{worst}]",
                    f"has more than {most:,} {what} with its seeds; split the study"
                    if numbers[worst] > most and what == "runs"
                    else f"a study should have at most {most:,} {what}, this has {sum(numbers):,}, "
                    f"{numbers[worst]:,} of them in grid {self.grids[worst].name}",
                )


def flat(table: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted keys of nested tables: optimizer.learning_rate and "optimizer.learning_rate" are one."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _distinct(name: str, values: tuple, may_be_empty: bool = False) -> Problems:
    if not values and not may_be_empty:
        yield name, "should not be empty"
    elif len(set(values)) < len(values):
        yield name, "has the same entry twice"
