from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lab.config import ModelConfig, OptimizerConfig
from lab.training import optimizer


@pytest.fixture
def config(tiny):
    return replace(tiny, optimizer=OptimizerConfig(learning_rate=0.01, warmup_tokens=10 * 256, cooldown=0.25))


def rates(config, trunk=False):
    h = optimizer.hyper(config, trunk)
    return np.array([optimizer.learning_rate(jnp.int32(n), h) for n in range(config.steps)])


def test_warmup_hold_and_one_minus_sqrt(config):
    got = rates(config)
    assert config.steps == 60
    assert config.hold_steps == 45
    np.testing.assert_allclose(got[:10], 0.01 * np.arange(1, 11) / 10, rtol=1e-6)
    np.testing.assert_allclose(got[10:46], 0.01, rtol=1e-6)
    np.testing.assert_allclose(got[45:], 0.01 * (1 - np.sqrt(np.arange(15) / 15)), rtol=1e-5)


def test_a_trunk_has_the_bits_of_its_branch_up_to_the_cooldown(config):
    np.testing.assert_array_equal(rates(config, trunk=True)[:46], rates(config)[:46])
    assert (rates(config, trunk=True)[46:] == np.float32(0.01)).all()


def test_cosine_falls_from_the_warmup_to_the_final_fraction(config):
    cosine = replace(config.optimizer, schedule="cosine", final_fraction=0.1)
    got = rates(replace(config, optimizer=cosine))
    done = np.arange(50) / 50
    np.testing.assert_allclose(got[10:], 0.01 * (0.1 + 0.9 * (1 + np.cos(np.pi * done)) / 2), rtol=1e-5)


def test_linear_falls_from_the_warmup_and_a_straight_cooldown_from_the_hold(config):
    linear = replace(config, optimizer=replace(config.optimizer, schedule="linear", final_fraction=0.1))
    assert linear.hold_steps == 10
    np.testing.assert_allclose(rates(linear)[10:], 0.01 * (1 - 0.9 * np.arange(50) / 50), rtol=1e-5)
    straight = replace(config, optimizer=replace(config.optimizer, cooldown_shape="linear"))
    np.testing.assert_allclose(rates(straight)[10:46], 0.01, rtol=1e-6)
    np.testing.assert_allclose(rates(straight)[45:], 0.01 * (1 - np.arange(15) / 15), rtol=1e-5)


def test_one_step_is_that_of_optax(config):
    h = optimizer.hyper(config)
    key = jax.random.key(0)
    params = {"w": jax.random.normal(key, (4, 3)), "scale": jnp.ones(3)}
    grads = jax.tree.map(lambda p: 0.1 * jnp.cos(7 * p), params)
    rate = float(optimizer.learning_rate(jnp.int32(0), h))
    o = config.optimizer
    reference = optax.chain(
        optax.clip_by_global_norm(o.clip),
        optax.adamw(
            rate, o.beta1, o.beta2, o.eps, weight_decay=config.weight_decay, mask={"w": True, "scale": False}
        ),
    )
    updates, _ = reference.update(grads, reference.init(params), params)
    got, moments, norm = optimizer.update(grads, optimizer.init(params, "adamw"), params, h, ModelConfig())
    for name in params:
        np.testing.assert_allclose(got[name], (params[name] + updates[name]), rtol=1e-6)
    assert int(moments.count) == 1
    assert norm == pytest.approx(float(optax.tree.norm(grads)))


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("decayed", "kept"), [("all", ()), ("no_embedding", ("embed",)), ("hidden", ("embed", "head"))]
)
def test_what_is_decayed_is_what_is_said(config, decayed, kept, algorithm):
    """Without gradients a weight moves by its decay alone; norm scales never do."""
    params = {
        "embed": {"embedding": jnp.ones((5, 4))},
        "mlp_0": {"up": {"kernel": jnp.ones((4, 8))}},
        "norm_final": {"scale": jnp.ones(4)},
        "head": {"kernel": jnp.ones((4, 5))},
    }
    o = replace(config.optimizer, decayed=decayed, weight_decay=0.5, algorithm=algorithm)
    h = optimizer.hyper(replace(config, optimizer=o))
    grads = jax.tree.map(jnp.zeros_like, params)
    got, _, _ = optimizer.update(grads, optimizer.init(params, algorithm), params, h, ModelConfig())
    moved = {name for name, table in got.items() if (jax.tree.leaves(table)[0] != 1).any()}
    assert moved == {"embed", "mlp_0", "head"} - set(kept)


def test_clipping_bounds_what_the_moments_see(config):
    h = optimizer.hyper(config)
    params = {"w": jnp.zeros((2, 2))}
    _, moments, norm = optimizer.update(
        {"w": jnp.full((2, 2), 50.0)}, optimizer.init(params, "adamw"), params, h, ModelConfig()
    )
    assert norm == pytest.approx(100.0)
    np.testing.assert_allclose(moments.mu["w"], 0.1 * 0.5, rtol=1e-5)


