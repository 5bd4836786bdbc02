"""LLVM's levels of optimisation on CPU: CPU seconds to compile a training program, and milliseconds a step.

    python -m benchmarks.compile_levels [--seconds 15]

Steps of all levels alternate in one process on one core; the fastest call of each counts.
"""

import argparse
import time
from functools import partial

from lab.machine import devices

LEVELS = (3, 2, 1)
# width, heads, sequences, context, vocabulary: of the quick start's abilities, of its text, and beyond
SHAPES = (
    (8, 1, 64, 32, 64),
    (24, 1, 64, 32, 64),
    (32, 2, 8, 128, 258),
    (64, 2, 8, 128, 258),
    (128, 2, 8, 128, 258),
    (256, 4, 8, 128, 258),
)
STEPS = 20


def compared(shape, seconds: float):
    """For each level (level, CPU s of compiling, ms a step, largest difference of a loss to the first's)."""
    import jax
    import numpy as np

    from lab.config import ModelConfig, RunConfig
    from lab.training import train
    from lab.training.schedule import hyper

    width, heads, batch, context, vocab = shape
    config = RunConfig(tokens=4_000_000, model=ModelConfig(width=width, heads=heads, layers=2, qk_norm=False))
    start = jax.tree.map(np.asarray, train.initial_state(config, vocab))
    drawn = np.random.default_rng(0).integers(0, vocab, (2, STEPS, batch, context)).astype(np.int32)
    batches = (*drawn, STEPS, hyper(config))
    body = partial(train.chunk, model=config.model, precision="float32", vocab=vocab)
    lowered = jax.jit(body, donate_argnums=0).lower(start, *batches)
    programs, states, compiling, fastest, losses = [], [], [], [], []
    for level in LEVELS:
        began = time.process_time()
        programs.append(lowered.compile(compiler_options={"xla_backend_optimization_level": level}))
        compiling.append(time.process_time() - began)
        state, metrics = programs[-1](jax.tree.map(jax.numpy.array, start), *batches)
        states.append(state)
        losses.append(np.asarray(metrics.loss_nats))
        fastest.append(float("inf"))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for i, program in enumerate(programs):
            began = time.process_time()
            states[i], _ = jax.block_until_ready(program(states[i], *batches))
            fastest[i] = min(fastest[i], (time.process_time() - began) / STEPS)
    for i, level in enumerate(LEVELS):
        yield level, compiling[i], 1e3 * fastest[i], float(np.abs(losses[i] - losses[0]).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15, help="of steps, a shape")
    options = parser.parse_args()
    devices.configure(cores=(0,))
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    print("width heads batch context  level  compile CPU s  ms a step  loss differs by")
    for shape in SHAPES:
        for level, compiling, step, gap in compared(shape, options.seconds):
            sizes = f"{shape[0]:5} {shape[1]:5} {shape[2]:5} {shape[3]:7} {level:6}"
            print(f"{sizes} {compiling:14.2f} {step:10.3f} {gap:16.1e}")


if __name__ == "__main__":
    main()
