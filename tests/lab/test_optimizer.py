from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lab import optimizer
from lab.config import ModelConfig, OptimizerConfig


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


def test_clipping_bounds_what_the_moments_see(config):
    h = optimizer.hyper(config)
    params = {"w": jnp.zeros((2, 2))}
    _, moments, norm = optimizer.update(
        {"w": jnp.full((2, 2), 50.0)}, optimizer.init(params, "adamw"), params, h, ModelConfig()
    )
    assert norm == pytest.approx(100.0)
    np.testing.assert_allclose(moments.mu["w"], 0.1 * 0.5, rtol=1e-5)
