"""What many layers cost: memory on each of eight devices, and compiling.

    python -m benchmarks.depth memory    # of a step on each device, layers gathered at once or in turn
    python -m benchmarks.depth compile   # CPU seconds to compile a step of 4 and of 24 layers

Nothing is trained: both are accounts of the compiler. Memory is told beside a batch so small that activations
hardly count.
"""

import argparse
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from unittest import mock

from lab.machine import devices

VOCAB = 258


def config_of(layers: int, width: int = 256, context: int = 16, batch: int = 8):
    from lab.config import ModelConfig, RunConfig
    from lab.data import DataConfig

    model = ModelConfig(width=width, layers=layers, heads=max(1, width // 64))
    return RunConfig(
        tokens=10**6, model=model, data=DataConfig(source="synthetic", context=context), batch=batch
    )


@contextmanager
def together(mesh: bool):
    """Within, no layer waits for its turn: all are unrolled, and gathered at the top of the loss."""
    from lab.model import layers

    with mock.patch.object(layers, "are_scanned", return_value=False) if mesh else nullcontext():
        yield


def on_mesh(config, how, vocab: int = VOCAB):
    """The compiled step over ``how.mesh``."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lab.training import mesh, optimizer, pack

    for made in (mesh.program, mesh.initial):  # how layers are arranged is not part of their keys
        made.cache_clear()
    found = pack.Pack(config, vocab, "mesh", how=how)
    tokens = jax.ShapeDtypeStruct((1, config.batch, config.data.context), jnp.int32)
    state = mesh.state_shapes(config, vocab, found.mesh)
    return found._program.lower(state, tokens, tokens, np.int32(1), optimizer.hyper(config)).compile()


def memory_table(count: int = 8, layers: int = 12, width: int = 256) -> list[tuple[str, int, int]]:
    """(what, bytes a device, 1/8 of parameters, gradients and moments) over ``fsdp=count``."""
    from lab.execution import Execution, MeshShape
    from lab.model import accounting, memory

    config = config_of(layers, width)
    state = 16 * accounting.count_params(config.model, VOCAB).total
    found = []
    for remat in (False, True):
        how = Execution(MeshShape(fsdp=count), remat=remat)
        for gathered in (True, False):
            with together(gathered):
                compiled = on_mesh(config, how)
            what = "all layers at once" if gathered else "a layer at a time"
            found.append((what + (", --remat" if remat else ""), memory.measured(compiled), state))
    return found


def compile_cpu_s(layers: int, width: int = 64) -> float:
    """CPU seconds from a traced step to a compiled one and tracing, on one device."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lab.model import layers as arrangements
    from lab.training import optimizer, train

    config = config_of(layers, width, 128)
    state = train.state_shapes(config, VOCAB)
    if arrangements.are_scanned(config.model):
        state = jax.eval_shape(arrangements.stacked, state)
    tokens = jax.ShapeDtypeStruct((20, config.batch, config.data.context), jnp.int32)
    body = partial(train.chunk, model=config.model, precision="float32", vocab=VOCAB)
    started = time.process_time()
    program = jax.jit(body, donate_argnums=0)
    program.lower(state, tokens, tokens, np.int32(1), optimizer.hyper(config)).compile()
    return time.process_time() - started


def main(what: str) -> None:
    if what == "memory":
        print(f"{'over fsdp=8, 12 layers of width 256':<44}{'MB a device':>12}{'of 1/8':>9}")
        for name, found, state in memory_table():
            print(f"{name:<44}{found / 1e6:>12.1f}{found / (state / 8):>8.2f}x")
        return
    compile_cpu_s(1, 32)  # what the first compilation of a process costs besides
    seconds = {layers: compile_cpu_s(layers) for layers in (4, 12, 24)}
    for layers, found in seconds.items():
        print(f"{layers:>3} layers: {found:5.1f} CPU s, {found / seconds[4]:.2f} x that of 4")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("memory", "compile"))
    given = parser.parse_args()
    devices.configure(8 if given.what == "memory" else 1)
    main(given.what)
