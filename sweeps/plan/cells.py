"""From a study to the table of what has to be trained, priced before it is paid."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from lab.config import RunConfig
from lab.data import DataConfig, Dataset
from lab.model import accounting
from sweeps.study.designs import Point, points
from sweeps.study.schema import Grid, Study


@dataclass(frozen=True)
class Cell:
    """One run of the study. ``trunk`` is the id of the run it branches from, None for a run of its own."""

    run_id: str
    grid: str
    config: RunConfig
    trunk: str | None
    held_out: bool
    params: accounting.Params
    flops: dict[str, float]

    @cached_property
    def steps(self) -> int:
        return self.config.steps

    @cached_property
    def hold_steps(self) -> int:
        return self.config.hold_steps

    @property
    def own_steps(self) -> int:
        """Steps that this cell itself trains."""
        return self.steps - (self.hold_steps if self.trunk else 0)


@dataclass(frozen=True)
class Trunk:
    """What several budgets of one size and seed share: trained once, left by each at its branch step."""

    run_id: str
    config: RunConfig  # of the largest budget
    branch_steps: tuple[int, ...]

    @property
    def own_steps(self) -> int:
        return max(self.branch_steps)


@dataclass(frozen=True)
class Plan:
    study: Study
    cells: tuple[Cell, ...]
    trunks: tuple[Trunk, ...]
    datasets: dict[str, Dataset]

    def dataset(self, config: RunConfig) -> Dataset:
        known = self._seen.get(id(config.data))
        if known is None or known[0] is not config.data:
            known = self._seen[id(config.data)] = (config.data, self.datasets[_key(config.data)])
        return known[1]

    @cached_property
    def _seen(self) -> dict[int, tuple[DataConfig, Dataset]]:
        return {}  # configurations of data are few objects in many runs, and slow to compare

    def flops_spent(self) -> float:
        """FLOPs that will be executed, with each trunk paid once."""
        per_step = {cell.trunk: _per_step(cell) for cell in self.cells if cell.trunk}
        spent = sum(_per_step(cell) * cell.own_steps for cell in self.cells)
        return spent + sum(per_step[trunk.run_id] * trunk.own_steps for trunk in self.trunks)

    def flops_straight(self) -> float:
        """FLOPs that the same cells would take one by one."""
        return sum(cell.flops["flops_exact"] for cell in self.cells)


def _per_step(cell: Cell) -> float:
    return cell.flops["flops_exact"] / cell.steps


def make(study: Study, load: Callable[[DataConfig], Dataset]) -> Plan:
    """The plan of a study.

    Args:
        load: ``DataConfig -> Dataset``; called once for each data set of the study.

    Raises:
        InputError: from the study or its data.
    """
    datasets: dict[str, Dataset] = {}

    def dataset(data: DataConfig) -> Dataset:
        key = _key(data)
        if key not in datasets:
            datasets[key] = load(data)
        return datasets[key]

    found = points(study, vocab=lambda data: dataset(data).vocab_size)
    of = {id(p.config.data): dataset(p.config.data) for p in found}
    held = {grid.name: _held_out(grid, found, of) for grid in study.grids}
    ids = _Ids()
    budgets: dict[str, dict[int, RunConfig]] = defaultdict(dict)
    drafts = []
    for point in found:
        config = point.config
        run_id, trunk_id = ids.of(config, of[id(config.data)].digest)
        hold = config.hold_steps
        known = budgets[trunk_id].get(hold)
        if config.can_branch and (known is None or known.tokens < config.tokens):
            budgets[trunk_id][hold] = config
        drafts.append((point, run_id, trunk_id))
    cells: dict[str, Cell] = {}
    kept = study.run.keep_trunks
    for point, run_id, trunk_id in drafts:
        config = point.config
        if run_id in cells:
            continue
        vocab = of[id(config.data)].vocab_size
        cells[run_id] = Cell(
            run_id=run_id,
            grid=point.grid,
            config=config,
            # one that is kept serves budgets that another study asks for
            trunk=trunk_id if config.can_branch and (len(budgets[trunk_id]) > 1 or kept) else None,
            held_out=point.held_out or (bool(held[point.grid]) and _place(config) in held[point.grid]),
            params=accounting.count_params(config.model, vocab),
            flops=accounting.training_flops(config, vocab),
        )
    used = {cell.trunk for cell in cells.values()}
    trunks = [
        Trunk(trunk_id, max(holds.values(), key=lambda c: c.hold_steps), tuple(sorted(holds)))
        for trunk_id, holds in budgets.items()
        if trunk_id in used
    ]
    return Plan(study, tuple(cells.values()), tuple(trunks), datasets)


def _place(config: RunConfig) -> tuple:
    """A point of a grid: a run whatever its seed."""
    return config.model, config.optimizer, config.tokens, config.batch, config.precision, id(config.data)


def _held_out(grid: Grid, found: list[Point], of: dict[int, Dataset]) -> set:
    """The points of highest compute of a grid."""
    flops = {}
    for point in found if grid.held_out else ():
        config = point.config
        if point.grid == grid.name and _place(config) not in flops:
            vocab = of[id(config.data)].vocab_size
            flops[_place(config)] = accounting.training_flops(config, vocab)["flops_exact"]
    return set(sorted(flops, key=flops.__getitem__)[len(flops) - grid.held_out :])


class _Ids:
    """Ids of many runs: runs that differ in seed and steps alone share all but two numbers of their text.

    The text of a group is taken from its first run and must give the id of one of another seed and of one of
    other steps too, else every id of the group is computed in full.
    """

    def __init__(self) -> None:
        self._texts: dict[tuple, list[str] | None] = {}
        self._first: dict[tuple, tuple[int, int]] = {}
        self._checked: set[tuple] = set()
        self._trunks: dict[tuple, str] = {}

    def of(self, config: RunConfig, data_digest: str) -> tuple[str, str]:
        """Run id and trunk id."""
        group = (config.model, config.optimizer, config.batch, config.precision, id(config.data))
        numbers = (config.seed, config.steps)
        if group not in self._texts:
            self._texts[group] = _split(config.describe(data_digest))
            self._first[group] = numbers
        parts = self._texts[group]
        run_id = None if parts is None else _digest(parts, numbers)
        for which in (0, 1):  # another seed, and another number of steps
            check = (group, which)
            if check not in self._checked and numbers[which] != self._first[group][which]:
                self._checked.add(check)
                if run_id != config.run_id(data_digest):
                    parts = self._texts[group] = None
        if parts is None or run_id is None:
            return config.run_id(data_digest), config.trunk_id(data_digest)
        trunk = (group, config.seed)
        if trunk not in self._trunks:
            self._trunks[trunk] = config.trunk_id(data_digest)
        return run_id, self._trunks[trunk]


def _split(described: dict) -> list[str] | None:
    marks = {"seed": "<seed>", "steps": "<steps>"}
    text = json.dumps({**described, **marks}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    head, _, rest = text.partition('"<seed>"')
    middle, _, tail = rest.partition('"<steps>"')
    return [head, middle, tail]


def _digest(parts: list[str], numbers: tuple[int, int]) -> str:
    head, middle, tail = parts
    return hashlib.sha256(f"{head}{numbers[0]}{middle}{numbers[1]}{tail}".encode()).hexdigest()[:12]


def _key(config: DataConfig) -> str:
    # the mapping of task rates keeps the configuration itself from being a key
    return repr(config)
