"""One command for one accelerator: is it right there, and how fast.

    python -m benchmarks.accelerator            # at most 8 minutes; every line is a JSON object
    python -m benchmarks.accelerator --toy      # the same at toy sizes, for a CPU

Needs jax, flax, optax, orbax, numpy and pandas; torch, where it is installed, for the peer: nanoGPT's
architecture with torch.compile and its fused attention, in a process of its own. What finds no time left is
named as left out. Exit code 1 where something is wrong, whatever the speed.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from lab import python
from lab.bench.peer import PEER
from lab.machine import devices

_VOCAB = 258


@dataclass(frozen=True)
class Sizes:
    """What is measured. Shapes are (width, layers, sequences a step), at one context."""

    gemm: int
    shapes: tuple[tuple[int, int, int], ...]
    context: int
    packs: tuple[int, ...]
    small: tuple[int, int, int]  # of the runs in packs, with a context of 128 at most
    vocab: int
    seconds: float  # of each measurement


FULL = Sizes(
    gemm=8192,
    shapes=((256, 6, 64), (512, 8, 64), (1024, 12, 32), (2048, 16, 16)),
    context=1024,
    packs=(1, 4, 16, 64),
    small=(64, 2, 8),
    vocab=32_768,
    seconds=5.0,
)
TOY = Sizes(
    gemm=128,
    shapes=((16, 1, 2),),
    context=32,
    packs=(1, 2),
    small=(8, 1, 2),
    vocab=_VOCAB,
    seconds=0.05,
)


def tell(**line) -> None:
    print(json.dumps(line), flush=True)


class Clock:
    """What is left of the time that was granted."""

    def __init__(self, seconds: float):
        self.until = time.monotonic() + seconds

    def left(self) -> float:
        return self.until - time.monotonic()

    def allows(self, seconds: float, **what) -> bool:
        """Whether so much is left; else says that ``what`` is left out."""
        if self.left() >= seconds:
            return True
        tell(**what, left_out="no time left")
        return False


def config_of(shape, context: int, precision: str = "float32"):
    from lab.config import ModelConfig, OptimizerConfig, RunConfig
    from lab.data import DataConfig

    width, layers, batch = shape
    heads = max(1, width // 64)
    return RunConfig(
        tokens=10**9,
        model=ModelConfig(width=width, layers=layers, heads=heads),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_tokens=0),
        data=DataConfig(source="synthetic", context=context),
        batch=batch,
        precision=precision,
    )


def batches(config, vocab: int, steps: int):
    import numpy as np

    draws = np.random.default_rng(0)
    # drawn from few symbols, so that there is something to learn
    tokens = draws.integers(0, min(vocab, 16), (steps, config.batch, config.data.context + 1), dtype=np.int32)
    return tokens[..., :-1], tokens[..., 1:]


def trained(config, vocab: int, mode: str = "serial", runs: int = 1, where=None, steps: int = 20, start=None):
    """Losses (R, steps) and states of R runs, seeds 0 to R - 1."""
    import numpy as np

    from lab.training import optimizer, pack

    every = [replace(config, seed=seed) for seed in range(runs)]
    found = pack.Pack(config, vocab, mode, runs, devices=where)
    at = 0 if start is None else int(start[0].step)
    inputs, targets = (a[at : at + steps] for a in batches(config, vocab, 20))
    pad = [(0, 20 - len(inputs)), (0, 0), (0, 0)]
    placed, rows = found.advance(
        found.put(start or every),
        np.pad(inputs, pad),
        np.pad(targets, pad),
        steps,
        [optimizer.hyper(one) for one in every],
    )
    losses = np.array([np.asarray(row.loss_nats)[:steps] for row in rows])
    return losses, [found.get(placed, r) for r in range(runs)]


def correctness(sizes: Sizes, clock: Clock) -> bool:
    """Each check with what was found and what is allowed; whether all hold."""
    import jax
    import numpy as np

    from lab.runs.checkpoint import Checkpoints
    from lab.training import train

    config = config_of(sizes.small, min(sizes.context, 128))
    here, states = trained(config, _VOCAB)
    cpu = jax.devices("cpu")[:1]
    beside, _ = trained(config, _VOCAB, where=tuple(cpu))
    half, _ = trained(replace(config, precision="bfloat16"), _VOCAB)
    two, _ = trained(config, _VOCAB, "vmap", 2)
    mapped, _ = trained(config, _VOCAB, "pmap", 1)
    with tempfile.TemporaryDirectory() as folder:
        _, middle = trained(config, _VOCAB, steps=10)
        kept = Checkpoints(Path(folder))
        kept.save(10, middle[0])
        restored = kept.restore(10, train.state_shapes(config, _VOCAB))
        _, ended = trained(config, _VOCAB, steps=10, start=[restored])
    pairs = zip(jax.tree.leaves(ended[0]), jax.tree.leaves(states[0]), strict=True)
    apart = {
        "accelerator and CPU, losses": (float(np.abs(here - beside).max()), 1e-3),
        "bfloat16 and float32, losses": (float(np.abs(here - half).max()), 5e-2),
        "a vmapped pack and alone, losses": (float(np.abs(two[0] - here[0]).max()), 1e-4),
        "a pmapped run and alone, losses": (float(np.abs(mapped[0] - here[0]).max()), 1e-4),
        "resumed and straight, bits": (float(sum(not np.array_equal(a, b) for a, b in pairs)), 0.0),
    }
    for what, (found, most) in apart.items():
        tell(check=what, apart=found, allowed=most, holds=found <= most)
    learned = bool(here[0][-1] < here[0][0])
    tell(check="the loss falls", first=float(here[0][0]), last=float(here[0][-1]), holds=learned)
    return learned and all(found <= most for found, most in apart.values())


def gemm_peak(sizes: Sizes) -> float:
    """FLOP/s of a square product of 16-bit matrices: what this device reaches, not what is printed on it."""
    import jax
    import jax.numpy as jnp

    n = sizes.gemm
    a = jax.random.normal(jax.random.key(0), (n, n), jnp.bfloat16)
    product = jax.jit(lambda a, b: a @ b)
    product(a, a).block_until_ready()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < min(sizes.seconds, 2.0):
        b = a
        for _ in range(10):
            b = product(a, b)
        b.block_until_ready()
        count += 10
    return 2 * n**3 * count / (time.perf_counter() - started)


@contextlib.contextmanager
def attention(kernel: str | None) -> Iterator[None]:
    """Within, attention is computed by this kernel; None: as the platform has it."""
    from lab.model import kernels

    if kernel is None:
        yield
        return
    with mock.patch.object(kernels, "here", return_value=kernel):
        yield


def speed(config, vocab: int, seconds: float, mode: str = "serial", runs: int = 1) -> dict:
    """Tokens/s of R runs in lockstep, after a first call, with the compiler's own peak bytes where told."""
    import jax

    from lab.training import optimizer, pack

    pack.program.cache_clear()  # the kernel is not part of its key
    started = time.perf_counter()
    found = pack.Pack(config, vocab, mode, runs)
    hypers = [optimizer.hyper(config)] * runs
    data = batches(config, vocab, pack.STEPS_PER_CALL)
    placed, rows = found.advance(
        found.put([replace(config, seed=r) for r in range(runs)]), *data, pack.STEPS_PER_CALL, hypers
    )
    jax.block_until_ready(placed)
    compiled = time.perf_counter() - started
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds or not steps:
        placed, rows = found.advance(placed, *data, pack.STEPS_PER_CALL, hypers)
        jax.block_until_ready(placed)
        steps += pack.STEPS_PER_CALL
    took = time.perf_counter() - started
    stats = jax.local_devices()[0].memory_stats() or {}
    return {
        "tokens_per_s": runs * steps * config.batch_tokens / took,
        "first_call_s": compiled,
        "loss": float(rows[0].loss_nats.__array__()[-1]),
        "peak_bytes": stats.get("peak_bytes_in_use"),
    }


