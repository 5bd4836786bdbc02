"""Mixtures of abilities: rates, validation on unseen items, digests, mistakes."""

import math

import numpy as np
import pytest

from lab.abilities import TASKS
from lab.data import DataConfig, load
from lab.errors import InputError


def config(tasks, **changes):
    return DataConfig(source="abilities", tasks=tasks, **changes)


def test_tasks_come_at_their_rates():
    dataset = load(config({"copy": 3, "coin": 1, "sort": 4}))
    inputs, _ = dataset.batches(0, 1, 8000)
    tags = inputs[0, :, 1]
    for name, rate in (("copy", 3 / 8), ("coin", 1 / 8), ("sort", 4 / 8)):
        seen = (tags == dataset.tokenizer.encode(TASKS[name].tag)[0]).sum()
        assert abs(seen - 8000 * rate) < 4.5 * math.sqrt(8000 * rate * (1 - rate))


def test_validation_has_unseen_items_in_the_same_proportions():
    dataset = load(config({"copy": 3, "parity": 1}, val_windows=400))
    held_out = dataset.validation()
    tags = held_out.inputs_WxT[:, 1]
    assert len(tags) == 400
    assert (tags == dataset.tokenizer.encode("c")[0]).sum() == 300
    np.testing.assert_array_equal(held_out.bytes_W, np.where(tags == tags[0], 12, 1))
    trained = {row.tobytes() for row in dataset.batches(0, 1, 20_000)[0][0]}
    assert not trained & {row.tobytes() for row in held_out.inputs_WxT}


def test_validation_shrinks_where_a_task_has_too_few_items():
    held_out = load(config({"modular": 1, "copy": 1}, val_windows=4000)).validation()
    rows, counts = np.unique(held_out.inputs_WxT, axis=0, return_counts=True)
    assert counts.max() == 1
    tags = np.unique(rows[:, 1], return_counts=True)[1]
    assert abs(tags[0] - tags[1]) <= 1
    assert 900 < len(rows) < 1000


def test_the_context_is_the_longest_item_unless_given():
    assert config({"coin": 1}).context == TASKS["coin"].row_length == 16
    assert config({"coin": 1, "recall": 1}).context == TASKS["recall"].row_length == 28
    assert load(config({"coin": 1}, context=40)).batches(0, 1, 2)[0].shape == (1, 2, 40)


def test_the_entropy_rate_is_that_of_the_coin():
    """Copying has none; a coin row has log 4 nats in its 2 scored tokens, a copy row 13 scored tokens."""
    assert load(config({"coin": 1})).entropy_rate == pytest.approx(math.log(4) / 2)
    assert load(config({"coin": 1, "copy": 3})).entropy_rate == pytest.approx(math.log(4) / (2 + 3 * 13))
    assert load(config({"copy": 1})).entropy_rate == 0


def test_digests_follow_what_is_drawn():
    base = config({"copy": 1, "coin": 1})
    assert load(base).digest == load(config({"coin": 2, "copy": 2})).digest  # the same rates
    others = [
        config({"copy": 2, "coin": 1}),
        config({"copy": 1, "parity": 1}),
        config({"copy": 1, "coin": 1}, eval_items=7),
        config({"copy": 1, "coin": 1}, order_seed=1),
    ]
    assert len({load(c).digest for c in (base, *others)}) == 5


def test_test_sets_do_not_depend_on_the_study():
    """Other order, other company, fewer items: the head of the same set, so runs pair item by item."""
    one = load(config({"copy": 1, "sort": 1}, order_seed=1)).ability_sets()
    two = load(config({"copy": 5, "sort": 1, "coin": 1}, eval_items=100)).ability_sets()
    for name in ("copy", "sort"):
        assert len(two[name].inputs_NxT) == 100
        np.testing.assert_array_equal(one[name].inputs_NxT[:100], two[name].inputs_NxT)
        np.testing.assert_array_equal(one[name].targets_NxT[:100], two[name].targets_NxT)
        assert one[name].chance == two[name].chance


def test_a_rare_task_may_miss_a_block():
    dataset = load(config({"copy": 1, "coin": 1e-6}))
    inputs, _ = dataset.batches(0, 1, 3000)
    assert (inputs[0, :, 1] == dataset.tokenizer.encode("c")[0]).mean() > 0.99


def test_capped_mixtures_repeat_their_rows():
    dataset = load(config({"copy": 1}, max_tokens=27 * 500))
    inputs, _ = dataset.batches(0, 1, 1000)
    assert len(np.unique(inputs[0], axis=0)) == 500


@pytest.mark.parametrize(
    ("tasks", "changes", "told"),
    [
        ({"cpy": 1}, {}, "did you mean copy"),
        ({"copy": 0, "coin": -1}, {}, "coin: should be at least 1e-06, is -1"),
        ({"copy": float("nan")}, {}, "copy: should be a finite number"),
        ({}, {}, "at least one task"),
        ({"recall": 1}, {"context": 27}, "'recall', which takes 28"),
        ({"copy": 1}, {"max_tokens": 20}, "one sequence of 27"),
        ({"copy": 1}, {"tokenizer": "bytes"}, "symbols"),
    ],
)
def test_mistakes_are_told(tasks, changes, told):
    with pytest.raises(InputError, match=told):
        config(tasks, **changes)
