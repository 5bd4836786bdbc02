"""What a plan costs on this machine: seconds, memory, energy. Estimates are marked as such."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from lab.config import RunConfig
from lab.machine import speed
from lab.machine.devices import available_cores
from lab.model import memory as predictions
from lab.ram import ram
from sweeps.plan.cells import Cell, Plan, Trunk

# Lowest and highest draw of one busy core with its share of the machine, W: low-power servers to desktops.
# For accelerators: idle to limit of common cards. Bounds of an estimate, not a measurement.
CORE_WATTS = (3.0, 25.0)
ACCELERATOR_WATTS = (60.0, 700.0)
_LIKE = 8.0  # times the FLOPs of a program up to which another says what a FLOP should cost
_ODD = 3.0  # times what its neighbours cost a FLOP: a probe that the machine disturbed


@dataclass(frozen=True)
class Program:
    """What is compiled once: a shape with its batch, context and precision."""

    config: RunConfig  # any run of it
    vocab: int
    steps: int  # that the plan spends in it

    @property
    def flops_per_step(self) -> float:
        """Executed FLOPs: attention over the full square."""
        return speed.flops_per_step(self.config, self.vocab)


@dataclass(frozen=True)
class Seen:
    """What steps took elsewhere: pairs of (FLOPs, seconds) a step, and the kind of device they are of."""

    pairs: tuple[tuple[float, float], ...] = ()
    device: str = ""


@dataclass(frozen=True)
class Prices:
    """What a plan costs on this machine, by the step times that are known when they are first asked for.

    Args:
        seen: of the store that the plan will run in. Its kind of device is what the plan is priced for.
    """

    plan: Plan
    seen: Seen = Seen()

    @cached_property
    def programs(self) -> dict[tuple, Program]:
        """What is compiled, by :func:`program_key`."""
        return programs(self.plan)

    @cached_property
    def seconds_per_step(self) -> dict[str, speed.StepTime]:
        """Predicted seconds a step, by run id of cells and trunks: measured here before, or estimated."""
        return _step_times(self.plan, self.programs, self.seen)

    def seconds(self, node: Cell | Trunk) -> float:
        """Device-seconds of the training steps that this node itself does."""
        return node.own_steps * self.seconds_per_step[node.run_id].seconds

    def evaluation_seconds(self, cell: Cell) -> float:
        """Validation and ability scores: forward passes, a third of a training step's work a token."""
        dataset = self.plan.dataset(cell.config)
        rows = len(dataset.validation().bytes_W)
        rows += sum(len(items.inputs_NxT) for items in dataset.ability_sets().values())
        return rows / cell.config.batch * self.seconds_per_step[cell.run_id].seconds / 3

    @cached_property
    def trained_steps(self) -> dict[str, int]:
        """Of each cell, by :func:`trained_steps`."""
        return trained_steps(self.plan)

    @cached_property
    def shares(self) -> dict[str, float]:
        """Device-seconds of each cell, as its row will count them: its steps and its evaluation."""
        evaluation: dict[tuple, float] = {}
        steps = self.trained_steps
        found = {}
        for cell in self.plan.cells:
            per_step = self.seconds_per_step[cell.run_id].seconds
            key = (id(cell.config.data), cell.config.batch, per_step)
            if key not in evaluation:
                evaluation[key] = self.evaluation_seconds(cell)
            found[cell.run_id] = steps[cell.run_id] * per_step + evaluation[key]
        return found

    @cached_property
    def memory(self) -> dict[tuple, int]:
        """Predicted bytes on a device by program, of one run."""
        return {key: predictions.predict(p.config, p.vocab) for key, p in self.programs.items()}


def program_key(config: RunConfig, vocab: int) -> tuple:
    return config.model, config.batch, config.data.context, config.precision, vocab


def programs(plan: Plan) -> dict[tuple, Program]:
    """The programs of a plan by key, with the steps that are spent in each."""
    steps: dict[tuple, int] = {}
    configs: dict[tuple, RunConfig] = {}
    for node in (*plan.cells, *plan.trunks):
        key = program_key(node.config, plan.dataset(node.config).vocab_size)
        steps[key] = steps.get(key, 0) + node.own_steps
        configs.setdefault(key, node.config)
    return {key: Program(configs[key], key[-1], steps[key]) for key in configs}


