"""What steps took in a store, and shapes beyond their steps, by its own records: the prices of a plan that
goes on there."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.config import RunConfig
from lab.errors import InputError
from lab.files import Refused
from lab.machine import speed
from lab.strict import build
from sweeps.plan.pricing import Seen
from sweeps.store.store import Store

_EACH, _SHAPES = 3, 64  # runs that are read of a shape, and shapes
_SHAPE = ("source", "width", "layers", "heads")  # of a cell, in a study's list of them


def seen(store: Store) -> Seen:
    """FLOPs and seconds a step of shapes that were trained in the store; of a shape the median over runs.

    Of the kind of device that this machine has; where the store knows only others, of the one with most runs:
    who plans on a login node trains elsewhere.
    """
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run_id, vocab in _some_of_each(store):
        folder = store.run(run_id)
        try:
            config = build(RunConfig, (folder.spec() or {}).get("config", {}), run_id)
            flops = speed.flops_per_step(config, vocab)
        except (InputError, ArithmeticError):
            continue  # of another version
        for device, seconds in _seconds(folder.costs()).items():
            found[device][flops].append(seconds)
    if not found:
        return Seen()
    here = speed.device_kind()
    device = here if here in found else max(found, key=lambda one: sum(map(len, found[one].values())))
    return Seen(tuple((flops, statistics.median(of)) for flops, of in found[device].items()), device)


def _some_of_each(store: Store) -> list[tuple[str, int]]:
    """Ids of a few runs of each shape that the store's studies name, with the size of their vocabulary."""
    shapes: dict[tuple, list] = defaultdict(list)
    there = store.names()
    for path in store.study_files():
        try:
            cells = store.study(path)["cells"]
        except Refused:
            continue
        for cell in cells:
            of = shapes[tuple(cell.get(key) for key in _SHAPE)]
            table, width = cell.get("params_embedding"), cell.get("width")
            is_told = type(table) is int and type(width) is int and 0 < width <= table
            if is_told and len(of) < _EACH and cell["run_id"] in there:
                of.append((cell["run_id"], table // width))
    return [run for of in list(shapes.values())[:_SHAPES] for run in of]


def _seconds(lines: list[dict]) -> dict[str, float]:
    """Device-seconds a step by kind of device: the median over stretches of training, compiling aside."""
    found = defaultdict(list)
    before: dict[str, int] = {}
    for line in lines:
        seconds = line.get("device_seconds")
        if line.get("phase") != "train" or type(seconds) not in (int, float):
            continue
        attempt, device, step = str(line.get("attempt")), str(line.get("device")), line["step"]
        steps = step - before.get(attempt, step)
        before[attempt] = step
        if steps > 0 and seconds > 0:
            found[device].append(seconds / steps)
    return {device: statistics.median(of) for device, of in found.items()}


@dataclass(frozen=True)
class Spent:
    """Device-seconds of the runs and trunks of some studies, all attempts and compilation included: total,
    and by shape (source, width, layers, heads) what it took beyond its steps and evaluations. trunks:
    ids of those that are there."""

    total: float = 0.0
    beyond: Mapping[tuple, float] = field(default_factory=dict)
    trunks: frozenset[str] = frozenset()


def spent(store: Store, studies: Iterable[Path]) -> Spent:
    """What the studies of these files cost so far.

    The first evaluation of a process compiles too: what it takes beyond the quickest one of its shape, and of
    a shape with one evaluation beyond that of the shape nearest in FLOPs, counts for the shape.
    """
    there = store.names()
    shapes: dict[str, tuple] = {}
    flops: dict[tuple, float] = {}
    trunks: set[str | None] = set()
    for path in studies:
        try:
            cells = store.study(path)["cells"]
        except Refused:
            continue
        for cell in cells:
            shape = tuple(cell.get(key) for key in _SHAPE)
            flops[shape] = max(_positive(cell, "flops_exact") / (_positive(cell, "tokens") or 1.0), 1e-300)
            trunks.add(cell.get("trunk"))
            for run_id in (cell["run_id"], cell.get("trunk")):
                if run_id in there:
                    shapes[run_id] = shape
    total, beyond = 0.0, dict.fromkeys(shapes.values(), 0.0)
    evaluations: dict[tuple, list[float]] = defaultdict(list)
    for run_id, shape in shapes.items():
        for line in store.run(run_id).costs():
            device, compiled = (_positive(line, key) for key in ("device_seconds", "compile_seconds"))
            total += device + compiled
            beyond[shape] += compiled
            if line.get("phase") == "evaluate":
                evaluations[shape].append(device)
    quick = {shape: min(found) for shape, found in evaluations.items() if len(found) > 1}
    for shape, found in evaluations.items():
        steady = quick.get(shape)
        if steady is None and quick:
            nearest = min(quick, key=lambda other: abs(math.log(flops[other] / flops[shape])))
            steady = min(quick[nearest] * flops[shape] / flops[nearest], found[0])
        beyond[shape] += sum(found) - len(found) * (found[0] if steady is None else steady)
    return Spent(total, beyond, frozenset(trunks & there))


def _positive(line: Mapping, key: str) -> float:
    value = line.get(key)
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0
