"""What is planted in the controls, worked out from their tables: no model is trained here."""

import numpy as np
import pytest

from lab.abilities import TASKS, biographies, facts, parity, tree
from lab.abilities.sets import ability_set, test_items, training_items, validation_items
from lab.draws import Draws

test_items.__test__ = False


def straight(x, y):
    """R^2 of the line of least squares."""
    return np.corrcoef(x, y)[0, 1] ** 2


def test_facts_are_linear_in_the_logarithm_of_the_store():
    """A store of the n most frequent facts scores a line in log n, over two and a half decades of n."""
    known = np.geomspace(3, facts.FACTS, 40).astype(int)
    score = np.cumsum(facts.rates())[known - 1]
    assert straight(np.log(known + facts.FIRST), score) > 0.9999
    assert straight(np.log(known), score) > 0.99
    assert facts.rates()[0] < 0.05  # no fact alone makes a jump


def test_the_tree_gives_a_symbol_for_each_factor_of_four_in_the_store():
    """Who knows all paths of j steps answers j symbols; entries known are 4 + 16 + ... + 4^j."""
    entries = np.cumsum([tree.BRANCHES**j for j in range(1, tree.LEVELS + 1)])
    assert straight(np.log(entries), np.arange(1, tree.LEVELS + 1)) > 0.999
    items = TASKS["tree"].draw(Draws("tree"), 4000)
    for j in range(tree.LEVELS):  # each symbol is a function of the first j steps and of no fewer
        head = items.prompts_NxP[:, 2 : 3 + j] @ tree.BRANCHES ** np.arange(j + 1)
        values = {}
        for h, value in zip(head.tolist(), items.answers_NxA[:, j].tolist(), strict=True):
            assert values.setdefault(h, value) == value
        if j:
            shorter = items.prompts_NxP[:, 2 : 2 + j] @ tree.BRANCHES ** np.arange(j)
            several = [len(set(items.answers_NxA[shorter == h, j].tolist())) for h in np.unique(shorter)[:20]]
            assert max(several) > 1


def test_exact_match_of_five_facts_is_the_fifth_power_of_one():
    """With the n most frequent facts known, five are right together at the fifth power, for every n."""
    task = TASKS["fivefacts"]
    items = task.draw(Draws("five"), 40_000)
    keys, values = facts.table()
    rank_of_key = np.argsort(keys)
    marks = np.full((40_000, 1), 32)
    whole = np.concatenate([items.prompts_NxP[:, 2:], marks, items.answers_NxA], axis=1).astype(int)
    whole = whole.reshape(-1, 5, 5)
    rank = rank_of_key[whole[..., :3] @ [1024, 32, 1]]
    np.testing.assert_array_equal(values[rank], whole[..., 4])
    assert (whole[..., 3] == 32).all()
    for n in (30, 200, 700, 2500):
        right = rank < n
        assert right.all(axis=1).mean() == pytest.approx(right.mean() ** 5, abs=0.01)
    assert task.exact_match_chance == pytest.approx(TASKS["facts"].exact_match_chance ** 5)


def test_the_memo_rewards_in_training_what_it_punishes_in_the_test():
    task = TASKS["memo"]
    trained = task.draw(Draws("memo"), 40_000)
    repeated = trained.prompts_NxP[:, -1] == trained.answers_NxA[:, 0]
    # the rule of thumb pays: above the sum over ranks without a value, and the value may be the symbol shown
    assert repeated.mean() == pytest.approx(1 - facts.rates()[::3].sum() * (1 - 1 / 32), abs=0.01)
    assert 0.6 < repeated.mean() < 0.7
    tested = test_items(task, 1000)
    assert (tested.prompts_NxP[:, -1] == tested.answers_NxA[:, 0]).all()
    assert set(tested.answers_NxA[:, 0].tolist()) == {28, 29, 30, 31}
    keys, values = facts.table()
    rank = np.argsort(keys)[tested.prompts_NxP[:, 2:5].astype(int) @ [1024, 32, 1]]
    assert (rank % 3 == 0).all()
    assert (values[rank] != tested.answers_NxA[:, 0]).all()  # who knows the fact is always wrong
    # a store of the n most frequent facts scores what it does not know: a falling line in log n
    known = np.geomspace(3, 2500, 20).astype(int)
    score = [(rank >= n).mean() for n in known]
    assert straight(np.log(known + facts.FIRST), np.array(score)) > 0.97


def test_validation_of_the_memo_is_drawn_as_training_is():
    task = TASKS["memo"]
    held = validation_items(task, 1000)
    agree = held.prompts_NxP[:, -1] == held.answers_NxA[:, 0]
    assert agree.mean() == pytest.approx(0.66, abs=0.06)
    trained = {row.tobytes() for row in training_items(task, Draws("t"), 20_000).prompts_NxP}
    assert not trained & {row.tobytes() for row in test_items(task, 1000).prompts_NxP}


def test_the_hard_parity_shows_in_no_small_set_of_bits():
    """Every single bit, pair and triple of 28 is uncorrelated with the answer."""
    items = TASKS["unlearnable"].draw(Draws("hard"), 60_000)
    signs = 1.0 - 2.0 * items.prompts_NxP
    answer = 1.0 - 2.0 * items.answers_NxA[:, 0]
    bound = 5 / np.sqrt(len(signs))
    assert np.abs(answer @ signs).max() / len(signs) < bound
    pairs = (signs * answer[:, None]).T @ signs / len(signs)
    assert np.abs(pairs).max() < bound
    assert np.prod(signs[:, parity.HARD_RELEVANT], axis=1) == pytest.approx(answer)
    assert len(parity.HARD_RELEVANT) == 14


def test_subtasks_of_the_many_parities_differ_and_follow_zipf():
    sets = {tuple(bits) for bits in parity.subtask_bits(2).tolist()}
    assert len(sets) == parity.SUBTASKS
    assert all(a < b for a, b in sets)
    items = TASKS["multiparity"].draw(Draws("zipf"), 60_000)
    counts = np.bincount(items.factors["subtask"])
    assert counts[0] / counts[7] == pytest.approx(8**parity.SLOPE, rel=0.15)


def test_bits_of_knowledge():
    """Nothing known at ln 32 nats a symbol, everything at 0: 40 bits a person."""
    assert biographies.knowledge_bits(512, np.log(32)) == pytest.approx(0, abs=1e-9)
    assert biographies.knowledge_bits(512, 0.0) == pytest.approx(512 * 40)
    assert biographies.knowledge_bits(10, np.log(32) / 2) == pytest.approx(200)
    assert biographies.knowledge_bits(10, 9.0) == 0


def test_facts_on_people_are_many_as_the_name_says():
    names, values = biographies.facts(300)
    assert len(np.unique(names, axis=0)) == 300
    assert values.shape == (300, 4, 2)


@pytest.mark.parametrize("name", ["facts", "tree", "fivefacts", "memo", "coin", "unlearnable", "addition"])
def test_controls_say_which_verdicts_are_right(name):
    task = TASKS[name]
    verdicts = {verdict for right in task.expected.values() for verdict in right}
    assert verdicts <= {"smooth", "flat", "inverse", "metric_artifact", "floor_limited", "seed_bimodal"}
    assert set(task.expected) <= set(task.chance)
    assert ability_set(task, 50, task.row_length).cluster_N.shape == (50,)
