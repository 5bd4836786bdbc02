"""A study as frozen dataclasses; each checks its own keys. :mod:`sweeps.study.loader` reads the file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sweeps.study.ladders import Shape
from sweeps.study.prior import Prior

Design = Literal["grid", "isoflop", "ladder", "trunk_branch", "factorial"]
_SHAPE, _PRIOR = Shape(), Prior()
BUDGETS = ("tokens", "tokens_per_param", "flops", "multiples")


@dataclass(frozen=True)
class Size:
    """One model of a ladder. What is left out is taken from the study's [model], [optimizer], batch."""

    width: int | None = None
    layers: int | None = None
    heads: int | None = None
    learning_rate: float | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Valley:
    """IsoFLOP sizes chosen for each budget: around the optimum that ``tokens_per_param`` expects."""

    sizes: int = 5
    spread: float = 4.0  # the smallest is a factor of this below the expected optimum, the largest above
    tokens_per_param: float = 20.0  # expected at the optimum; 20 is of 2203.15556, for its tokens

    def problems(self):
        if not 1 <= self.sizes <= 1000:
            yield "sizes", f"should lie between 1 and 1000, is {self.sizes}"
        if not 1 < self.spread <= 1e4:
            yield "spread", f"should be above 1, is {self.spread}"
        if not 0 < self.tokens_per_param < 1e9:
            yield "tokens_per_param", f"should be positive, is {self.tokens_per_param}"


@dataclass(frozen=True)
class Seeds:
    """Seeds of the cells that ``where`` selects, in place of the grid's own."""

    where: Mapping[str, object]
    seeds: tuple[int, ...]

    def problems(self):
        yield from _distinct("seeds", self.seeds)
        if not self.where:
            yield "where", 'should select cells, as in { width = 48, tokens = "largest" }'


@dataclass(frozen=True)
class Grid:
    """Sizes x factors x budgets x seeds. Tables given here replace keys of the study's own.

    Sizes are explicit, or ``params`` with a ``shape`` rule, or for IsoFLOP a ``valley``; with none of them
    there is one size, the study's [model].
    """

    name: str
    design: Design = "grid"
    sizes: tuple[Size, ...] = ()
    params: tuple[int, ...] = ()
    shape: Shape = _SHAPE
    valley: Valley | None = None
    tokens: tuple[int, ...] = ()
    tokens_per_param: tuple[float, ...] = ()
    flops: tuple[float, ...] = ()  # 6 params tokens
    multiples: tuple[float, ...] = ()  # ladder: of the compute-optimal tokens
    optimal_tokens_per_param: float = 20.0  # ladder: what is compute-optimal (2203.15556)
    factors: Mapping[str, object] = field(default_factory=dict)  # key -> values, each crossed with the others
    seeds: tuple[int, ...] = (0,)
    more_seeds: tuple[Seeds, ...] = ()
    held_out: int = 0  # (size, tokens) points of highest compute that are predicted, not fitted
    held_out_where: tuple[Mapping[str, object], ...] = ()  # the same for chosen cells
    batch: int | None = None
    precision: Literal["float32", "bfloat16"] | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    model: Mapping[str, object] = field(default_factory=dict)
    optimizer: Mapping[str, object] = field(default_factory=dict)

    @property
    def budget(self) -> str:
        """The one key of the budgets that is given."""
        return next((key for key in BUDGETS if getattr(self, key)), "tokens")

    def problems(self):
        if not _is_name(self.name):
            yield "name", f"should be letters, digits, - and _, is {self.name!r}"
        for name in ("sizes", "params", *BUDGETS, "seeds"):
            yield from _distinct(name, getattr(self, name), may_be_empty=name != "seeds")
        for name in ("params", *BUDGETS):
            if any(value <= 0 for value in getattr(self, name)):
                yield name, f"should be positive, is {list(getattr(self, name))}"
        if not 0 < self.optimal_tokens_per_param < 1e9:
            yield "optimal_tokens_per_param", f"should be positive, is {self.optimal_tokens_per_param}"
        points = len(self.sizes) * len(getattr(self, self.budget))
        if self.held_out < 0:
            yield "held_out", f"should not be negative, is {self.held_out}"
        elif self.sizes and not self.factors and self.held_out >= max(points, 1):
            yield (
                "held_out",
                f"should lie between 0 and {points - 1} of the {points} points, is {self.held_out}",
            )
        yield from self._problems_of_choices()

    def _problems_of_choices(self):
        given = [key for key in ("sizes", "params", "valley") if getattr(self, key)]
        if len(given) > 1:
            yield given[1], f"replaces {given[0]}, which is given too; give one of them"
        if not self.params and not self.valley and self.shape != _SHAPE:
            yield "shape", "is a rule for params or a valley, and neither is given"
        allowed = {"isoflop": ("flops",), "ladder": ("multiples",)}.get(self.design, BUDGETS[:3])
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

    pack: Literal["serial", "auto", "devices", "pmap", "vmap"] = "serial"
    retries: int = 1  # attempts after the first failure of a cell
    checkpoint_seconds: float = 30.0
    watts: tuple[float, ...] = ()  # lowest and highest draw a device, for the estimate of energy

    def problems(self):
        if self.retries < 0:
            yield "retries", f"should not be negative, is {self.retries}"
        if self.watts and (len(self.watts) != 2 or not 0 <= self.watts[0] <= self.watts[1]):
            yield "watts", f"should be the lowest and the highest, as in [5, 20]; is {list(self.watts)}"


@dataclass(frozen=True)
class Study:
    name: str
    grids: tuple[Grid, ...]
    data: Mapping[str, object] = field(default_factory=dict)
    model: Mapping[str, object] = field(default_factory=dict)
    optimizer: Mapping[str, object] = field(default_factory=dict)
    batch: int = 16
    precision: Literal["float32", "bfloat16"] = "float32"
    run: RunOptions = RunOptions()
    prior: Prior = _PRIOR

    def problems(self):
        if not _is_name(self.name):
            yield "name", f"should be letters, digits, - and _, is {self.name!r}"
        names = [grid.name for grid in self.grids]
        if not names:
            yield "grids", "should not be empty"
        if len(set(names)) < len(names):
            yield "grids", f"two grids have one name: {', '.join(names)}"


def _is_name(text: str) -> bool:
    return text.replace("-", "").replace("_", "").isalnum()


def _distinct(name: str, values: tuple, may_be_empty: bool = False):
    if not values and not may_be_empty:
        yield name, "should not be empty"
    elif len(set(values)) < len(values):
        yield name, "has the same entry twice"