MATRICES = [("mlp_0", "up"), ("attention_0", "qkv")]


@pytest.fixture
def muon(config):
    """A run with Muon, parameters and gradients of one layer."""
    config = replace(config, optimizer=replace(config.optimizer, algorithm="muon", warmup_tokens=0))
    keys = iter(jax.random.split(jax.random.key(0), 9))
    shapes = {
        "embed": {"embedding": (7, 4)},
        "mlp_0": {"up": {"kernel": (4, 6)}},
        "attention_0": {"qkv": {"kernel": (4, 12)}, "norm_q": {"scale": (4,)}},
        "head": {"kernel": (4, 7)},
    }
    params = jax.tree.map(lambda shape: jax.random.normal(next(keys), shape), shapes, is_leaf=_is_shape)
    return config, params, jax.tree.map(lambda p: 1e-3 * jnp.cos(7 * p), params)


def _is_shape(x):
    return isinstance(x, tuple)


def steps_of(config, params, grads, n=3, model=None):
    h, moments = optimizer.hyper(config), optimizer.init(params, config.optimizer.algorithm)
    history, step = [params], jax.jit(optimizer.update, static_argnums=4)
    for i in range(n):
        now = jax.tree.map(lambda g, i=i: g * (1 + i), grads)
        params, moments, _ = step(now, moments, params, h, model or ModelConfig())
        history.append(params)
    return history, moments, h


def test_muon_is_that_of_optax_with_queries_keys_and_values_apart(muon):
    config, params, grads = muon
    history, moments, _ = steps_of(config, params, grads)
    matrices = {"up": params["mlp_0"]["up"]["kernel"]} | {
        f"qkv{i}": part for i, part in enumerate(jnp.split(params["attention_0"]["qkv"]["kernel"], 3, axis=1))
    }
    flat = {"up": grads["mlp_0"]["up"]["kernel"]} | {
        f"qkv{i}": part for i, part in enumerate(jnp.split(grads["attention_0"]["qkv"]["kernel"], 3, axis=1))
    }
    rule = optax.contrib.muon(0.01, beta=0.95, weight_decay=0.1, consistent_rms=0.2)
    state, step = rule.init(matrices), jax.jit(rule.update)
    for i in range(3):
        updates, state = step({k: g * (1 + i) for k, g in flat.items()}, state, matrices)
        matrices = optax.apply_updates(matrices, updates)
    np.testing.assert_allclose(history[-1]["mlp_0"]["up"]["kernel"], matrices["up"], rtol=1e-5)
    together = jnp.concatenate([matrices[f"qkv{i}"] for i in range(3)], axis=1)
    np.testing.assert_allclose(history[-1]["attention_0"]["qkv"]["kernel"], together, rtol=1e-5)
    assert int(moments.count) == 3


def test_embeddings_head_and_vectors_take_adam_under_muon(muon):
    config, params, grads = muon
    adamw = replace(config, optimizer=replace(config.optimizer, algorithm="adamw"))
    a, b = (steps_of(c, params, grads)[0][-1] for c in (config, adamw))
    for name in ("embed", "head"):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a[name], b[name])
    np.testing.assert_allclose(a["attention_0"]["norm_q"]["scale"], b["attention_0"]["norm_q"]["scale"])
    assert np.abs(a["mlp_0"]["up"]["kernel"] - b["mlp_0"]["up"]["kernel"]).max() > 1e-3


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_the_update_to_weight_ratio_is_that_of_the_last_step(algorithm, muon):
    config, params, grads = muon
    config = replace(config, optimizer=replace(config.optimizer, algorithm=algorithm, weight_decay=2.0))
    shape = ModelConfig(width=32, parametrization="mup", base_width=16)
    history, moments, h = steps_of(config, params, grads, model=shape)
    before, after = (np.concatenate([np.ravel(p[a][b]["kernel"]) for a, b in MATRICES]) for p in history[-2:])
    expected = np.sqrt(((after - before) ** 2).sum() / (before**2).sum())
    got = optimizer.update_ratio(moments, history[-1], h, shape)
    assert float(got) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_scales_of_the_parametrisation_reach_the_update(algorithm, muon):
    config, params, grads = muon
    config = replace(config, optimizer=replace(config.optimizer, algorithm=algorithm))
    wide = ModelConfig(width=64, base_width=16, parametrization="mup")
    plain, scaled = (steps_of(config, params, grads, 1, model)[0][-1] for model in (ModelConfig(), wide))
    factor = 0.25 if algorithm == "adamw" else 0.5
    start, decay = params["mlp_0"]["up"]["kernel"], 0.01 * 0.1

    def moved(after):  # without the decay, whose product with the rate is the same
        return after["mlp_0"]["up"]["kernel"] - start * (1 - decay)

    np.testing.assert_allclose(moved(scaled), factor * moved(plain), rtol=2e-2, atol=1e-5)
    np.testing.assert_allclose(scaled["head"]["kernel"], plain["head"]["kernel"], rtol=1e-4)
