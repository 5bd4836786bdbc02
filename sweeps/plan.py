"""From a study to the table of what has to be trained, priced before it is paid."""

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import cached_property

from lab import accounting, speed
from lab.config import RunConfig
from lab.data import DataConfig, Dataset
from sweeps.study import Study, points


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

    @property
    def own_steps(self) -> int:
        """Steps that this cell itself trains."""
        return self.config.steps - (self.config.hold_steps if self.trunk else 0)


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
        return self.datasets[_key(config.data)]

    @cached_property
    def seconds_per_step(self) -> dict[str, speed.StepTime]:
        """Predicted seconds a step, by run id of cells and trunks: measured here before, or estimated."""
        return {
            node.run_id: speed.predict(node.config, self.dataset(node.config).vocab_size)
            for node in (*self.cells, *self.trunks)
        }

    def seconds(self, node: Cell | Trunk) -> float:
        return node.own_steps * self.seconds_per_step[node.run_id].seconds

    def flops_spent(self) -> float:
        """FLOPs that will be executed, with each trunk paid once."""
        return sum(self._per_step(node) * node.own_steps for node in (*self.cells, *self.trunks))

    def flops_straight(self) -> float:
        """FLOPs that the same cells would take one by one."""
        return sum(self._per_step(cell) * cell.config.steps for cell in self.cells)

    def _per_step(self, node: Cell | Trunk) -> float:
        flops = accounting.training_flops(node.config, self.dataset(node.config).vocab_size)
        return flops["flops_exact"] / node.config.steps


def make(study: Study, load) -> Plan:
    """The plan of a study.

    Args:
        load: ``DataConfig -> Dataset``; called once for each data set of the study.

    Raises:
        InputError: from the study or its data.
    """
    found = points(study)
    datasets: dict[str, Dataset] = {}
    for point in found:
        if _key(point.config.data) not in datasets:
            datasets[_key(point.config.data)] = load(point.config.data)
    held = {grid.name: _held_out(study, grid.name, found, datasets) for grid in study.grids}
    budgets: dict[str, dict[int, RunConfig]] = defaultdict(dict)
    drafts = []
    for point in found:
        digest = datasets[_key(point.config.data)].digest
        trunk_id = point.config.trunk_id(digest)
        budgets[trunk_id][point.config.hold_steps] = point.config
        drafts.append((point, digest, trunk_id))
    cells = {}
    for point, digest, trunk_id in drafts:
        config = point.config
        vocab = datasets[_key(config.data)].vocab_size
        cell = Cell(
            run_id=config.run_id(digest),
            grid=point.grid,
            config=config,
            trunk=trunk_id if _shares(budgets[trunk_id], config) else None,
            held_out=(config.model, config.tokens) in held[point.grid],
            params=accounting.count_params(config.model, vocab),
            flops=accounting.training_flops(config, vocab),
        )
        cells.setdefault(cell.run_id, cell)
    used = {cell.trunk for cell in cells.values()}
    trunks = [
        Trunk(trunk_id, max(holds.values(), key=lambda c: c.hold_steps), tuple(sorted(holds)))
        for trunk_id, holds in budgets.items()
        if trunk_id in used
    ]
    return Plan(study, tuple(cells.values()), tuple(trunks), datasets)


def _shares(holds: dict[int, RunConfig], config: RunConfig) -> bool:
    return config.optimizer.schedule == "wsd" and len(holds) > 1 and config.hold_steps > 0


def _held_out(study: Study, name: str, found, datasets) -> set:
    """The (model, tokens) points of highest compute of a grid."""
    grid = next(g for g in study.grids if g.name == name)
    flops = {}
    for point in found:
        if point.grid == name:
            vocab = datasets[_key(point.config.data)].vocab_size
            key = (point.config.model, point.config.tokens)
            flops[key] = accounting.training_flops(point.config, vocab)["flops_exact"]
    return set(sorted(flops, key=flops.get)[len(flops) - grid.held_out :])


def _key(config: DataConfig) -> str:
    # the mapping of task rates keeps the configuration itself from being a key
    return json.dumps(asdict(config), sort_keys=True)
