"""Scales by key path against tables worked by hand and against the definitions; coordinates stay flat."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.bench import coordinates
from lab.config import ModelConfig
from lab.model import decoder, drawn, parametrization
from lab.training import optimizer, train

V = 29
# One program each: called as they are, every operation would be compiled by itself.
apply = jax.jit(decoder.apply, static_argnames=("config", "vocab"))
BASE = ModelConfig(width=16, layers=2, heads=2, base_width=16, base_layers=2, base_head_width=8)
# four times as wide with heads twice as wide, three times as deep
LARGE = replace(BASE, width=64, layers=6, heads=4)

# path: (rate, decay, eps) of AdamW for LARGE: m_w = 4, m_l = 3, alpha = 1; decay 0 is none
BY_HAND = {
    "mup": {
        ("embed", "embedding"): (1, 1, 1 / 4),
        ("attention_0", "qkv", "kernel"): (1 / 4, 4, 1 / 4),
        ("attention_0", "out", "kernel"): (1 / 4, 4, 1 / 4),
        ("attention_0", "norm_q", "scale"): (1, 0, 1 / 4),
        ("mlp_5", "up", "kernel"): (1 / 4, 4, 1 / 4),
        ("mlp_5", "down", "kernel"): (1 / 4, 4, 1 / 4),
        ("norm_a_0", "scale"): (1, 0, 1 / 4),
        ("norm_final", "scale"): (1, 0, 1 / 4),
        ("head", "kernel"): (1, 1, 1 / 4),
    },
    "completep": {
        ("embed", "embedding"): (1, 1, 1 / 4),
        ("attention_0", "qkv", "kernel"): (1 / 4, 4, 1 / 12),
        ("attention_0", "out", "kernel"): (1 / 4, 4, 1 / 12),
        ("attention_0", "norm_q", "scale"): (1, 0, 1 / 12),
        ("mlp_5", "up", "kernel"): (1 / 4, 4, 1 / 12),
        ("mlp_5", "down", "kernel"): (1 / 4, 4, 1 / 12),
        ("norm_a_0", "scale"): (1, 0, 1 / 12),
        ("norm_final", "scale"): (1, 0, 1 / 4),
        ("head", "kernel"): (1, 1, 1 / 4),
    },
}
# standard deviations of LARGE at initialisation
STD = {
    "standard": {
        "embed": 1,
        "qkv": 1 / 8,
        "out": 1 / (8 * 12**0.5),
        "down": 1 / (16 * 12**0.5),
        "head": 1 / 64,
    },
    "mup": {"embed": 1, "qkv": 1 / 8, "out": 1 / (8 * 12**0.5), "down": 1 / (16 * 12**0.5), "head": 1 / 16},
    "completep": {"embed": 1, "qkv": 1 / 8, "out": 1 / 16, "down": 1 / 32, "head": 1 / 16},
}
# residual branches, logits, attention scores
FACTORS = {"standard": (1, 1, 1), "mup": (1, 1 / 4, 0.5**0.5), "completep": (1 / 3, 1 / 4, 0.5**0.5)}


def leaves(config):
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), config, V))
    return [
        (tuple(k.key for k in path), leaf.ndim) for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    ]


@pytest.mark.parametrize("name", BY_HAND)
def test_scales_are_those_worked_by_hand(name):
    ndims = dict(leaves(LARGE))
    for path, expected in BY_HAND[name].items():
        got = parametrization.scales(replace(LARGE, parametrization=name), path, ndims[path])
        assert (got.rate, got.decay, got.eps) == pytest.approx(expected), path


def test_the_standard_parametrisation_scales_nothing():
    for path, ndim in leaves(LARGE):
        got = parametrization.scales(LARGE, path, ndim)
        assert (got.rate, got.decay, got.eps) == (1, float(ndim >= 2), 1)


@pytest.mark.parametrize("name", STD)
@pytest.mark.parametrize("tied", [False, True])
def test_initialisation_and_multipliers_are_those_worked_by_hand(name, tied):
    config = replace(LARGE, parametrization=name, tied=tied)
    params = drawn.params(0, config, 400)
    found = {
        "embed": params["embed"]["embedding"],
        "qkv": params["attention_0"]["qkv"]["kernel"],
        "out": params["attention_0"]["out"]["kernel"],
        "down": params["mlp_0"]["down"]["kernel"],
    }
    if not tied:
        found["head"] = params["head"]["kernel"]
    for key, value in found.items():
        assert float(value.std()) == pytest.approx(STD[name][key], rel=0.05), key
    got = parametrization.multipliers(config)
    residual, logits, attention = FACTORS[name]
    # the tied table's 1 / M is already both factors of the head
    expected = (residual, 1 if tied else logits, attention)
    assert (got.residual, got.logits, got.attention) == pytest.approx(expected)


@pytest.mark.parametrize("width", [32, 128])
def test_muons_rate_keeps_the_spectral_norm_of_an_update(width):
    # rate x RMS 0.2 x root of the longer side, over the base's: 2310.17813 wants a constant
    config = replace(BASE, width=width, heads=2, parametrization="mup")
    path = ("mlp_0", "up", "kernel")
    got = parametrization.scales(config, path, 2, muon=True)
    assert got.rate * (4 * width) ** 0.5 == pytest.approx((4 * BASE.width) ** 0.5)
    assert got.rate * got.decay == pytest.approx(1)
    embedding = parametrization.scales(config, ("embed", "embedding"), 2, muon=True)
    assert embedding.rate == 1


@pytest.mark.parametrize(("tied", "algorithm"), [(False, "adamw"), (True, "muon")])
def test_at_the_base_all_parametrisations_are_one_program(tied, algorithm, tiny, synthetic):
    vocab, batches = synthetic.vocab_size, synthetic.batches(0, 2, tiny.batch)

    def program(name):
        shape = replace(BASE, parametrization=name, tied=tied)
        config = replace(tiny, model=shape, optimizer=replace(tiny.optimizer, algorithm=algorithm))
        body = partial(train.chunk, model=shape, precision="float32", vocab=vocab)
        state = train.state_shapes(config, vocab)
        start = jax.make_jaxpr(partial(decoder.init, config=shape, vocab=vocab))(jax.random.key(0))
        return str(start) + str(jax.make_jaxpr(body)(state, *batches, 2, optimizer.hyper(config)))

    standard = program("standard")
    assert program("mup") == standard
    assert program("completep") == standard


def test_away_from_the_base_they_are_not(tiny, synthetic):
    x = jnp.zeros((1, 4), jnp.int32)

    def program(name):
        shape = replace(LARGE, parametrization=name)
        params = jax.eval_shape(lambda: decoder.init(jax.random.key(0), shape, V))
        return str(jax.make_jaxpr(partial(decoder.apply, config=shape, vocab=V))(params, x))

    assert len({program(name) for name in ("standard", "mup", "completep")}) == 3


def test_multipliers_act_where_they_should():
    """Against a forward pass in which the factors are put into the weights by hand."""
    config = replace(LARGE, layers=3, base_layers=1, parametrization="completep", qk_norm=False)
    params = drawn.params(1, config, V)
    x = jnp.arange(12).reshape(1, 12) % V
    by_hand = jax.tree.map(jnp.asarray, params)
    for layer in range(config.layers):
        qkv = by_hand[f"attention_{layer}"]["qkv"]["kernel"]
        by_hand[f"attention_{layer}"]["qkv"]["kernel"] = qkv.at[:, :64].multiply(0.5**0.5)
        for part, name in (("attention", "out"), ("mlp", "down")):
            by_hand[f"{part}_{layer}"][name]["kernel"] /= 3
    by_hand["head"]["kernel"] /= 4
    plain = apply(by_hand, x, replace(config, parametrization="standard"), V)
    np.testing.assert_allclose(apply(params, x, config, V), plain, atol=1e-6)


@pytest.mark.slow
def test_changes_are_flat_over_width_under_mup_and_grow_in_the_standard_one(synthetic):
    check = coordinates.coordinates(
        (16, 64), (2,), ("standard", "mup"), steps=2, seeds=1, learning_rate=1e-2, dataset=synthetic
    )
    assert check["flat"] == {"standard": False, "mup": True}
    text = coordinates.render(check)
    assert "mup: flat" in text
    assert "standard: not flat" in text
    standard = {r["activation"]: r["slope"] for r in check["rows"][:15] if r["step"] == 2}
    assert standard["block_1"] > 0.5


@pytest.mark.slow
def test_changes_are_flat_over_depth_under_completep(synthetic):
    check = coordinates.coordinates(
        (16,), (1, 4), ("mup", "completep"), steps=3, seeds=2, learning_rate=1e-2, dataset=synthetic
    )
    slopes = {
        (row["parametrization"], row["activation"]): row["slope"] for row in check["rows"] if row["step"] == 3
    }
    assert slopes["mup", "last block"] > slopes["completep", "last block"] + 0.2
    assert abs(slopes["completep", "last block"]) < 0.3
    assert check["axis"] == "layers"


def test_untrained_logits_are_small_whatever_the_width():
    for name in ("standard", "mup", "completep"):
        config = replace(LARGE, layers=2, parametrization=name)
        logits = apply(drawn.params(0, config, V), jnp.arange(20)[None], config, V)
        assert -jax.nn.log_softmax(logits).mean() == pytest.approx(np.log(V), rel=0.03)
