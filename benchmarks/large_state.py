"""Save and restore a state above the size from which checkpoints come in parts: seconds and peak memory.

    python -m benchmarks.large_state                     # 1.2 GB over 4 virtual devices, read back on 2

Two steps are trained and saved over ``fsdp=4``, in the background; another process reads the state over
``fsdp=2`` and trains two more. The losses of a run that never stopped are beside them.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab import python
from lab.machine import devices

_VOCAB = 258
_STEPS = 2


def config_of(width: int, layers: int):
    from lab.config import ModelConfig, OptimizerConfig, RunConfig
    from lab.data import DataConfig

    return RunConfig(
        tokens=10**6,
        model=ModelConfig(width=width, layers=layers, heads=8),
        optimizer=OptimizerConfig(learning_rate=1e-4, warmup_tokens=0),
        data=DataConfig(source="synthetic", context=8),
        batch=4,
    )


def stretch(folder: Path, width: int, layers: int, count: int, steps: int) -> dict:
    """Restore what is there, train ``steps``, save: what each took, in seconds, and the losses."""
    import jax
    import numpy as np

    from lab.execution import Execution, MeshShape
    from lab.runs.checkpoint import SHARDED_BYTES, Checkpoints
    from lab.training import optimizer, train
    from lab.training.pack import STEPS_PER_CALL, Pack

    config = config_of(width, layers)
    pack = Pack(config, _VOCAB, "mesh", how=Execution(MeshShape(fsdp=count)))
    shapes = train.state_shapes(config, _VOCAB)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    assert size >= SHARDED_BYTES
    store = Checkpoints(folder, place=pack.place)
    began = time.perf_counter()
    there = store.steps()
    placed = pack.put([store.restore(there[-1], shapes) if there else config])
    jax.block_until_ready(placed)
    put = time.perf_counter() - began
    draws = np.random.default_rng(0)
    shape = (STEPS_PER_CALL, config.batch, config.data.context + 1)
    tokens = np.roll(draws.integers(0, 16, shape, np.int32), -(there[-1] if there else 0), 0)
    placed, (metrics,) = pack.advance(
        placed, tokens[..., :-1], tokens[..., 1:], steps, [optimizer.hyper(config)]
    )
    losses = np.asarray(metrics.loss_nats)[:steps].tolist()
    before = _peak()
    began = time.perf_counter()
    (at,) = pack.steps(placed)
    store.save(at, pack.in_parts(placed))
    blocked = time.perf_counter() - began
    store.wait()
    return {
        "state_GB": size / 1e9,
        "devices": count,
        "restored" if there else "initialised": put,
        "save_blocked_s": blocked,
        "save_durable_s": time.perf_counter() - began,
        "peak_before_save_GB": before,
        "peak_GB": _peak(),
        "losses": losses,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _apart(folder: Path, width: int, layers: int, count: int, steps: int) -> dict:
    call = python.command("-m", "benchmarks.large_state", "--in", folder, count, steps, width, layers)
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True, env=python.environment())
    return json.loads(done.stdout.splitlines()[-1])


def main(width: int, layers: int) -> int:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        first = _apart(Path(one), width, layers, 4, _STEPS)
        print(json.dumps(first), flush=True)
        second = _apart(Path(one), width, layers, 2, _STEPS)
        print(json.dumps(second), flush=True)
        straight = _apart(Path(other), width, layers, 4, 2 * _STEPS)
        pairs = zip(first["losses"] + second["losses"], straight["losses"], strict=True)
        apart = max(abs(a - b) for a, b in pairs)
        print(json.dumps({"losses apart from a run that never stopped": apart}))
    return 0 if apart < 1e-5 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--in", dest="stretch", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stretch:
        folder, count, steps, width, layers = Path(given.stretch[0]), *map(int, given.stretch[1:])
        devices.configure(count)
        print(json.dumps(stretch(folder, width, layers, count, steps)))
        sys.exit(0)
    sys.exit(main(given.width, given.layers))
