"""Which packing is fastest here: a few steps of the real program on the real devices, kept for next time.

Rules that spare a compilation which cannot pay:

* One run is ``serial``. One device knows ``serial`` and ``vmap`` alone.
* Where less remains to be trained than ten times what the first candidate took to compile, it is used as it
  is, and nothing is kept.

Candidates that give the bits of the solo run (``devices``, ``serial``) come first, and win unless another is
faster by more than a twentieth.
"""

import contextlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lab.config import RunConfig, digest
from lab.errors import InputError
from lab.files import Refused, read_json, write_json
from lab.machine.devices import cache_folder, machine_name
from lab.model import memory
from lab.strict import build

_MARGIN = 1.05
_WORTH_IT = 10
_SECONDS = 0.3  # of steps, each candidate


@dataclass(frozen=True)
class Choice:
    """The packing chosen, and what was measured: of all runs together, tokens a second."""

    mode: str
    tokens_per_s: dict[str, float]
    compile_s: dict[str, float]
    reason: str

    def at_once(self, runs: int, devices: int) -> int:
        """How many of ``runs`` advance together."""
        return {"serial": 1, "vmap": runs}.get(self.mode, min(runs, devices))


def candidates(runs: int, devices: int) -> tuple[str, ...]:
    """Packings to be measured, those with the bits of the solo run first."""
    if runs == 1:
        return ("serial",)
    return ("serial", "vmap") if devices == 1 else ("devices", "pmap", "vmap")


def pack_size(mode: str) -> int:
    """How many runs of one shape a worker takes at once on the devices of this process."""
    import jax

    devices = jax.local_devices()
    if mode == "serial":
        return 1
    if mode == "vmap" or (mode == "auto" and len(devices) == 1):
        # a core is busy with one run; an accelerator is not, and more than eight gain little
        return len(devices) * (2 if devices[0].platform == "cpu" else 8)
    return len(devices)


def choose(config: RunConfig, vocab: int, runs: int, steps: int) -> Choice:
    """The fastest packing of ``runs`` runs of one shape that have ``steps`` steps to go."""
    import jax

    devices = jax.local_devices()
    modes = candidates(runs, len(devices))
    free = memory.available(devices[0], len(devices))
    if (
        free is not None
        and memory.predict(config, vocab, "vmap", len(devices), runs, platform=devices[0].platform) > free
    ):
        modes = tuple(mode for mode in modes if mode != "vmap")
    if len(modes) == 1:
        return Choice(modes[0], {}, {}, "one run, or no memory for more at once")
    path = _path(config, vocab, runs, devices)
    found = _kept(path, modes)
    if found is not None:
        return found
    speeds: dict[str, float] = {}
    compiled: dict[str, float] = {}
    for mode in modes:
        first = modes[0]
        if mode != first:
            left = steps * runs * config.batch_tokens / speeds[first]
            if left < _WORTH_IT * compiled[first]:
                return Choice(first, speeds, compiled, f"{left:.1f} s of training are too few to try others")
        compiled[mode], speeds[mode] = _measure(config, vocab, mode, runs, len(devices))
    best = max(speeds, key=speeds.get)
    exact = modes[0]
    chosen = best if speeds[best] > _MARGIN * speeds[exact] else exact
    choice = Choice(chosen, speeds, compiled, "measured on this machine")
    with contextlib.suppress(OSError, Refused):  # a cache: where it cannot be kept, no run is stopped for it
        write_json(path, asdict(choice))
    return choice


def _kept(path: Path, modes: tuple[str, ...]) -> Choice | None:
    """What was measured before; None where there is nothing, or not what was written."""
    try:
        found = build(Choice, read_json(path), "")
    except (OSError, InputError, TypeError):
        return None
    return found if found.mode in modes else None


def _measure(config: RunConfig, vocab: int, mode: str, runs: int, devices: int) -> tuple[float, float]:
    """Seconds to compile, and tokens a second of all runs that advance together."""
    from lab.training import optimizer
    from lab.training.pack import STEPS_PER_CALL, Pack

    together = Choice(mode, {}, {}, "").at_once(runs, devices)
    pack = Pack(config, vocab, mode, together)
    shape = (STEPS_PER_CALL, config.batch, config.data.context)
    tokens = np.random.default_rng(0).integers(0, vocab, shape, np.int32)
    hypers = [optimizer.hyper(config)] * together
    placed = pack.put([config] * together)

    def take(n: int) -> float:
        nonlocal placed
        started = time.perf_counter()
        placed, metrics = pack.advance(placed, tokens, tokens, n, hypers)
        for row in metrics:
            np.asarray(row.loss_nats)
        return time.perf_counter() - started

    compile_s, one = take(1), take(1)
    n = int(np.clip(_SECONDS / 2 / one, 1, STEPS_PER_CALL))
    best = min(take(n) for _ in range(2))
    return max(compile_s - one, 0.0), together * n * config.batch_tokens / best


def _path(config: RunConfig, vocab: int, runs: int, devices):
    import jax

    shape = [asdict(config.model), config.batch, config.data.context, vocab, config.precision]
    shape += [config.optimizer.algorithm, runs, len(devices), devices[0].device_kind, jax.__version__]
    return cache_folder() / "pack" / machine_name() / f"{digest(shape)}.json"
