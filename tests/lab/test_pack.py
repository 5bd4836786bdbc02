"""Packs of runs and ways to compute one run, each against the solo run; and how a pack is chosen."""

import json
import threading
from dataclasses import replace

import jax
import numpy as np
import pytest

from lab.config import ModelConfig
from lab.errors import InputError
from lab.evaluation import evaluate
from lab.execution import Execution, MeshShape
from lab.machine import speed
from lab.model import kernels
from lab.runs import loop
from lab.runs.folder import RunFolder
from lab.runs.job import Job
from lab.training import mesh, optimizer, pack, pack_timing, train

CALLS = ((0, 20), (20, 20), (40, 10))  # fifty steps


def fifty(data, mode, runs, devices=None, how=Execution()):  # noqa: B008
    p = pack.Pack(runs[0], data.vocab_size, mode, len(runs), devices, how)
    placed, losses = p.put(list(runs)), []
    for start, n in CALLS:
        batches = data.batches(start, 20, runs[0].batch)
        placed, metrics = p.advance(placed, *batches, n, [optimizer.hyper(c) for c in runs])
        losses.append([np.asarray(m.loss_nats)[:n] for m in metrics])
    return [p.get(placed, r) for r in range(len(runs))], np.concatenate(losses, axis=1)


def apart(a, b) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


@pytest.fixture(scope="module")
def pair(synthetic):
    from lab.config import OptimizerConfig, RunConfig

    first = RunConfig(
        tokens=60 * 8 * 32,
        model=ModelConfig(width=16, layers=1, heads=2),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_tokens=10 * 8 * 32),
        data=synthetic.config,
        batch=8,
    )
    return first, replace(first, seed=1, optimizer=replace(first.optimizer, learning_rate=3e-3))


@pytest.fixture(scope="module")
def solo(pair, synthetic):
    return [fifty(synthetic, "serial", [config]) for config in pair]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "count"),
    [("devices", 2), ("pmap", 2), ("vmap", 2), ("vmap", 1), ("mesh", 2)],
)
def test_fifty_steps_are_those_of_the_solo_run(mode, count, pair, solo, synthetic):
    devices = jax.devices()[:count]
    runs = pair[:1] if mode == "mesh" else pair
    how = Execution(MeshShape(data=len(devices) if mode == "mesh" else 1))
    states, losses = fifty(synthetic, mode, runs, devices, how)
    for state, lines, ((alone,), (expected,)) in zip(states, losses, solo, strict=False):
        if mode == "devices":
            assert apart(state, alone) == 0
            np.testing.assert_array_equal(lines, expected)
        else:
            np.testing.assert_allclose(lines, expected, atol=1e-5)
            assert apart(state.params, alone.params) < 1e-5


def test_one_program_draws_every_seed_over_a_mesh(pair, synthetic):
    where, vocab = mesh.make(MeshShape(data=2), tuple(jax.devices()[:2])), synthetic.vocab_size
    for seed in (0, 1, 2**32 - 1):
        config = replace(pair[0], seed=seed)
        found = mesh.fresh(config, vocab, where).params
        assert apart(found, train.initial_state(config, vocab).params) < 1e-6
    _, made = mesh.initial(config.model, config.optimizer.algorithm, vocab, where)
    assert made._cache_size() == 1


@pytest.mark.parametrize("mode", ["devices", "pmap", "vmap"])
def test_runs_of_a_pack_are_evaluated_at_once_each_on_its_own_device(mode, pair, synthetic):
    found = pack.Pack(pair[0], synthetic.vocab_size, mode, 2, jax.devices()[:2])
    placed, both = found.put(list(pair)), threading.Barrier(2, timeout=60)

    def one(params):
        both.wait()  # neither waits for the other to end
        (where,) = jax.tree.leaves(params)[0].devices()
        return where, evaluate.validate(params, pair[0], synthetic).nats

    wheres, losses = zip(*found.each(placed, [0, 1], one), strict=True)
    assert wheres == found.devices
    states = (train.initial_state(config, synthetic.vocab_size) for config in pair)
    assert list(losses) == [evaluate.validate(s.params, pair[0], synthetic).nats for s in states]