def _step_times(plan: Plan, found: dict[tuple, Program], seen: Seen) -> dict[str, speed.StepTime]:
    """Seconds a step by run id. Shapes that never ran here or in the store take the FLOP rate of the nearest
    that did; where none of the plan did, of what else ran on this machine."""
    flops = {key: program.flops_per_step for key, program in found.items()}
    told: dict = {}
    if seen.device in ("", speed.device_kind()):
        known = {key: speed.known(p.config, p.vocab) for key, p in found.items()}
        told = {key: time.seconds for key, time in known.items() if time is not None}
    by_flops = dict(seen.pairs)
    told |= {key: by_flops[needed] for key, needed in flops.items() if needed in by_flops and key not in told}
    measured = set(told)
    beside = [pair for pair in seen.pairs if pair[0] not in flops.values()]
    if not told and not beside:
        beside = speed.others()
    if told or beside:
        for number, (needed, seconds) in enumerate(beside):
            flops[number], told[number] = needed, seconds
        bounded = bounded_times(flops, told)
    else:
        bounded = {key: speed.predict(p.config, p.vocab).seconds for key, p in found.items()}
    times = {key: speed.StepTime(bounded[key], key in measured) for key in found}
    return {
        node.run_id: times[program_key(node.config, plan.dataset(node.config).vocab_size)]
        for node in (*plan.cells, *plan.trunks)
    }


def bounded_times(flops: Mapping, told: Mapping) -> dict:
    """Seconds a step of each program by its FLOPs a step, from those that are `told`.

    A told time stands unless a FLOP of it costs more than _ODD times what it costs in the programs next to it
    in size, or it takes more than _ODD times as long as a larger program of like size: the machine was busy
    then, and it counts for _ODD times theirs. (Two neighbours that both were disturbed speak for each other,
    and only the larger ones against them.) A program without a time takes the cost of the nearest that has
    one, never more than twice that of any other neighbour.
    """
    costs = {}
    for key, seconds in told.items():
        like = (told[o] for o in told if flops[key] <= flops[o] <= _LIKE * flops[key])
        costs[key] = min(seconds, _ODD * min(like)) / flops[key]
    sound = {}
    for key, cost in costs.items():
        beside = [costs[other] for other in _neighbours(key, flops, costs)]
        sound[key] = min(cost, _ODD * max(beside)) if beside else cost
    found = {}
    for key, needed in flops.items():
        cost = sound.get(key)
        if cost is None:
            nearest = min(sound, key=lambda other: abs(math.log(flops[other] / needed)))
            beside = [sound[other] for other in _neighbours(key, flops, sound)]
            cost = min([sound[nearest], *(2 * other for other in beside)])
        stands = key in told and cost == told[key] / needed
        found[key] = told[key] if stands else cost * needed
    return found


def odd(flops: Mapping, told: Mapping) -> list:
    """Those told times that their neighbours contradict, either way by more than _ODD times."""
    costs = {key: told[key] / flops[key] for key in told}
    found = []
    for key, cost in costs.items():
        beside = [costs[other] for other in _neighbours(key, flops, costs)]
        if beside and (cost > _ODD * max(beside) or cost * _ODD < min(beside)):
            found.append(key)
    return found


def _neighbours(key, flops: Mapping, told: Mapping) -> list:
    """The next smaller and the next larger of the programs that are told, where they are of like size."""
    below = [other for other in told if other != key and flops[other] <= flops[key]]
    above = [other for other in told if other != key and flops[other] > flops[key]]
    beside = [max(below, key=flops.get)] if below else []
    beside += [min(above, key=flops.get)] if above else []
    return [other for other in beside if abs(math.log(flops[other] / flops[key])) <= math.log(_LIKE)]


def trained_steps(plan: Plan) -> dict[str, int]:
    """Steps that each cell answers for: its own, and the stretch of the trunk it is the first to need."""
    before: dict[tuple[str, int], int] = {}
    for trunk in plan.trunks:
        for last, mark in zip((0, *trunk.branch_steps), trunk.branch_steps, strict=False):
            before[trunk.run_id, mark] = last
    steps = {}
    for cell in plan.cells:
        hold = cell.hold_steps if cell.trunk else 0
        stretch = hold - before.pop((cell.trunk, hold), hold) if cell.trunk else 0
        steps[cell.run_id] = cell.own_steps + stretch
    return steps


def trained_tokens(plan: Plan) -> dict[str, int]:
    steps = trained_steps(plan)
    return {cell.run_id: steps[cell.run_id] * cell.config.batch_tokens for cell in plan.cells}


def watts(plan: Plan) -> tuple[float, float]:
    """Lowest and highest draw of a device: the study's own, else that of its class."""
    if plan.study.run.watts:
        return plan.study.run.watts
    import jax

    return CORE_WATTS if jax.default_backend() == "cpu" else ACCELERATOR_WATTS


def device_memory() -> int | None:
    """Bytes of a device: of the accelerator, or what the machine has free for one process a core."""
    import jax

    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    free = ram().free
    return free and free // len(available_cores())
