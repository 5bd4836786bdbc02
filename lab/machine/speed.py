"""How long a step takes on this machine: measured by earlier runs, else estimated from matrix products."""

import contextlib
import os
import statistics
import time
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from lab.config import RunConfig, digest
from lab.files import Refused, read_json, write_json
from lab.machine.devices import cache_folder, machine_name
from lab.model import accounting

# A first guess, replaced by what the first run of a shape takes: the products of a step run at nearly the
# rate of a plain one on one core, and each token takes a time in each layer for all that is no product
# (norms, softmax, activations, copies), which hardly hangs on the width. On one core of an EPYC twenty
# shapes of width 8 to 256 are foretold at 0.9 to 1.4 times what their steps alone take, and runs, which have
# records and checkpoints beside, at what they take.
_PRODUCTS = 0.76
_SECONDS_AROUND = 1.15e-6  # a token and layer
_KEPT = 5  # measurements of a shape, of which the median counts: one run beside other work prices no plan
_SMALL = 64  # rows and columns of the product that is timed


@dataclass(frozen=True)
class StepTime:
    seconds: float
    measured: bool


def predict(config: RunConfig, vocab: int) -> StepTime:
    """Seconds a step of one run on one core or accelerator."""
    found = known(config, vocab)
    if found is not None:
        return found
    around = _SECONDS_AROUND * config.batch_tokens * config.model.layers
    return StepTime(flops_per_step(config, vocab) / (_PRODUCTS * _product_rate()) + around, False)


def flops_per_step(config: RunConfig, vocab: int) -> float:
    """Executed FLOPs: attention over the full square, and what Muon does to the gradients."""
    context = config.data.context
    model = 3 * accounting.forward_flops(config.model, vocab, context, causal=False) * config.batch_tokens
    return model + (
        accounting.orthogonalisation_flops(config.model) if config.optimizer.algorithm == "muon" else 0.0
    )


def known(config: RunConfig, vocab: int) -> StepTime | None:
    """Seconds a step where a run or a probe of this shape has measured them on this machine."""
    try:
        seconds = float(read_json(_path(config, vocab))["seconds_per_step"])
    except (OSError, ValueError, TypeError, KeyError):  # no such file, or not what was written
        return None
    return StepTime(seconds, True) if 0 < seconds < float("inf") else None


def others() -> list[tuple[float, float]]:
    """FLOPs and seconds a step of every shape that was measured on this machine and its kind of device."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            about = read_json(path)
            if about["device"] == device_kind():
                found.append((float(about["flops_per_step"]), float(about["seconds_per_step"])))
        except (OSError, ValueError, TypeError, KeyError):  # of an older version, or of the device
            continue
    return [one for one in found if all(0 < value < float("inf") for value in one)]


def record(config: RunConfig, vocab: int, seconds_per_step: float) -> None:
    """Keep what a run took, for the plans to come; where that cannot be, no run is stopped for it."""
    import jax

    kind = jax.local_devices()[0].device_kind
    with contextlib.suppress(OSError, Refused):
        write_json(_folder() / "device.json", {"kind": kind})
        recent = [*_recent(config, vocab), seconds_per_step][-_KEPT:]
        about = {"flops_per_step": flops_per_step(config, vocab), "device": kind, "recent": recent}
        write_json(_path(config, vocab), {"seconds_per_step": statistics.median_low(recent), **about})


def _recent(config: RunConfig, vocab: int) -> list[float]:
    """What steps of this shape took lately, the last one last."""
    try:
        about = read_json(_path(config, vocab))
        found = [float(value) for value in about.get("recent", [about["seconds_per_step"]])]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
    return [value for value in found if 0 < value < float("inf")]


def _path(config: RunConfig, vocab: int):
    shape = [asdict(config.model), config.batch, config.data.context, vocab, config.precision]
    return _folder() / f"{digest([*shape, config.optimizer.algorithm, device_kind()])}.json"


def _folder():
    return cache_folder() / "speed" / machine_name()


def device_kind() -> str:
    """What runs here train on: what the last one was on, since a plan does not start jax to ask."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return "cpu"
    try:
        return (read_json(_folder() / "device.json") or {"kind": "cpu"})["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return "cpu"


@lru_cache(maxsize=1)
def _product_rate() -> float:
    """FLOP/s of one core in a product so small that NumPy gives it to one thread, best of 20 ms."""
    a = np.ones((_SMALL, _SMALL), np.float32)
    best, begun = float("inf"), time.perf_counter()
    while best == float("inf") or time.perf_counter() - begun < 0.02:
        started = time.perf_counter()
        for _ in range(10):
            a @ a
        best = min(best, time.perf_counter() - started)
    return 10 * 2 * _SMALL**3 / best
