"""A batch is a pure function of (study order, step), and an epoch is a permutation."""

import numpy as np
import pytest

from lab.data import DataConfig, load
from lab.data.order import Order
from lab.draws import Draws, thresholds


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A JSONL file of 300 different documents."""
    path = tmp_path_factory.mktemp("data") / "letters.jsonl"
    draws = Draws("letters")
    texts = ["".join(chr(97 + c) for c in draws.below(26, 40 + n)) for n in range(300)]
    path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    return str(path)


def sources(letters):
    return [
        DataConfig(source=letters, context=16),
        DataConfig(source=letters, context=16, max_tokens=1000),
        DataConfig(source="synthetic", context=12),
        DataConfig(source="synthetic", context=12, max_tokens=600),
        DataConfig(source="abilities", tasks={"copy": 1, "coin": 2}),
        DataConfig(source="abilities", tasks={"copy": 1, "coin": 2}, max_tokens=2000),
    ]


@pytest.mark.parametrize("index", range(6))
def test_the_stream_does_not_depend_on_how_it_is_asked_for(letters, index):
    config = sources(letters)[index]
    inputs, targets = load(config).batches(
        0, 40, 48
    )  # crosses epochs of the finite ones and blocks of the others
    flat = inputs.reshape(-1, config.context), targets.reshape(-1, config.context)
    other = load(config)
    for step in (17, 0, 23, 5):  # out of order: nothing is carried from call to call
        for batch in (7, 16):
            for part, whole in zip(other.batches(step, 3, batch), flat, strict=True):
                assert part.shape == (3, batch, config.context)
                assert part.dtype == np.int32
                start = step * batch
                np.testing.assert_array_equal(
                    part.reshape(-1, config.context), whole[start : start + 3 * batch]
                )


@pytest.mark.parametrize("index", range(6))
def test_the_order_seed_changes_the_stream_and_the_digest(letters, index):
    from dataclasses import replace

    config = sources(letters)[index]
    one, two = load(config), load(replace(config, order_seed=1))
    assert one.digest == load(config).digest
    assert one.digest != two.digest
    assert (one.batches(0, 1, 64)[0] != two.batches(0, 1, 64)[0]).any()


def test_every_epoch_has_every_row_once_in_an_order_of_its_own():
    order = Order(seed=3, unique=101)
    epochs = order.rows(0, 303).reshape(3, 101)
    for epoch in epochs:
        assert sorted(epoch) == list(range(101))
    assert (epochs[0] != epochs[1]).mean() > 0.9
    assert (Order(4, 101).rows(0, 101) != epochs[0]).mean() > 0.9
    # A request may span epochs, and one epoch of the past may be asked for again.
    np.testing.assert_array_equal(order.rows(90, 150), epochs.reshape(-1)[90:240])


def test_rows_of_an_endless_stream_come_as_they_are():
    np.testing.assert_array_equal(Order(0, None).rows(10**12, 3), 10**12 + np.arange(3))


def test_draws_are_the_raw_philox_stream():
    """Pinned bits: another NumPy or machine that draws otherwise would silently change every run."""
    assert Draws("pin", 7).raw(2).tolist() == PINNED
    both = Draws("pin", 7).uint32(4)
    assert [int(both[0] + (both[1] << np.uint64(32))), int(both[2] + (both[3] << np.uint64(32)))] == PINNED


PINNED = [9743397928546805952, 9902711310693742332]


def test_draws_have_the_law_they_say():
    count = 200_000
    dice = np.bincount(Draws("dice").below(6, count), minlength=6)
    weights = np.array([5.0, 1.0, 3.0, 0.0, 1.0])
    choice = np.bincount(Draws("choice").choice(weights, count), minlength=5)
    for seen, p in ((dice, np.full(6, 1 / 6)), (choice, weights / 10)):
        error = np.sqrt(count * p * (1 - p))
        assert (np.abs(seen - count * p) <= 4.5 * error).all()
    orders = Draws("orders").permutations(60_000, 3) @ [9, 3, 1]
    seen = np.unique(orders, return_counts=True)[1]
    assert len(seen) == 6
    assert np.abs(seen - 10_000).max() < 4.5 * np.sqrt(10_000)


def test_thresholds_split_the_range_of_32_bits():
    assert thresholds([1, 1, 2]).tolist() == [2**30, 2**31]
