"""What is measured, in a process of its own on one core (or on one accelerator).

Started with a JSON object as its argument; says when it is ready, and what compiling took, as a line of JSON.
Then each line on standard input is a measurement: ``step SECONDS`` trains for so long, ``products`` times the
step's matrix products alone, ``libraries`` a large one by each library.
"""

import json
import sys
import tempfile
import time

_STEPS = 5  # a call: long programs answer soon, and short ones lose little to dispatch


def main(spec: dict) -> None:
    from lab.machine import devices

    devices.configure(1, (spec["core"],) if spec["core"] is not None else None)
    import jax
    import numpy as np
    from jax.experimental.compilation_cache import compilation_cache

    from lab.bench import products
    from lab.config import ModelConfig, RunConfig
    from lab.data import DataConfig
    from lab.execution import Execution
    from lab.model import memory
    from lab.training import optimizer, train
    from lab.training.pack import STEPS_PER_CALL, program

    model = ModelConfig(spec["width"], spec["layers"], spec["heads"], qk_norm=False)
    data = DataConfig(source="synthetic", context=spec["context"])
    config = RunConfig(tokens=10**9, model=model, data=data, batch=spec["batch"])
    vocab = spec["vocab"]
    shape = (STEPS_PER_CALL, config.batch, config.data.context)
    batches = np.random.default_rng(0).integers(0, vocab, (2, *shape), np.int32)
    hyper = optimizer.hyper(config)
    # cold and warm are measured, whatever the user's cache holds
    kept = jax.config.jax_compilation_cache_dir
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        took = []
        for _ in range(2):
            jax.clear_caches()
            program.cache_clear()
            started = time.perf_counter()
            fresh = program(
                model, config.precision, vocab, "serial", tuple(jax.local_devices()[:1]), Execution()
            )
            state = train.initial_state(config, vocab)
            compiled = fresh.lower(state, *batches, np.int32(1), hyper).compile()
            took.append(time.perf_counter() - started)
    jax.config.update("jax_compilation_cache_dir", kept or str(devices.compilation_folder()))
    compilation_cache.reset_cache()  # it would keep the folder that it was first used with

    def steps(n: int) -> float:
        nonlocal state
        state, metrics = compiled(state, *batches, np.int32(n), hyper)
        return float(np.asarray(metrics.loss_nats)[n - 1])

    steps(2)
    timer = products.Timer(products.of_step(config, vocab))
    _say(
        compile_s=took[0],
        warm_s=took[1],
        peak_bytes=memory.measured(compiled),
        device=jax.devices()[0].device_kind,
        flops_per_token=timer.flops / config.batch_tokens,
    )
    for line in sys.stdin:
        what, *seconds = line.split()
        if what == "products":
            _say(seconds_per_token=timer.seconds() / config.batch_tokens)
            continue
        if what == "libraries":
            _say(**products.of_libraries())
            continue
        started, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < float(seconds[0]) or done == 0:
            loss = steps(_STEPS)
            done += _STEPS
        _say(tokens=done * config.batch_tokens, seconds=elapsed, loss=loss)


def _say(**values) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
