"""Layers stacked and apart: the same model, the same steps, the same checkpoints."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig
from lab.model import decoder, layers
from lab.training import optimizer, pack, train

V = 258
BASE = RunConfig(
    tokens=64 * 100,
    model=ModelConfig(width=16, layers=3, heads=2, parametrization="completep", base_width=8),
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_tokens=0),
    data=DataConfig(source="synthetic", context=32),
    batch=2,
)
TOKENS = np.random.default_rng(0).integers(0, V, (2, 4, 2, 32)).astype(np.int32)


def test_a_tree_that_was_stacked_is_the_tree_it_was():
    config = replace(BASE, optimizer=replace(BASE.optimizer, algorithm="muon"))
    state = jax.tree.map(np.asarray, train.initial_state(config, V))
    stacked = layers.stacked(state)
    assert stacked.params["blocks"]["attention"]["qkv"]["kernel"].shape == (3, 16, 48)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(stacked))
    back = layers.apart(stacked)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert all(map(np.array_equal, jax.tree.leaves(back), jax.tree.leaves(state)))
    assert layers.apart(state).params.keys() == state.params.keys()
    assert layers.stacked(stacked).params.keys() == stacked.params.keys()


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_an_update_of_stacked_layers_is_that_of_layers_apart(algorithm):
    config = replace(BASE, optimizer=replace(BASE.optimizer, algorithm=algorithm))
    state = train.initial_state(config, V)
    draws = np.random.default_rng(1)
    grads = jax.tree.map(lambda p: draws.normal(size=p.shape).astype(np.float32), state.params)
    update = jax.jit(partial(optimizer.update, h=optimizer.hyper(config), model=config.model))
    expected = update(grads, state.moments, state.params)
    stacked = layers.stacked(state)
    found = layers.apart(update(layers.stacked(grads), stacked.moments, stacked.params))
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_gradients_of_stacked_layers_are_those_of_layers_apart():
    params = train.initial_state(BASE, V).params

    @partial(jax.jit, static_argnums=1)
    def gradients(params, remat):
        def loss(params):
            logits_BxTxV = decoder.apply(params, TOKENS[0, 0], BASE.model, V, remat=remat)
            return train.nats_of_logits(logits_BxTxV, TOKENS[1, 0])[0].mean()

        return jax.grad(loss)(params)

    expected, stacked = gradients(params, False), layers.stacked(params)
    for remat in (False, True):
        found = layers.apart(gradients(stacked, remat))
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7)


def test_many_layers_are_a_loop_and_their_checkpoints_are_as_they_were(monkeypatch):
    monkeypatch.setattr(layers, "UNROLLED", 2)
    packed = pack.Pack(BASE, V)
    placed = packed.put([BASE])
    assert layers.is_stacked(placed[0].params)
    state = packed.get(placed, 0)
    expected = train.initial_state(BASE, V)
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    assert all(map(np.array_equal, jax.tree.leaves(state), jax.tree.leaves(expected)))


def test_a_step_of_many_layers_is_no_longer_than_that_of_few(monkeypatch):
    """What is compiled: 24 layers, which are a loop, in fewer operations than 4 that are not."""
    monkeypatch.setattr(layers, "UNROLLED", 4)  # as many as need be traced

    def size(count: int) -> int:
        config = replace(BASE, model=replace(BASE.model, layers=count))
        state = train.state_shapes(config, V)
        if layers.are_scanned(config.model):
            state = jax.eval_shape(layers.stacked, state)
        tokens = jax.ShapeDtypeStruct(TOKENS.shape[1:], jnp.int32)
        body = partial(train.chunk, model=config.model, precision="float32", vocab=V)
        lowered = jax.jit(body).lower(state, tokens, tokens, np.int32(1), optimizer.hyper(config))
        return lowered.as_text().count(" = ")

    few = size(layers.UNROLLED)
    assert size(24) < few
    assert few > 1.5 * size(layers.UNROLLED // 2)


def test_what_looks_into_a_model_takes_either_arrangement():
    params = train.initial_state(BASE, V).params
    one = decoder.activations(params, TOKENS[0, 0], BASE.model, V)
    two = decoder.activations(layers.stacked(params), TOKENS[0, 0], BASE.model, V)
    assert one.keys() == two.keys()
    np.testing.assert_array_equal(one["block_2"], two["block_2"])
