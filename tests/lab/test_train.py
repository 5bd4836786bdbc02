from dataclasses import replace

import jax
import numpy as np
import pytest

from lab.errors import InputError
from lab.execution import Execution, MeshShape
from lab.training import optimizer, pack, train

K = 10


@pytest.fixture
def batches(synthetic, tiny):
    return synthetic.batches(0, K, tiny.batch)


def advance(config, synthetic, batches, n=K, mode="serial", runs=None):
    runs = runs or [config]
    how = Execution(MeshShape(data=2 if mode == "mesh" else 1))
    p = pack.Pack(config, synthetic.vocab_size, mode, len(runs), how=how)
    placed = p.put([train.initial_state(c, synthetic.vocab_size) for c in runs])
    placed, metrics = p.advance(placed, *batches, n, [optimizer.hyper(c) for c in runs])
    return [p.get(placed, r) for r in range(len(runs))], [np.asarray(m.loss_nats) for m in metrics]


def largest_difference(a, b):
    return max(
        float(np.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_training_lowers_the_loss(tiny, synthetic, batches):
    _, (losses,) = advance(
        replace(tiny, optimizer=replace(tiny.optimizer, warmup_tokens=0)), synthetic, batches
    )
    assert losses[0] == pytest.approx(np.log(synthetic.vocab_size), rel=0.05)
    assert losses[-1] < losses[0] - 0.3


def test_one_batch_can_be_learned_by_heart(tiny, synthetic, batches):
    one = [np.repeat(a[:1], 400, axis=0) for a in batches]
    quick = replace(tiny, tokens=400 * tiny.batch_tokens, optimizer=replace(tiny.optimizer, weight_decay=0.0))
    _, (losses,) = advance(quick, synthetic, one, n=400)
    assert losses[-1] < 0.5 * synthetic.entropy_rate


def test_steps_taken_in_two_calls_are_the_same_steps(tiny, synthetic, batches):
    (whole,), _ = advance(tiny, synthetic, batches)
    p = pack.Pack(tiny, synthetic.vocab_size)
    placed = p.put([train.initial_state(tiny, synthetic.vocab_size)])
    placed, _ = p.advance(placed, *batches, 3, [optimizer.hyper(tiny)])
    placed, metrics = p.advance(
        placed, *(np.roll(a, -3, axis=0) for a in batches), 7, [optimizer.hyper(tiny)]
    )
    assert largest_difference(p.get(placed, 0), whole) == 0
    losses = np.asarray(metrics[0].loss_nats)
    assert np.isfinite(losses[:7]).all()
    assert np.isnan(losses[7:]).all()


def test_unscored_targets_do_not_count(tiny, synthetic, batches):
    inputs, targets = batches
    half = targets.copy()
    half[:, tiny.batch // 2 :] = -1
    tiny = replace(tiny, optimizer=replace(tiny.optimizer, warmup_tokens=0))  # the warmup counts tokens
    (a,), (losses,) = advance(tiny, synthetic, (inputs, half))
    small = replace(tiny, batch=tiny.batch // 2)
    _, (expected,) = advance(small, synthetic, (inputs[:, : small.batch], targets[:, : small.batch]))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    (whole,), (spread_losses,) = advance(tiny, synthetic, (inputs, half), mode="mesh")
    np.testing.assert_allclose(spread_losses, losses, rtol=1e-5)
    assert largest_difference(whole.params, a.params) < 1e-5


@pytest.mark.parametrize("mode", ["serial", "mesh", "pmap"])
def test_a_program_takes_calls_of_other_lengths(mode, tiny, synthetic, batches):
    (three,), _ = advance(tiny, synthetic, [a[:3] for a in batches], n=3, mode=mode)
    (ten,), _ = advance(tiny, synthetic, batches, n=3, mode=mode)
    assert largest_difference(three.params, ten.params) < 1e-6


def test_twenty_learning_rates_and_three_seeds_compile_once(tiny, synthetic, batches):
    p = pack.Pack(tiny, synthetic.vocab_size)
    before = p._program._cache_size()
    for i in range(20):
        c = replace(
            tiny,
            seed=i % 3,
            tokens=tiny.tokens * (1 + i),
            optimizer=replace(tiny.optimizer, learning_rate=2.0**-i),
        )
        placed = p.put([train.initial_state(c, synthetic.vocab_size)])
        p.advance(placed, *batches, 1, [optimizer.hyper(c)])
    assert p._program._cache_size() - before <= 1


def test_a_pack_that_does_not_fit_is_refused(tiny, synthetic):
    with pytest.raises(ValueError, match="3 runs do not fit 2 devices"):
        pack.Pack(tiny, synthetic.vocab_size, "pmap", 3)
    with pytest.raises(InputError, match="7 sequences cannot be cut into 2 equal parts"):
        pack.Pack(replace(tiny, batch=7), synthetic.vocab_size, "mesh", how=Execution(MeshShape(data=2)))