def shapes(sizes: Sizes, clock: Clock, peak: float) -> None:
    import jax

    from lab.model import accounting

    kernels = (None, "xla") if jax.default_backend() == "gpu" else (None,)
    for shape in sizes.shapes:
        config = config_of(shape, sizes.context, "bfloat16")
        flops = 3 * accounting.forward_flops(config.model, sizes.vocab, sizes.context)
        about = {"speed": f"width {shape[0]}, layers {shape[1]}", "batch": shape[2], "context": sizes.context}
        for kernel in kernels:
            about["attention"] = kernel or "as the platform has it"
            if not clock.allows(4 * sizes.seconds, **about):
                continue
            try:
                with attention(kernel):
                    found = speed(config, sizes.vocab, sizes.seconds)
            except Exception as error:  # of memory, most likely: the others are still worth having
                tell(**about, failed=str(error).splitlines()[0])
                continue
            tell(**about, **found, share_of_gemm_peak=found["tokens_per_s"] * flops / peak)
        about.pop("attention")
        if clock.allows(4 * sizes.seconds, **about, peer="torch"):
            tell(**about, **peer(shape, sizes, clock))


def packs(sizes: Sizes, clock: Clock) -> None:
    config = config_of(sizes.small, min(sizes.context, 128))
    alone = None
    for runs in sizes.packs:
        if not clock.allows(3 * sizes.seconds, pack=runs):
            continue
        found = speed(config, _VOCAB, sizes.seconds, "vmap", runs)
        alone = alone or found["tokens_per_s"]
        tell(pack=runs, **found, against_one=found["tokens_per_s"] / alone)


def peer(shape, sizes: Sizes, clock: Clock) -> dict:
    """What torch reaches on the same shape here, or why it was not asked."""
    width, layers, batch = shape
    spec = {"width": width, "layers": layers, "heads": max(1, width // 64), "batch": batch}
    spec |= {"context": sizes.context, "vocab": sizes.vocab, "accelerated": True}
    call = python.command(str(PEER), json.dumps(spec))
    try:
        done = subprocess.run(
            call,
            input=f"{sizes.seconds}\n",
            capture_output=True,
            text=True,
            timeout=max(1, clock.left()),
            env=python.environment(),
        )
    except subprocess.TimeoutExpired:
        return {"peer": "torch", "left_out": "no time left"}
    if done.returncode:
        return {"peer": "torch", "left_out": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    about, found = map(json.loads, done.stdout.splitlines()[-2:])
    return {
        "peer": "torch",
        **about,
        "tokens_per_s": found["tokens"] / found["seconds"],
        "loss": found["loss"],
    }


def main(toy: bool, seconds: float) -> int:
    clock = Clock(seconds)
    devices.configure()
    import jax

    sizes = TOY if toy else FULL
    first = jax.devices()[0]
    tell(device=first.device_kind, platform=first.platform, jax=jax.__version__, toy=toy)
    holds = correctness(sizes, clock)
    peak = gemm_peak(sizes)
    tell(gemm=f"{sizes.gemm} cubed, bfloat16", flops_per_s=peak)
    packs(sizes, clock)
    shapes(sizes, clock, peak)
    tell(seconds=seconds - clock.left(), all_checks_hold=holds)
    return 0 if holds else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--toy", action="store_true", help="toy sizes, for a CPU")
    parser.add_argument("--seconds", type=float, default=480.0, help="what all of it may take")
    given = parser.parse_args()
    sys.exit(main(given.toy, given.seconds))
