"""One run over eight virtual devices: the same losses and parameters as on one, whatever the mesh."""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig, load
from lab.errors import InputError
from lab.execution import Execution, MeshShape

STEPS, CUT = 12, 7  # in all; and where a state moves to other devices
DATA = DataConfig(source="synthetic", context=32, val_windows=16)
PLAIN = RunConfig(
    tokens=STEPS * 16 * 32,
    model=ModelConfig(width=32, layers=2, heads=4),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_tokens=5 * 16 * 32),
    data=DATA,
    batch=16,
)
TIED = replace(PLAIN, model=replace(PLAIN.model, layers=1, tied=True, mlp="gated", mlp_ratio=2.0))
CASES = {
    "fsdp=8": (PLAIN, Execution(MeshShape.parse("fsdp=8"))),
    "all three, in parts, computed again": (
        PLAIN,
        Execution(MeshShape.parse("data=2,fsdp=2,tensor=2"), accumulate=2, remat=True),
    ),
    "tensor=4": (TIED, Execution(MeshShape.parse("data=2,tensor=4"))),
}
READ = "all three, in parts, computed again"  # where each axis cuts what is read and written


def train(config, n=STEPS, mode="serial", how=Execution(), start=None, at=0):  # noqa: B008
    from lab.training import optimizer, pack

    data = load(config.data)
    p = pack.Pack(config, data.vocab_size, mode, how=how)
    placed, (metrics,) = p.advance(
        p.put([start or config]), *data.batches(at, STEPS, config.batch), n, [optimizer.hyper(config)]
    )
    return p, placed, np.asarray(metrics.loss_nats)[:n]


def apart(a, b) -> float:
    import jax

    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


# Sizes that no number of devices divides; two devices: tests/lab/test_verbs.py
COUNTS = (1, 3)
UNEVEN = RunConfig(
    tokens=round(20.6 * 12 * 16),  # 21 steps; a batch of 12 is cut by each count
    model=ModelConfig(width=8, layers=1, heads=1),
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_tokens=500),
    data=DataConfig(source="synthetic", context=16, val_windows=13),
    batch=12,
)


def of_counts() -> dict[str, list]:
    """Of whole runs over so many devices: losses and tokens of their rows."""
    import jax

    from lab.runs import loop
    from lab.runs.folder import RunFolder
    from lab.runs.job import Job

    data, every, found = load(UNEVEN.data), jax.local_devices(), {}
    with tempfile.TemporaryDirectory() as name:
        for n in COUNTS:
            job = Job(UNEVEN, f"mesh{n}", RunFolder(Path(name) / f"mesh{n}"))
            with mock.patch.object(jax, "local_devices", lambda *_, n=n: every[:n]):
                loop.run([job], data, "mesh", how=Execution(MeshShape(data=n)))
            row = job.folder.result()["row"]
            found[str(n)] = [row[key] for key in ("loss_nats", "loss_se", "train_loss_nats", "tokens")]
    return found


def measure() -> dict:
    """Run in a process of its own, which has eight devices."""
    from benchmarks import depth
    from lab.evaluation import evaluate, generate, progress_measures
    from lab.model import accounting, memory
    from lab.training import mesh

    found, data = {"counts": of_counts()}, load(DATA).validation()
    solo_of = {tied: train(config) for tied, config in ((False, PLAIN), (True, TIED))}
    for name, (config, how) in CASES.items():
        p, placed, losses = train(config, mode="mesh", how=how)
        alone, alone_placed, expected = solo_of[config.model.tied]
        state, solo = p.get(placed, 0), alone.get(alone_placed, 0)
        sizes = {
            path[-2].key: shard.data.size / leaf.size
            for path, leaf in mesh.jax.tree_util.tree_leaves_with_path(placed.params)
            for shard in leaf.addressable_shards[:1]
        }
        before = p._program._cache_size()
        train(replace(config, seed=1), 1, "mesh", how)
        found[name] = {
            "losses": float(np.abs(losses - expected).max()),
            "params": apart(state.params, solo.params),
            "shares": sizes,
            "compiled": p._program._cache_size() - before,
            "loss_over_mesh": evaluate.validate(placed.params, config, load(config.data)).nats,
            "loss_alone": evaluate.validate(solo.params, config, load(config.data)).nats,
        }
        if name != READ:
            continue
        both = placed.params, solo.params
        found["written"] = [
            generate.generate(params, [[1, 2, 3], [4]], config.model, 64, 63, 32, 8) for params in both
        ]
        found["attention"] = apart(
            *(progress_measures.attention(params, data.inputs_WxT[:2], config.model, 64) for params in both)
        )
    config, how = CASES["fsdp=8"]
    rest = {"n": STEPS - CUT, "at": CUT}
    first, placed, _ = train(config, CUT)
    on_mesh, moved, _ = train(config, mode="mesh", how=how, start=first.get(placed, 0), **rest)
    back, home, _ = train(config, start=on_mesh.get(train(config, CUT, "mesh", how)[1], 0), **rest)
    straight, whole, _ = solo_of[False]
    found["resumed"] = [
        apart(on_mesh.get(moved, 0), straight.get(whole, 0)),
        apart(back.get(home, 0), straight.get(whole, 0)),
    ]
    deep = depth.config_of(12)
    how = Execution(MeshShape.parse("fsdp=8"), remat=True)
    all_of_it = 16 * accounting.count_params(deep.model, depth.VOCAB).total
    found["of an eighth"] = memory.measured(depth.on_mesh(deep, how)) / (all_of_it / 8)
    return found


