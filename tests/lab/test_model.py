from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.config import ModelConfig, RunConfig
from lab.model import decoder, drawn, kernels

V = 37
# One program each: called as they are, every operation of every shape would be compiled by itself.
apply = jax.jit(decoder.apply, static_argnames=("config", "vocab", "dtype"))
apply_cached = jax.jit(decoder.apply_cached, static_argnames=("config", "vocab", "window"))
SHAPES = [
    ModelConfig(width=16, layers=2, heads=2),
    ModelConfig(width=16, layers=1, heads=4, mlp="gated", mlp_ratio=8 / 3, tied=True),
    ModelConfig(width=12, layers=3, heads=1, qk_norm=False),
]


@pytest.fixture(params=SHAPES, ids=["plain", "gated tied", "no qk norm"])
def config(request):
    return request.param


@pytest.fixture
def params(config):
    return drawn.params(0, config, V)


def tokens(shape, seed=0):
    return jnp.array(np.random.default_rng(seed).integers(0, V, shape), jnp.int32)


def test_parameters_drawn_in_blocks_are_the_model_s_own_to_the_bit(monkeypatch):
    monkeypatch.setattr(drawn, "_BLOCK", 2**7)  # several blocks, the last one not full
    drawn._program.cache_clear()
    config = replace(SHAPES[0], layers=1)
    at_level_2 = jax.jit(partial(decoder.init, config=config, vocab=V), compiler_options=drawn.COMPILED)
    for seed in (0, 3_000_000_000):  # the second lies beyond a signed integer
        ours, theirs = drawn.params(seed, config, V), at_level_2(jax.random.key(seed))
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)
        jax.tree.map(np.testing.assert_array_equal, ours, jax.tree.map(np.asarray, theirs))
    drawn._program.cache_clear()


# 150: several blocks of queries, the last one shorter; the first is as the one of 10
@pytest.mark.parametrize("T", [pytest.param(10, marks=pytest.mark.weekly), 150])
def test_gradients_show_causality(config, params, T):
    head_MxT = jax.random.normal(jax.random.key(2), (config.width, T))

    def embedded(x_TxM):
        # logits as a function of the embedded sequence: each position has a row of the table to itself
        p = dict(params, embed={"embedding": x_TxM}, head={"kernel": head_MxT})
        return decoder.apply(p, jnp.arange(T)[None], replace(config, tied=False), T)[0]

    x = jax.random.normal(jax.random.key(1), (T, config.width))
    gradient = jax.jit(jax.grad(lambda x, t: (embedded(x)[t] ** 2).sum()))
    for t in (0, T // 3, T - 1):
        grad_TxM = gradient(x, t)
        reach = np.abs(grad_TxM).sum(-1)
        assert (reach[t + 1 :] == 0).all()
        assert (reach[: t + 1] > 0).all()


def test_shapes_at_their_rank(config, params):
    with jax.numpy_rank_promotion("raise"):
        logits = jax.eval_shape(lambda p, x: decoder.attend_causal(x, x, x), params, jnp.ones((2, 5, 2, 4)))
        assert logits.shape == (2, 5, 2, 4)
    logits = apply(params, tokens((3, 7)), config, V)
    assert logits.shape == (3, 7, V)
    assert logits.dtype == jnp.float32


def test_sequences_of_a_batch_are_independent(config, params):
    x = tokens((4, 9))
    whole = apply(params, x, config, V)
    order = jnp.array([2, 0, 3, 1])
    np.testing.assert_allclose(apply(params, x[order], config, V), whole[order], atol=1e-5)


def test_untrained_loss_is_that_of_a_uniform_guess(config, params):
    logits = apply(params, tokens((8, 32)), config, V)
    gold = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens((8, 32), 1)[..., None], -1)
    assert -gold.mean() == pytest.approx(np.log(V), rel=0.03)


def test_cached_logits_equal_uncached(config, params):
    x = tokens((2, 11))
    whole = apply(params, x, config, V)
    cache = decoder.empty_cache(config, 2, 16)
    parts = []
    for piece in (x[:, :4], x[:, 4:5], x[:, 5:]):
        logits, cache = apply_cached(params, piece, cache, config, V, window=16)
        parts.append(logits)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-5)


def test_a_window_hides_what_is_further_back():
    config = SHAPES[1]  # one layer: with more, information travels further than one window
    params = drawn.params(0, config, V)
    x = tokens((1, 9))
    changed = x.at[0, 0].set((x[0, 0] + 1) % V)
    last = []
    for sequence in (x, changed):
        cache = decoder.empty_cache(config, 1, 9)
        logits, _ = apply_cached(params, sequence, cache, config, V, window=4)
        last.append(logits[0, -1])
    np.testing.assert_array_equal(*last)


def test_rotary_scores_depend_on_distance_alone():
    q, k = (jax.random.normal(jax.random.key(i), (1, 1, 1, 8)) for i in (0, 1))

    def score(i, j):
        return (decoder.rotate(q, jnp.array([i])) * decoder.rotate(k, jnp.array([j]))).sum()

    assert float(score(7, 3)) == pytest.approx(float(score(104, 100)), abs=1e-4)
    assert abs(score(7, 3) - score(7, 4)) > 1e-3


