"""Every hyperparameter acts, none of them compiles anew, and what is logged is what it says."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.config import OptimizerConfig
from lab.model import decoder, drawn
from lab.runs import loop
from lab.runs.checkpoint import Checkpoints
from lab.runs.folder import RunFolder
from lab.runs.job import Job
from lab.training import optimizer, train

K = 6
# One program each: called as they are, every operation would be compiled by itself.
apply = jax.jit(decoder.apply, static_argnames=("config", "vocab"))
COMMON = {
    "learning_rate": 0.02,
    "warmup_tokens": 0,
    "schedule": "cosine",
    "cooldown": 1.0,
    "cooldown_shape": "linear",
    "final_fraction": 0.5,
    "weight_decay": 5.0,
    "decay_timescale": 0.2,
    "beta1": 0.5,
    "beta2": 0.5,
    "eps": 1e-2,
    "clip": 1e-3,
    "z_loss": 1.0,
}
CHANGES = {"adamw": COMMON, "muon": COMMON | {"momentum": 0.5}}


@pytest.fixture(scope="module")
def programs(synthetic):
    """One jitted chunk an algorithm, kept over the tests of this file."""

    def program():  # jit shares what it compiled between wrappings of one object
        return jax.jit(
            partial(train.chunk, precision="float32", vocab=synthetic.vocab_size), static_argnames="model"
        )

    return {name: program() for name in CHANGES}


def end(config, synthetic, programs):
    state = train.initial_state(config, synthetic.vocab_size)
    batches = synthetic.batches(0, K, config.batch)
    program = programs[config.optimizer.algorithm]
    return program(state, *batches, K, optimizer.hyper(config), model=config.model)


def base_of(tiny, algorithm):
    how = OptimizerConfig(algorithm=algorithm, learning_rate=1e-2, warmup_tokens=512, cooldown=0.5)
    return replace(tiny, tokens=K * tiny.batch_tokens, optimizer=how)


@pytest.mark.parametrize("algorithm", CHANGES)
def test_each_acts_and_one_program_serves_all(algorithm, tiny, synthetic, programs):
    base = base_of(tiny, algorithm)
    a = end(base, synthetic, programs)[0]
    for name, value in CHANGES[algorithm].items():
        changed = replace(base, optimizer=replace(base.optimizer, **{name: value}))
        b = end(changed, synthetic, programs)[0]
        pairs = zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True)
        assert max(np.abs(x - y).max() for x, y in pairs) > 1e-6, f"{name} does nothing"
        assert changed.run_id("d") != base.run_id("d"), name
    for i in range(6):
        schedule = ("wsd", "cosine", "linear")[i % 3]
        how = replace(base.optimizer, learning_rate=2.0 ** -(i + 3), schedule=schedule)
        for seed in range(3):
            end(replace(base, seed=seed, tokens=base.tokens * (1 + i), optimizer=how), synthetic, programs)
    assert programs[algorithm]._cache_size() == 1


@pytest.mark.parametrize("name", ["momentum", "cooldown", "cooldown_shape"])
def test_what_cannot_act_is_not_in_the_id(name, tiny):
    idle = replace(tiny.optimizer, schedule="linear")
    changed = replace(idle, **{name: {"momentum": 0.5, "cooldown": 0.7, "cooldown_shape": "linear"}[name]})
    assert replace(tiny, optimizer=changed).run_id("d") == replace(tiny, optimizer=idle).run_id("d")
    wider = replace(tiny, model=replace(tiny.model, base_width=8, base_layers=4, base_head_width=2))
    assert wider.run_id("d") == tiny.run_id("d"), "the base does nothing in the standard parametrisation"
    mup, mup_wider = (replace(c, model=replace(c.model, parametrization="mup")) for c in (tiny, wider))
    assert mup.run_id("d") != mup_wider.run_id("d")


def test_the_largest_logit_is_that_of_the_last_batch(tiny, synthetic, programs):
    base = base_of(tiny, "adamw")
    state = train.initial_state(base, synthetic.vocab_size)
    program, h = programs["adamw"], optimizer.hyper(base)
    batches = synthetic.batches(0, K, base.batch)
    earlier, _ = program(state, *batches, K - 1, h, model=base.model)
    _, metrics = program(state, *batches, K, h, model=base.model)
    logits = apply(earlier.params, jnp.asarray(batches[0][K - 1]), base.model, synthetic.vocab_size)
    assert float(metrics.max_logit) == pytest.approx(float(jnp.abs(logits).max()), rel=1e-5)


def test_qk_norm_bounds_the_scores(tiny, synthetic):
    """With it, queries and keys blown up a thousandfold give the same logits; without it, others."""
    x = jnp.asarray(synthetic.batches(0, 1, 2)[0][0])
    for qk_norm in (True, False):
        shape = replace(tiny.model, qk_norm=qk_norm)
        params = drawn.params(0, shape, synthetic.vocab_size)
        before = apply(params, x, shape, synthetic.vocab_size)
        kernel = jnp.asarray(params["attention_0"]["qkv"]["kernel"])
        params["attention_0"]["qkv"]["kernel"] = kernel.at[:, : 2 * shape.width].multiply(1000.0)
        difference = np.abs(apply(params, x, shape, synthetic.vocab_size) - before).max()
        assert (difference < 1e-4) == qk_norm


def test_a_run_with_muon_is_interrupted_without_a_trace(tiny, synthetic, tmp_path):
    config = replace(tiny, optimizer=replace(tiny.optimizer, algorithm="muon"))
    jobs = {name: Job(config, name, RunFolder(tmp_path / name)) for name in ("straight", "torn")}
    loop.run([jobs["straight"]], synthetic)
    for _ in range(3):
        calls = iter(range(9))
        try:
            loop.run([jobs["torn"]], synthetic, hooks=loop.Hooks(should_stop=lambda c=calls: next(c) >= 0))
        except loop.Interrupted:
            continue
    shapes = train.state_shapes(config, synthetic.vocab_size).params
    ends = [Checkpoints(tmp_path / name / "final").restore(config.steps, shapes) for name in jobs]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    rows = [jobs[name].folder.result()["row"] for name in jobs]
    assert rows[0]["loss_nats"] == rows[1]["loss_nats"] < np.log(synthetic.vocab_size) - 0.3
    assert [line["update_ratio"] for line in jobs["torn"].folder.metrics()] == [
        line["update_ratio"] for line in jobs["straight"].folder.metrics()
    ]