@pytest.fixture(scope="module")
def found(own_devices):
    code = (
        "from lab.machine import devices; devices.configure(8)\n"
        "import json, runpy, sys\n"
        f"print(json.dumps(runpy.run_path({__file__!r})['measure']()))"
    )
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, env=own_devices)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_mesh_gives_the_losses_and_parameters_of_one_device(name, found):
    assert found[name]["losses"] < 1e-5
    assert found[name]["params"] < 1e-5
    assert found[name]["loss_over_mesh"] == pytest.approx(found[name]["loss_alone"], abs=1e-5)


@pytest.mark.slow
def test_a_mesh_writes_and_attends_as_one_device(found):
    assert found["attention"] < 1e-5
    assert found["written"][0] == found["written"][1]


@pytest.mark.slow
def test_each_device_keeps_its_share_of_the_matrices(found):
    assert found["fsdp=8"]["shares"]["qkv"] == 1 / 8
    assert found["fsdp=8"]["shares"]["embed"] == 1 / 8
    assert found["fsdp=8"]["shares"]["norm_final"] == 1
    assert found["tensor=4"]["shares"]["down"] == 1 / 4
    assert found["all three, in parts, computed again"]["shares"]["up"] == 1 / 4


@pytest.mark.slow
def test_parameters_gradients_and_moments_fall_near_an_eighth(found):
    """5.9 times an eighth before, when all twelve layers were gathered at the top of the loss."""
    assert found["of an eighth"] < 1.6


@pytest.mark.slow
def test_another_seed_compiles_nothing_new(found):
    assert [found[name]["compiled"] for name in CASES] == [0] * len(CASES)


@pytest.mark.slow
def test_a_state_moves_between_one_device_and_eight(found):
    assert max(found["resumed"]) < 1e-5


@pytest.mark.slow
def test_losses_do_not_depend_on_the_number_of_devices(found):
    first, *others = found["counts"].values()
    assert first[-1] == 21 * UNEVEN.batch_tokens
    for values in others:
        assert values == pytest.approx(first, abs=1e-5)


def test_what_does_not_divide_is_named_all_at_once():
    how = Execution(MeshShape(data=3, fsdp=5, tensor=8), accumulate=2)
    with pytest.raises(InputError) as refused:
        how.check(PLAIN)
    assert len(refused.value.problems) == 3  # batch, heads, width; 8 divides the hidden width
    assert "16 sequences cannot be cut into 30 equal parts" in str(refused.value)
    with pytest.raises(InputError) as refused:
        MeshShape.parse("dta=2,fsdp=x")
    assert "did you mean data?" in refused.value.problems[0]
    assert "should be a whole number" in refused.value.problems[1]
    assert str(MeshShape.parse("tensor=2, data=4")) == "data=4,tensor=2"


TOKENS = ["train", "--tokens", "100000", "--data.source", "synthetic"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--mesh", "dta=2"], "--mesh: 'dta' is no axis; did you mean data?"),
        (["--mesh", "data=3"], "batch: 16 sequences cannot be cut into 3 equal parts"),
        (["--mesh", "tensor=8"], "--mesh: tensor should divide 4 heads, is 8"),
        (["--mesh", "fsdp=16", "--model.width", "24"], "--mesh: fsdp should divide width 24, is 16"),
        (["--accumulate", "0"], "--accumulate: should be at least 1, is 0"),
        (["--evaluate-every", "-1"], "--evaluate-every: should be 0 or a number of steps, is -1"),
        (["--out", "x", "--distributed", "auto"], "--distributed: needs --mesh"),
        (["--distributed", "off"], "--out: is missing; the run folder"),
        (["--model.width", "30"], "lab train: model.heads: should divide width 30, is 4"),
        (["--predict", "h10"], "--predict: no figures for 'h10'; did you mean h100?"),
    ],
)
def test_bad_options_are_one_line_each(options, line, capsys):
    from lab.__main__ import main

    assert main(TOKENS + options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {line}")
    assert "Traceback" not in said.err