def test_bfloat16_activations_keep_float32_parameters(config, params):
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    x = tokens((2, 9))
    low, high = (apply(params, x, config, V, dtype) for dtype in (jnp.bfloat16, jnp.float32))
    assert low.dtype == jnp.float32
    difference = np.abs(low - high).max()
    assert 0 < difference < 0.05


# one block of queries, and three
@pytest.mark.parametrize("T", [pytest.param(24, marks=pytest.mark.weekly), 150])
def test_attention_within_documents_is_that_of_each_alone(T):
    """Packed documents give what each gives at position 0: nothing is seen across, positions restart."""
    config = ModelConfig(width=16, layers=2, heads=2, document_mask=True)
    vocab, start = 40, 38
    params = drawn.params(0, config, vocab)
    draws = np.random.default_rng(0)
    tokens = draws.integers(0, 37, (2, T))
    cut = T // 3
    tokens[0, 0] = tokens[0, cut] = start
    tokens[1, 5] = start
    packed = apply(params, jnp.asarray(tokens), config, vocab)
    for row, begin, end in ((0, 0, cut), (0, cut, T), (1, 0, 5), (1, 5, T)):
        alone = np.zeros((1, T), int)  # what follows it changes nothing, and makes one program of all
        alone[0, : end - begin] = tokens[row, begin:end]
        found = apply(params, jnp.asarray(alone), config, vocab)[0, : end - begin]
        np.testing.assert_allclose(packed[row, begin:end], found, atol=2e-5)
    open_config = ModelConfig(width=16, layers=2, heads=2)
    seen = apply(params, jnp.asarray(tokens), open_config, vocab)
    assert np.abs(np.asarray(seen - packed)[0, cut:]).max() > 1e-2
    np.testing.assert_allclose(seen[0, :cut], packed[0, :cut], atol=2e-5)


def test_the_mask_of_documents_leaves_programs_and_ids_of_others_alone():
    plain, masked = (RunConfig(10**6, ModelConfig(document_mask=on)) for on in (False, True))
    assert "document_mask" not in plain.describe("x")["model"]
    assert masked.run_id("x") != plain.run_id("x")
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), plain.model, 40))
    tokens = jax.ShapeDtypeStruct((2, 16), jnp.int32)
    programs = [
        str(jax.make_jaxpr(lambda p, t, m=one.model: decoder.apply(p, t, m, 40))(shapes, tokens))
        for one in (plain, masked)
    ]
    assert "cumsum" not in programs[0]
    assert "cumsum" in programs[1]


def test_logits_are_float32_under_activations_of_16_bits(config, params):
    x = jax.random.randint(jax.random.key(1), (2, 24), 0, V)
    # rounded as accelerators do: XLA's CPU compiler leaves out what it may
    rounding = {"xla_allow_excess_precision": False}
    as_accelerators = jax.jit(
        lambda p, x: decoder.apply(p, x, config, V, jnp.bfloat16), compiler_options=rounding
    )
    logits = np.asarray(as_accelerators(params, x))
    rounded = logits.astype(jnp.bfloat16).astype(np.float32)
    assert (logits != rounded).mean() > 0.9, "a head of 16 bits gives nothing between its own values"


@pytest.mark.parametrize(("positions", "masked"), [(1, False), (63, False), (130, False), (130, True)])
def test_the_accelerators_attention_is_that_of_the_blocks(positions, masked, monkeypatch):
    """``jax.nn.dot_product_attention`` as accelerators run it, on this machine: values and gradients."""
    shape = (2, positions, 3, 8)
    q, k, v, up = (jax.random.normal(jax.random.key(i), shape) for i in range(4))
    documents_BxT = None if not masked else jnp.arange(positions) // 50 * jnp.ones((2, 1), jnp.int32)
    found = {}
    for kernel in ("blocks", "xla"):
        monkeypatch.setattr(kernels, "here", lambda dtype, width, kernel=kernel: kernel)

        def both(q, k, v, up):
            out, back = jax.vjp(lambda *qkv: decoder.attend_causal(*qkv, documents_BxT), q, k, v)
            return out, *back(up)

        found[kernel] = jax.jit(both)(q, k, v, up)
    for ours, theirs in zip(found["blocks"], found["xla"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_only_cpus_turn_gradients(monkeypatch):
    def program():
        config = ModelConfig(width=8, layers=1, heads=1)
        params = drawn.params(0, config, 16)
        tokens = jnp.zeros((1, 4), jnp.int32)
        return str(jax.make_jaxpr(jax.grad(lambda p: decoder.apply(p, tokens, config, 16).sum()))(params))

    assert "optimization_barrier" in program()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "optimization_barrier" not in program()


def test_what_amd_calls_its_generations_is_no_number():
    amd = SimpleNamespace(platform="gpu", compute_capability="gfx90a:sramecc+")
    assert kernels.capability(amd) is None
    assert kernels.capability(SimpleNamespace(compute_capability="9.0")) == (9, 0)
    assert kernels.attention("bfloat16", 64, "gpu", (0, 0)) == "xla"
