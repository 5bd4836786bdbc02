"""Sizes that no number of devices divides: the same losses on one and on three of them."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

COUNTS = (1, 3)  # two devices: tests/lab/test_verbs.py
WINDOWS = 13  # of validation; a batch of 12 is cut by each count
STEPS = 21  # of 20.6 batches


def measure() -> dict:
    """Run in a process of its own, which has three devices."""
    from unittest import mock

    import jax

    from lab.config import ModelConfig, OptimizerConfig, RunConfig
    from lab.data import DataConfig, load
    from lab.execution import Execution, MeshShape
    from lab.runs import loop
    from lab.runs.folder import RunFolder
    from lab.runs.job import Job

    data = load(DataConfig(source="synthetic", context=16, val_windows=WINDOWS))
    config = RunConfig(
        tokens=round(20.6 * 12 * 16),
        model=ModelConfig(width=8, layers=1, heads=1),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_tokens=500),
        data=data.config,
        batch=12,
    )
    every, found = jax.local_devices(), {}
    with tempfile.TemporaryDirectory() as name:
        for n in COUNTS:
            how = Execution(MeshShape.parse(f"data={n}"))
            job = Job(config, f"mesh{n}", RunFolder(Path(name) / f"mesh{n}"))
            with mock.patch.object(jax, "local_devices", lambda *_, n=n: every[:n]):
                loop.run([job], data, "mesh", how=how)
            row = job.folder.result()["row"]
            wanted = ("loss_nats", "loss_se", "train_loss_nats", "tokens")
            found[f"mesh {n}"] = [row[key] for key in wanted]
    return found


@pytest.mark.slow
def test_losses_do_not_depend_on_the_number_of_devices(own_devices):
    flags = f"{own_devices['XLA_FLAGS']} --xla_force_host_platform_device_count=3"
    env = own_devices | {"XLA_FLAGS": flags}
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(COUNTS)
    first = found["mesh 1"]
    assert first[-1] == STEPS * 12 * 16
    for name, values in found.items():
        assert values == pytest.approx(first, abs=1e-5), name
    apart = max(abs(a - b) for values in found.values() for a, b in zip(values, first, strict=True))
    print(f"{COUNTS} devices: {apart:.1e} apart")


if __name__ == "__main__":
    print(json.dumps(measure()))
