"""Branch equals straight run, interrupted equals uninterrupted, damage is found: all to the bit."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from lab.execution import Execution, MeshShape
from lab.runs import checkpoint, loop
from lab.runs.checkpoint import Checkpoints, DamagedCheckpoint
from lab.runs.folder import RunFolder
from lab.runs.job import Job
from lab.training import mesh, train


def job(config, folder, **more):
    return Job(config, folder.name, RunFolder(folder), **more)


def final(config, vocab, folder):
    shapes = train.state_shapes(config, vocab).params
    return Checkpoints(folder / "final").restore(config.steps, shapes)


def same_bits(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def losses(folder):
    lines = [line for line in RunFolder(folder).metrics() if "kind" not in line]
    return [(line["step"], line["loss_nats"]) for line in lines if "loss_nats" in line]


@pytest.fixture(scope="module")
def straight(tmp_path_factory, synthetic, request):
    from lab.config import ModelConfig, OptimizerConfig, RunConfig

    config = RunConfig(
        tokens=75 * 8 * 32,
        model=ModelConfig(width=16, layers=1, heads=2),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_tokens=10 * 8 * 32),
        data=synthetic.config,
        batch=8,
    )
    folder = tmp_path_factory.mktemp("runs") / "straight"
    loop.run([job(config, folder)], synthetic)
    return config, folder


def test_the_result_is_a_row_of_the_table(straight, synthetic):
    _config, folder = straight
    row = RunFolder(folder).result()["row"]
    assert row["status"] == "ok"
    assert row["tokens"] == 75 * 256
    assert row["flops_6nd"] == 6 * row["params_total"] * row["tokens"]
    assert 0 < row["loss_se"] < 0.2
    assert synthetic.entropy_rate < row["loss_nats"] < np.log(synthetic.vocab_size)
    assert [step for step, _ in losses(folder)] == [20, 40, 60, 75]
    assert not list((folder / "checkpoints").glob("*")), "what only served to resume is gone"


@pytest.mark.parametrize("then", ["one device", "data=2", "fsdp=2"])
def test_a_large_state_is_saved_in_parts_and_goes_on_on_other_devices(
    then, straight, synthetic, tmp_path, monkeypatch
):
    config, folder = straight
    target = tmp_path / "run"
    spread = Execution(MeshShape.parse("fsdp=2"))
    seen = []
    hooks = loop.Hooks(
        progress=lambda told: seen.append(told.step),
        should_stop=lambda: max(seen, default=0) >= 20,
        checkpoint_seconds=0.0,
    )
    monkeypatch.setattr(loop, "_SAVING_SHARE", 0)
    with monkeypatch.context() as large:
        large.setattr(checkpoint, "SHARDED_BYTES", 0)
        large.setattr(mesh, "get", lambda tree: pytest.fail("the state was gathered"))
        with pytest.raises(loop.Interrupted):
            loop.run([job(config, target)], synthetic, "mesh", hooks, spread)
        (step,) = Checkpoints(target / "checkpoints").steps()
        assert 0 < step < 75
        assert not (target / "checkpoints" / str(step) / "files.json").exists(), "in parts, not whole"
        if then != "one device":
            how = Execution(MeshShape.parse(then))
            loop.run([job(config, target)], synthetic, "mesh", loop.Hooks(), how)
    if then == "one device":
        loop.run([job(config, target)], synthetic)
    for (at, loss), (other, alone) in zip(losses(target), losses(folder), strict=True):
        assert at == other
        assert loss == pytest.approx(alone, abs=1e-5)
    ends = [final(config, synthetic.vocab_size, one) for one in (target, folder)]
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    rows = [RunFolder(one).result()["row"]["loss_nats"] for one in (target, folder)]
    assert rows[0] == pytest.approx(rows[1], abs=1e-5)
    assert not list((target / "checkpoints").glob("*"))


def test_validation_on_the_way_is_recorded_and_changes_nothing(straight, synthetic, tmp_path):
    config, folder = straight
    often = loop.Hooks(checkpoint_seconds=0.0)
    loop.run([job(config, tmp_path / "seen")], synthetic, hooks=often, how=Execution(evaluate_every=30))
    seen = RunFolder(tmp_path / "seen")
    (line,) = (line for line in seen.metrics() if line.get("kind") == "val")
    assert (line["step"], line["tokens"]) == (40, 40 * config.batch_tokens)
    rows = [one.result()["row"] for one in (seen, RunFolder(folder))]
    for name in ("loss_nats", "loss_se", "train_loss_nats"):
        assert rows[0][name] == rows[1][name]
    assert rows[0]["loss_nats"] < line["loss_nats"] < losses(folder)[0][1]
    assert losses(tmp_path / "seen") == losses(folder)
    bits = [final(config, synthetic.vocab_size, one) for one in (tmp_path / "seen", folder)]
    assert same_bits(*bits)
    assert "evaluate" in [cost["phase"] for cost in seen.costs() if cost["step"] == 40]


def test_a_branch_has_the_bits_of_the_straight_run(straight, synthetic, tmp_path):
    config, folder = straight
    short = replace(config, tokens=50 * 256)
    assert short.trunk_id("d") == config.trunk_id("d") != replace(config, seed=5).trunk_id("d")
    marks = (short.hold_steps, config.hold_steps)
    assert marks == (40, 60)
    trunk = tmp_path / "trunk"
    loop.run([job(config, trunk, branch_steps=marks)], synthetic)
    assert Checkpoints(trunk / "checkpoints").steps() == [40, 60]
    for branch in (short, config):
        loop.run([job(branch, tmp_path / str(branch.steps), trunk=RunFolder(trunk))], synthetic)
    assert same_bits(
        final(config, synthetic.vocab_size, folder), final(config, synthetic.vocab_size, tmp_path / "75")
    )
    a, b = (RunFolder(f).result()["row"]["loss_nats"] for f in (folder, tmp_path / "75"))
    assert a == b
    loop.run([job(short, tmp_path / "short")], synthetic)
    assert same_bits(
        final(short, synthetic.vocab_size, tmp_path / "short"),
        final(short, synthetic.vocab_size, tmp_path / "50"),
    )


@pytest.mark.parametrize("mode", ["serial", "devices", "pmap"])
def test_interrupted_at_any_call_is_uninterrupted(mode, straight, synthetic, tmp_path):
    config, folder = straight
    seeds = [config] if mode == "serial" else [config, replace(config, seed=1)]
    jobs = [job(c, tmp_path / f"seed{c.seed}") for c in seeds]
    interruptions = 0
    while not all((j.folder.path / "result.json").exists() for j in jobs):
        calls = iter(range(100))
        hooks = loop.Hooks(should_stop=lambda calls=calls: next(calls) >= 1)
        try:
            loop.run(jobs, synthetic, mode, hooks)
        except loop.Interrupted:
            interruptions += 1
    assert interruptions >= 1
    got = final(config, synthetic.vocab_size, jobs[0].folder.path)
    expected = final(config, synthetic.vocab_size, folder)
    if mode == "pmap":  # bits are those of the same mode; how far it is from the solo run is tested elsewhere
        whole = [job(c, tmp_path / "whole" / str(c.seed)) for c in seeds]
        loop.run(whole, synthetic, mode)
        folder = whole[0].folder.path
        expected = final(config, synthetic.vocab_size, folder)
    assert same_bits(got, expected)
    assert losses(jobs[0].folder.path) == losses(folder)


def test_a_run_packed_in_another_way_goes_on(straight, synthetic, tmp_path):
    config, folder = straight
    jobs = [job(replace(config, seed=s), tmp_path / f"seed{s}") for s in (0, 1)]
    calls = iter(range(100))
    with pytest.raises(loop.Interrupted):
        loop.run(jobs, synthetic, "devices", loop.Hooks(should_stop=lambda: next(calls) >= 1))
    loop.run(jobs[:1], synthetic, "serial")
    assert same_bits(
        final(config, synthetic.vocab_size, tmp_path / "seed0"), final(config, synthetic.vocab_size, folder)
    )


@pytest.fixture
def interrupted(straight, synthetic, tmp_path):
    """A run with checkpoints at steps 20 and 40, and its folder."""
    config, _ = straight
    folder = tmp_path / "run"
    for stop in (0, 0):
        calls = iter(range(100))
        with pytest.raises(loop.Interrupted):
            loop.run(
                [job(config, folder)],
                synthetic,
                hooks=loop.Hooks(should_stop=lambda c=calls, s=stop: next(c) >= s),
            )
        kept = folder / "checkpoints" / str(Checkpoints(folder / "checkpoints").steps()[-1])
        (tmp_path / "kept").mkdir(exist_ok=True)
        import shutil

        shutil.copytree(kept, tmp_path / "kept" / kept.name, dirs_exist_ok=True)
    for old in (tmp_path / "kept").iterdir():
        target = folder / "checkpoints" / old.name
        if not target.exists():
            old.rename(target)
    assert Checkpoints(folder / "checkpoints").steps() == [20, 40]
    return config, folder


def _damage(folder, how):
    files = sorted((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    if how == "flipped byte":
        data = bytearray(files[-1].read_bytes())
        data[len(data) // 2] ^= 0xFF
        files[-1].write_bytes(bytes(data))
    elif how == "truncated":
        files[-1].write_bytes(files[-1].read_bytes()[:100])
    else:
        for file in files:
            file.unlink()


@pytest.mark.parametrize("how", ["flipped byte", "truncated", "emptied"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(how, interrupted, straight, synthetic):
    config, folder = interrupted
    _damage(folder / "checkpoints" / "40", how)
    said, steps = [], []
    hooks = loop.Hooks(warn=said.append, progress=lambda p: steps.append(p.step))
    loop.run([job(config, folder)], synthetic, hooks=hooks)
    assert len(said) == 1
    assert "checkpoints/40" in said[0]
    assert steps[0] == 20
    assert same_bits(
        final(config, synthetic.vocab_size, folder), final(config, synthetic.vocab_size, straight[1])
    )


def test_a_checkpoint_of_another_shape_is_refused(straight, synthetic):
    config, folder = straight
    wider = replace(config, model=replace(config.model, width=32))
    with pytest.raises(DamagedCheckpoint, match="final/75"):
        final(wider, synthetic.vocab_size, folder)


def test_a_torn_last_line_of_the_metrics_is_dropped(interrupted, straight, synthetic):
    config, folder = interrupted
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 60, "loss_na')
    loop.run([job(config, folder)], synthetic)
    assert losses(folder) == losses(straight[1])
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_divergence_is_recorded_and_stops_that_run_alone(straight, synthetic, tmp_path):
    config, folder = straight
    wild = replace(config, seed=1, optimizer=replace(config.optimizer, learning_rate=1e30, clip=1e30))
    jobs = [job(config, tmp_path / "good"), job(wild, tmp_path / "wild")]
    loop.run(jobs, synthetic, "devices")
    row = jobs[1].folder.result()["row"]
    assert row["status"] == "diverged"
    assert row["loss_nats"] is None
    assert 1 <= row["diverged_step"] <= 20
    assert str(row["diverged_step"]) in row["reason"]
    assert same_bits(
        final(config, synthetic.vocab_size, tmp_path / "good"), final(config, synthetic.vocab_size, folder)
    )
