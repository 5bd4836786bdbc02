"""Times a few real steps of each program of a plan on this machine, so that hours are no guess.

Measured in processes as the local engine starts them: one a core, all at once, so that they share memory
bandwidth as workers do. Each tells one JSON line a program. What is measured is kept beside what runs measure
(:mod:`lab.machine.speed`), so that a shape is probed once.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from threading import Thread

from lab import python
from lab.config import RunConfig
from lab.data import Dataset
from lab.machine.devices import available_cores
from lab.strict import build
from sweeps.plan.cells import Plan
from sweeps.plan.pricing import Prices, Program, odd, programs

_SECONDS = 0.5  # of training for each program, after its compilation
_COMPILE = 6.0  # expected seconds of compilation a program
_CHEAP = 20.0  # a probe that is shorter than this, and than a hundredth of the study, needs no asking


def unmeasured(plan: Plan) -> list[Program]:
    """Programs that never ran on this machine, those of most steps first."""
    from lab.machine import speed

    found = [p for p in programs(plan).values() if speed.known(p.config, p.vocab) is None]
    return sorted(found, key=lambda p: -p.steps * p.flops_per_step)


def contradicted(plan: Plan, probed: list[Program]) -> list[Program]:
    """Those just probed whose time a FLOP the sizes next to them contradict: worth another look."""
    from lab.machine import speed

    found = programs(plan)
    told = {key: speed.known(p.config, p.vocab) for key, p in found.items()}
    seconds = {key: time.seconds for key, time in told.items() if time is not None}
    doubted = odd({key: p.flops_per_step for key, p in found.items()}, seconds)
    mine = [(p.config, p.vocab) for p in probed]
    return [found[key] for key in doubted if (found[key].config, found[key].vocab) in mine]


def is_cheap(plan: Plan, todo: list[Program]) -> bool:
    """Whether to probe without being asked: below a hundredth of the study's device time, and short."""
    cost = len(todo) * (_COMPILE + _SECONDS)
    prices = Prices(plan)
    total = sum(prices.seconds(node) for node in (*plan.cells, *plan.trunks))
    return cost / len(available_cores()) <= _CHEAP and cost < 0.01 * total


def probe(todo: list[Program], tell: Callable[[str], None]) -> None:
    """Measure the programs. One that cannot run here is told of and left out."""
    cores = available_cores()
    accelerated = _is_accelerated()
    lanes = 1 if accelerated else len(cores)
    threads = [
        Thread(target=_lane, args=(todo[i::lanes], None if accelerated else cores[i], tell))
        for i in range(min(lanes, len(todo)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _is_accelerated() -> bool:
    import jax

    return jax.default_backend() != "cpu"


def _lane(todo: list[Program], core: int | None, tell: Callable[[str], None]) -> None:
    work = [asdict(p.config) for p in todo]
    command = python.command("-m", "sweeps.plan.step_timing", *([] if core is None else [core]))
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=python.environment(),
        )
        with contextlib.suppress(BrokenPipeError):  # it ended before it read
            process.stdin.write(json.dumps(work))
            process.stdin.close()
        for line in process.stdout:
            tell(line.strip())
        if process.wait():
            said.seek(0)
            tell(
                f"the probe ended with exit code {process.returncode}: {_reason(said.read())}; "
                "its other shapes stay estimates"
            )


def _reason(said: str) -> str:
    """The error in what a process said, else its last line."""
    lines = said.strip().splitlines() or ["it said nothing"]
    return next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Fault)?: ", line)), lines[-1])


def main(argv: list[str]) -> int:
    """In a process of its own: programs as JSON on stdin, one line each on stdout."""
    from lab import data
    from lab.machine import devices

    devices.configure(1, tuple(int(core) for core in argv) or None)
    devices.enable_compilation_cache()
    for item in json.loads(sys.stdin.read()):
        config = build(RunConfig, item, "probe")
        compiled, seconds = measure(config, data.load(config.data))
        m = config.model
        shape = f"{m.label}, {config.batch} x {config.data.context} tokens"
        print(f"{shape}: {seconds * 1e3:.3g} ms a step, compiled in {compiled:.1f} s", flush=True)
    return 0


def measure(config: RunConfig, dataset: Dataset) -> tuple[float, float]:
    """Seconds to compile and seconds a step of the training program; the latter is kept.

    Batches are drawn while the steps before them run, as in training: on a worker's one core that costs time.
    """
    import numpy as np

    from lab.machine import speed
    from lab.training import optimizer, train
    from lab.training.pack import STEPS_PER_CALL, Pack

    vocab = dataset.vocab_size
    pack = Pack(config, vocab)
    placed = pack.put([train.initial_state(config, vocab)])
    hypers = [optimizer.hyper(config)]
    step = 0
    batches = dataset.batches(step, STEPS_PER_CALL, config.batch)

    def call(placed, steps: int):
        nonlocal step, batches
        placed, metrics = pack.advance(placed, *batches, steps, hypers)
        step += steps
        batches = dataset.batches(step, STEPS_PER_CALL, config.batch)
        np.asarray(metrics[0].loss_nats)  # waits for the steps
        return placed

    started = time.perf_counter()
    placed = call(placed, 1)
    compiled = time.perf_counter() - started
    placed = call(placed, 1)
    first, started = step, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < _SECONDS or step == first:
        done = step - first
        placed = call(placed, 1 if done and elapsed / done * STEPS_PER_CALL > _SECONDS else STEPS_PER_CALL)
    seconds = (time.perf_counter() - started) / (step - first)
    speed.record(config, vocab, seconds)
    return compiled, seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