def test_different_shapes_side_by_side_have_the_bits_of_their_solo_runs(pair, synthetic):
    other = replace(pair[1], model=ModelConfig(width=24, layers=1, heads=3), batch=4)
    devices = jax.devices()
    both = [
        pack.Pack(config, synthetic.vocab_size, "serial", devices=[device])
        for config, device in zip((pair[0], other), devices, strict=True)
    ]
    placed = [p.put([p.config]) for p in both]
    for _ in range(2):  # each is given its next steps while the other works
        for i, p in enumerate(both):
            batches = synthetic.batches(0, 20, p.config.batch)
            placed[i], _ = p.advance(placed[i], *batches, 2, [optimizer.hyper(p.config)])
    for i, p in enumerate(both):
        alone = pack.Pack(p.config, synthetic.vocab_size, "serial", devices=devices[:1])
        expected = alone.put([p.config])
        for _ in range(2):
            batches = synthetic.batches(0, 20, p.config.batch)
            expected, _ = alone.advance(expected, *batches, 2, [optimizer.hyper(p.config)])
        assert apart(p.get(placed[i], 0), alone.get(expected, 0)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("second", ["serial", "vmap"])
def test_a_checkpoint_of_a_pack_goes_on_in_another(second, pair, solo, synthetic, tmp_path):
    jobs = [Job(c, str(r), RunFolder(tmp_path / str(r))) for r, c in enumerate(pair)]
    calls = iter(range(100))
    with pytest.raises(loop.Interrupted):
        loop.run(jobs, synthetic, "pmap", loop.Hooks(should_stop=lambda: next(calls) >= 1))
    stopped = [json.loads(line) for line in (tmp_path / "0" / "metrics.jsonl").read_text().splitlines()]
    assert stopped[-1]["step"] < 50
    for part in [jobs] if second == "vmap" else [[job] for job in jobs]:
        loop.run(part, synthetic, second)
    whole = Job(pair[0], "whole", RunFolder(tmp_path / "whole"))
    loop.run([whole], synthetic)
    rows = [RunFolder(tmp_path / name).result()["row"] for name in ("0", "whole")]
    assert [row["pack"] for row in rows] == [second, "serial"]
    assert rows[0]["loss_nats"] == pytest.approx(rows[1]["loss_nats"], abs=1e-5)
    assert rows[0]["cache_hits"] is not None


def test_a_pack_holds_what_it_can(pair, synthetic):
    vocab = synthetic.vocab_size
    assert len(pack.Pack(pair[0], vocab, "vmap", 4).devices) == 2
    assert len(pack.Pack(pair[0], vocab, "vmap", 3).devices) == 1
    sizes = {mode: pack_timing.pack_size(mode) for mode in ("serial", "devices", "pmap", "auto", "vmap")}
    assert sizes == {"serial": 1, "devices": 2, "pmap": 2, "auto": 2, "vmap": 4}
    with pytest.raises(ValueError, match="takes one run"):
        pack.Pack(pair[0], vocab, "mesh", 2)
    with pytest.raises(InputError, match="cannot be cut into 3 equal parts"):
        pack.Pack(pair[0], vocab, how=Execution(accumulate=3))


SPEEDS = {"devices": 100.0, "pmap": 104.0, "vmap": 50.0}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    calls = []

    def measure(config, vocab, mode, runs, devices):
        calls.append(mode)
        return 2.0, SPEEDS[mode]

    monkeypatch.setattr(pack_timing, "_measure", measure)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return calls


def test_the_bits_of_the_solo_run_are_preferred_unless_another_pack_is_clearly_faster(
    pair, measured, monkeypatch
):
    found = pack_timing.choose(pair[0], 16, 2, 10**6)
    assert (found.mode, found.tokens_per_s) == ("devices", SPEEDS)
    assert pack_timing.choose(pair[0], 16, 2, 10**6) == found
    assert measured == ["devices", "pmap", "vmap"], "the second time it is known"
    monkeypatch.setitem(SPEEDS, "pmap", 120.0)
    assert pack_timing.choose(replace(pair[0], batch=4), 16, 2, 10**6).mode == "pmap"


def test_a_short_run_is_not_spent_on_choosing(pair, measured):
    # at 100 tokens a second, 7 steps of two runs of 256 tokens take 36 s; compiling another takes 2
    assert pack_timing.choose(pair[0], 16, 2, 3).mode == "devices"
    assert measured == ["devices"]
    assert pack_timing.candidates(1, 8) == ("serial",)
    assert pack_timing.candidates(5, 1) == ("serial", "vmap")


# What a power cut, a full disk or an older version leaves, beside what was never JSON.
TORN = [b"", b"{half", b"\xff\x00", b"null", b"[]", b"[1]", b'"x"', b"3", b'{"mode": "vmap"}']
TORN += [
    b'{"kind": [1]}',
    b'{"mode": "x", "tokens_per_s": {}, "compile_s": {}, "reason": ""}',
    b'{"seconds_per_step": "x"}',
]
TORN += [b'{"mode": "pmap", "tokens_per_s": 3, "compile_s": {}, "reason": "", "more": 1}', "folder", "link"]


def tear(path, what) -> None:
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(what)


@pytest.mark.parametrize("what", TORN)
def test_a_packing_that_was_kept_and_torn_is_measured_again(what, pair, measured, tmp_path):
    found = pack_timing.choose(pair[0], 16, 2, 10**6)
    (path,) = tmp_path.rglob("*.json")
    tear(path, what)
    assert pack_timing.choose(pair[0], 16, 2, 10**6) == found
    assert len(measured) == 6
    assert path.is_dir() or pack_timing.choose(pair[0], 16, 2, 10**6) == found
    assert len(measured) == 6


def test_a_packing_that_cannot_be_kept_stops_no_run(pair, measured, tmp_path):
    (tmp_path / "scaling-law-lab").mkdir()
    (tmp_path / "scaling-law-lab" / "pack").write_text("no folder")
    assert pack_timing.choose(pair[0], 16, 2, 10**6).mode == "devices"


def test_one_run_beside_other_work_does_not_change_what_a_shape_takes(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for seconds in (0.1, 0.11, 5.0):
        speed.record(pair[0], 16, seconds)
    assert speed.known(pair[0], 16).seconds == 0.11
    for seconds in (0.3, 0.3, 0.3, 0.3):  # a machine that became slower
        speed.record(pair[0], 16, seconds)
    assert speed.known(pair[0], 16).seconds == 0.3
    assert 0.3 in [seconds for _, seconds in speed.others()]


@pytest.mark.parametrize(
    ("width", "layers", "batch", "context", "algorithm", "taken"),  # CPU milliseconds a step, on one core
    [
        (8, 1, 64, 16, "muon", 0.946),
        (28, 2, 64, 16, "muon", 4.31),
        (80, 2, 8, 128, "muon", 21.2),
        (16, 1, 8, 32, "adamw", 0.313),
        (64, 4, 32, 128, "adamw", 107),
        (256, 4, 16, 256, "adamw", 1110),
    ],
)
def test_steps_that_nobody_measured_are_foretold_from_a_product(
    pair, width, layers, batch, context, algorithm, taken, monkeypatch
):
    """Before: at 0.6 to 5.9 times what they take, since all were held to run at one rate."""
    monkeypatch.setattr(speed, "_product_rate", lambda: 93e9)  # of that core
    monkeypatch.setattr(speed, "known", lambda *of: None)
    config = replace(
        pair[0],
        model=replace(pair[0].model, width=width, layers=layers, heads=2),
        optimizer=replace(pair[0].optimizer, algorithm=algorithm),
        data=replace(pair[0].data, context=context),
        batch=batch,
    )
    vocab = {16: 36, 128: 258}[context] if algorithm == "muon" else 16
    assert 0.85 < speed.predict(config, vocab).seconds / (taken / 1000) < 1.4


@pytest.mark.parametrize("what", TORN)
def test_speeds_that_were_kept_and_torn_are_absent_and_written_anew(what, pair, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    speed.record(pair[0], 16, 0.5)
    for path in list(tmp_path.rglob("*.json")):
        tear(path, what)
    assert speed.known(pair[0], 16) is None
    assert not speed.predict(pair[0], 16).measured
    speed.record(pair[0], 16, 0.25)
    if what != "folder":
        assert speed.known(pair[0], 16) == speed.StepTime(0.25, True)


@pytest.mark.slow
def test_auto_is_measured_recorded_and_gives_the_solo_run(pair, synthetic, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jobs = [Job(c, str(r), RunFolder(tmp_path / str(r))) for r, c in enumerate(pair)]
    monkeypatch.setattr(pack_timing, "_WORTH_IT", 0)
    loop.run(jobs, synthetic, "auto")
    row, spec = jobs[1].folder.result()["row"], jobs[1].folder.spec()
    chosen = spec["provenance"]["pack"]
    assert row["pack"] == chosen["mode"]
    assert set(chosen["tokens_per_s"]) == {"devices", "pmap", "vmap"}
    assert all(speed > 0 for speed in chosen["tokens_per_s"].values())
    alone = Job(pair[1], "alone", RunFolder(tmp_path / "alone"))
    loop.run([alone], synthetic)
    assert row["loss_nats"] == pytest.approx(alone.folder.result()["row"]["loss_nats"], abs=1e-5)


@pytest.mark.parametrize("how", [Execution(accumulate=4), Execution(remat=True)], ids=["parts", "remat"])
def test_parts_and_recomputation_leave_the_step_as_it_is(how, pair, synthetic):
    # unscored targets fall unevenly on the parts: each counts by the whole batch
    inputs, targets = synthetic.batches(0, 20, 8)
    targets = targets.copy()
    targets[:, 1:5, :20] = -1
    found = []
    for given in (how, Execution()):
        p = pack.Pack(pair[0], synthetic.vocab_size, how=given)
        placed, metrics = p.advance(p.put([pair[0]]), inputs, targets, 20, [optimizer.hyper(pair[0])])
        found.append((p.get(placed, 0), np.asarray(metrics[0].loss_nats)))
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)
    assert apart(found[0][0].params, found[1][0].params) < 1e-5


def test_labels_are_the_inputs_shifted_by_one(synthetic):
    inputs_KxBxT, targets_KxBxT = synthetic.batches(0, 2, 4)
    both = (targets_KxBxT[..., :-1] >= 0) & (targets_KxBxT[..., 1:] >= 0)  # this label, and one after it
    assert both.mean() > 0.8
    np.testing.assert_array_equal(inputs_KxBxT[..., 1:][both], targets_KxBxT[..., :-1][both])


def test_the_order_of_sequences_in_a_batch_does_not_matter(pair, synthetic):
    batches = synthetic.batches(0, 20, 8)
    order = np.random.default_rng(0).permutation(8)
    found = []
    for given in (batches, [a[:, order] for a in batches]):
        p = pack.Pack(pair[0], synthetic.vocab_size)
        placed, _ = p.advance(p.put([pair[0]]), *given, 5, [optimizer.hyper(pair[0])])
        found.append(p.get(placed, 0).params)
    assert apart(*found) < 1e-5


@pytest.mark.parametrize(
    ("platform", "capability", "dtype", "head_width", "expected"),
    [
        ("cpu", (0, 0), "bfloat16", 64, "blocks"),
        ("gpu", (8, 0), "bfloat16", 128, "cudnn"),
        ("gpu", (8, 0), "bfloat16", 256, "xla"),
        ("gpu", (9, 0), "bfloat16", 256, "cudnn"),
        ("gpu", (8, 0), "float32", 64, "xla"),
        ("gpu", (7, 5), "bfloat16", 64, "xla"),
        ("gpu", (9, 0), "bfloat16", 12, "xla"),
        ("tpu", (0, 0), "bfloat16", 128, "xla"),
    ],
)
def test_attention_by_platform_and_shape(platform, capability, dtype, head_width, expected):
    assert kernels.attention(dtype, head_width, platform, capability) == expected
