"""What steps took in a store, by its own records: the prices of a plan that goes on there."""

import statistics
from collections import defaultdict

from lab.config import RunConfig
from lab.errors import InputError
from lab.files import Refused
from lab.machine import speed
from lab.strict import build
from sweeps.plan.pricing import Seen
from sweeps.store.store import Store

_EACH, _SHAPES = 3, 64  # runs that are read of a shape, and shapes


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
            of = shapes[tuple(cell.get(key) for key in ("source", "width", "layers", "heads"))]
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
