"""Every task against a plain reference: answers, chance levels, and that train and test never meet."""

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest

from lab.abilities import TASKS, association, biographies, facts, letters, parity, tree
from lab.abilities.catalogue import find
from lab.abilities.items import ALPHABET, PAD, hashes, in_test, repeats
from lab.abilities.sets import TOKENIZER, ability_set, lay_out, shown, test_items, training_items
from lab.draws import Draws

test_items.__test__ = False  # a function of the package, no test
NAMES = list(TASKS)


LETTERS = ALPHABET.encode().ljust(256, b"?")


def texts(symbols):
    rows = np.asarray(symbols).astype(np.uint8)
    return [row.tobytes().translate(LETTERS, bytes([PAD])).decode() for row in rows]


def number(text):
    return int(text, 32)


def recall_answer(prompt):
    listed, asked = prompt.split("+")
    table = dict(zip(listed[::2], listed[1::2], strict=True))
    return "".join(table[key] for key in asked)


def addition_answer(prompt):
    first, second = prompt.split("+")
    return f"{int(first) + int(second):04d}"[::-1]


def modular_answer(prompt):
    return ALPHABET[sum(map(number, prompt.split("+"))) % 31]


def product_answer(prompt):
    first, second = prompt.split("+")
    return f"{int(first) * int(second):04d}"[::-1]


def dyck_answer(prompt):
    stack = []
    for symbol in map(int, prompt):
        if symbol < 4:
            stack.append(symbol)
        else:
            assert stack.pop() == symbol - 4, "the prompt is balanced so far"
    return str(4 + stack[-1])


def parities_answer(prompt):
    bits = [prompt[1 + i] for i in parity.subtask_bits(2)[number(prompt[0])]]
    return str(bits.count("1") % 2)


def regression_answer(prompt):
    """Any slope that explains the points shown; where two do, both must say the same of the query."""
    x, y = [number(c) - 7.5 for c in prompt[::2]], [number(c) - 16 for c in prompt[1::2]]
    low = max((v - 0.5) / u if u > 0 else (v + 0.5) / u for u, v in zip(x, y, strict=False))
    high = min((v + 0.5) / u if u > 0 else (v - 0.5) / u for u, v in zip(x, y, strict=False))
    assert low < high
    answers = {int(np.floor(slope * x[-1] + 0.5)) + 16 for slope in np.linspace(low, high, 9)[1:-1]}
    return {ALPHABET[a] for a in answers}


@cache
def people():
    names, values = biographies.facts(biographies.PEOPLE)
    return texts(names), values


def biography_answer(prompt):
    names, values = people()
    return texts(values[names.index(prompt[2:5])])[number(prompt[5])]


@cache
def words():
    return {"".join(sorted(word)): word for word in texts(letters.lexicon())}


def unscramble_answer(prompt):
    return words()["".join(sorted(prompt))]


def fact_answer(prompt):
    keys, values = facts.table()
    return ALPHABET[values[keys.tolist().index(number(prompt[2:5]))]]


def tree_answer(prompt):
    return "".join(ALPHABET[tree.level(j)[int(prompt[2 : 2 + j], 4)]] for j in range(1, 7))


def memo_answer(prompt):
    keys, values = facts.table()
    rank = keys.tolist().index(number(prompt[2:5]))
    return ALPHABET[values[rank]] if rank % 3 == 0 else prompt[-1]


REFERENCE = {
    "copy": lambda prompt: prompt,
    "reverse": lambda prompt: prompt[::-1],
    "parity": lambda prompt: str([prompt[i] for i in (1, 6, 10)].count("1") % 2),
    "addition": addition_answer,
    "recall": recall_answer,
    "modular": modular_answer,
    "sort": lambda prompt: "".join(sorted(prompt, key=ALPHABET.index)),
    "count": lambda prompt: ALPHABET[prompt[1:].count(prompt[0])],
    "multiplication": product_answer,
    "induction": lambda prompt: prompt[prompt.index(prompt[-1]) + 1 :][:4],
    "needle": lambda prompt: prompt[prompt.index("+") + 1],
    "multiparity": parities_answer,
    "dyck": dyck_answer,
    "regression": regression_answer,
    "biographies": biography_answer,
    "unscramble": unscramble_answer,
    "cycle": unscramble_answer,
    "unlearnable": lambda prompt: str(prompt[::2].count("1") % 2),
    "facts": fact_answer,
    "tree": tree_answer,
    "memo": memo_answer,
}

DIFFICULTY = {
    "copy": lambda prompt: len(prompt) - len(set(prompt)),
    "reverse": lambda prompt: len(prompt) - len(set(prompt)),
    "parity": lambda prompt: [prompt[i] for i in (1, 6, 10)].count("1"),
    "addition": lambda prompt: sum(int(prompt[3 - p : 3]) + int(prompt[7 - p :]) >= 10**p for p in (1, 2, 3)),
    "recall": lambda prompt: sum(7 - prompt[:16:2].index(key) for key in prompt[17:]),
    "modular": lambda prompt: int(sum(map(number, prompt.split("+"))) >= 31),
    "sort": lambda prompt: sum(number(a) > number(b) for i, a in enumerate(prompt) for b in prompt[i + 1 :]),
    "count": lambda prompt: prompt[1:].count(prompt[0]),
    "multiplication": lambda prompt: sum(a != "0" for a in prompt[:2]) * sum(b != "0" for b in prompt[3:]),
    "induction": lambda prompt: 15 - prompt.index(prompt[-1]),
    "needle": lambda prompt: len(prompt) - 1 - prompt.index("+"),
    "multiparity": lambda prompt: number(prompt[0]),
    "cycle": lambda prompt: next(
        r for r in range(6) if prompt[-r:] + prompt[:-r] == unscramble_answer(prompt)
    ),
    "unlearnable": lambda prompt: prompt[::2].count("1"),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("coin", "fivefacts", "association")])
def test_answers_and_difficulty_are_those_of_the_reference(name):
    items = TASKS[name].draw(Draws("reference", name), 400)
    prompts = texts(items.prompts_NxP)
    for prompt, answer in zip(prompts, texts(items.answers_NxA), strict=True):
        expected = REFERENCE[name](prompt)
        assert answer in expected if isinstance(expected, set) else answer == expected
    if name in DIFFICULTY:
        assert items.difficulty_N.tolist() == [DIFFICULTY[name](prompt) for prompt in prompts]


def test_the_coin_has_nothing_to_do_with_the_prompt():
    """Equal prompts, drawn again, get all four labels; and no symbol at any place tells the label."""
    task = TASKS["coin"]
    items = task.draw(Draws("coin"), 40_000)
    labels = items.answers_NxA[:, 0]
    assert np.abs(np.bincount(labels, minlength=4) - 10_000).max() < 4.5 * math.sqrt(7500)
    table = np.zeros((12, 32, 4))
    for place in range(12):
        np.add.at(table, (place, items.prompts_NxP[:, place], labels), 1)
    expected = table.sum(axis=2, keepdims=True) / 4
    chi2 = ((table - expected) ** 2 / expected).sum(axis=(1, 2))  # 96 degrees of freedom a place
    assert (np.abs(chi2 - 96) < 4.5 * math.sqrt(2 * 96)).all()
    # The label of a prompt is no function of it: another stream labels the same prompts otherwise.
    again = test_items(task, 500), ability_set(task, 500, 20).targets_NxT
    np.testing.assert_array_equal(
        again[0].answers_NxA[:, 0], again[1].max(axis=1, where=again[1] < 34, initial=-1)
    )


@pytest.mark.parametrize("percent", [70, 90])
def test_the_association_is_the_planted_one_in_training_and_leads_in_the_test(percent):
    """Cue by cue: the share of its leading group is as planted, and each group leads half of the cues."""
    task = find("association" if percent == 70 else f"association-{percent}")
    items = training_items(task, Draws("association"), 60_000)
    test = test_items(task, 2000)
    leads = dict(zip(test.difficulty_N.tolist(), test.answers_NxA[:, 0].tolist(), strict=True))
    is_leading = (
        np.array([leads.get(int(rank), -1) for rank in items.difficulty_N]) == items.answers_NxA[:, 0]
    )
    known = np.array([int(rank) in leads for rank in items.difficulty_N])
    assert known.mean() > 0.95
    error = math.sqrt(percent * (100 - percent) / 1e4 / known.sum())
    assert abs(is_leading[known].mean() - percent / 100) < 4.5 * error
    for rank in range(5):
        own = items.difficulty_N == rank
        assert abs(is_leading[own].mean() - percent / 100) < 4.5 * error * math.sqrt(known.sum() / own.sum())
    assert np.bincount(association.table()[1]).tolist() == [128, 128]
    assert set(test.factors["planted"].tolist()) == {percent}
    assert find("association-70").name == "association"


@pytest.mark.parametrize("name", NAMES)
def test_lengths_tags_and_symbols_are_those_the_task_states(name):
    task = TASKS[name]
    items = task.draw(Draws("lengths", name), 50)
    assert items.prompts_NxP.shape == (50, task.prompt_length)
    assert items.answers_NxA.shape == (50, task.answer_length)
    assert items.prompts_NxP.dtype == items.answers_NxA.dtype == np.uint8
    symbols = items.prompts_NxP[items.prompts_NxP != PAD]
    assert max(symbols.max(), items.answers_NxA.max()) < len(ALPHABET)
    assert set(task.instruction) <= set(ALPHABET[:32])
    if task.choices:
        assert set(items.answers_NxA.ravel().tolist()) <= set(task.choices)
    assert len({task.tag for task in TASKS.values()}) == len(TASKS)
    assert len(ALPHABET) + 2 == TOKENIZER.vocab_size <= 42
    assert name == task.name


@pytest.mark.parametrize("name", NAMES)
def test_chance_is_the_best_answer_that_does_not_read_the_prompt(name):
    task = TASKS[name]
    count = 60_000
    drawn = (task.draw_test or task.draw)(Draws("chance", name), count)
    answers = np.delete(drawn.answers_NxA, list(task.given), axis=1)
    count = len(answers)
    places = np.array([np.bincount(column, minlength=32).max() for column in answers.T]) / count
    most = places.mean()
    # The most frequent of many symbols is above its probability by up to about three standard errors.
    error = math.sqrt(most * (1 - most) / count)
    assert -3.5 * error < most - task.token_accuracy_chance < 4.5 * error
    if task.exact_match_chance > 1e-4:
        best = Counter(texts(answers)).most_common(1)[0][1] / count
        error = math.sqrt(best / count)
        assert -3.5 * error < best - task.exact_match_chance < 5.5 * error
    assert task.chance["gold_nats"] is None


def test_chance_of_long_answers_by_counting():
    assert TASKS["copy"].exact_match_chance == pytest.approx(32.0**-12)
    assert TASKS["recall"].exact_match_chance == pytest.approx(16.0**-4)
    # The likeliest sorted answer has eight different symbols: 8! of the 32^8 prompts give it.
    assert TASKS["sort"].exact_match_chance == pytest.approx(40320 / 32**8)


@pytest.mark.parametrize("name", NAMES)
def test_training_and_test_never_share_an_item(name):
    task = TASKS[name]
    held_out = test_items(task, 1000)
    trained = training_items(task, Draws("train", name), 30_000)
    assert len(trained) == 30_000
    tested = set(texts(shown(task, held_out)))
    assert len(tested) == len(held_out) > 400
    assert not tested & set(texts(shown(task, trained)))
    assert in_test(held_out.identity_N, task.test_share).all()
    drawn = task.draw(Draws("share", name), 20_000)
    assert in_test(drawn.identity_N, task.test_share).mean() == pytest.approx(task.test_share, abs=0.05)


@pytest.mark.parametrize("name", ["addition", "modular"])
def test_a_sum_of_swapped_operands_is_the_same_identity(name):
    task = TASKS[name]
    held_out = {tuple(sorted(p.split("+"))) for p in texts(test_items(task, 1000).prompts_NxP)}
    trained = {
        tuple(sorted(p.split("+")))
        for p in texts(training_items(task, Draws("train", name), 30_000).prompts_NxP)
    }
    assert not held_out & trained
    both = ability_set(task, 1000, task.row_length)
    clusters = {}
    for prompt, cluster in zip(texts(test_items(task, 1000).prompts_NxP), both.cluster_N, strict=True):
        clusters.setdefault(tuple(sorted(prompt.split("+"))), set()).add(int(cluster))
    assert all(len(numbers) == 1 for numbers in clusters.values())
    assert len(clusters) == len(set(both.cluster_N.tolist()))


@pytest.mark.parametrize("name", NAMES)
def test_rows_score_the_answer_and_its_end_only(name):
    task = TASKS[name]
    items = task.draw(Draws("rows", name), 20)
    for context in (task.row_length, task.row_length + 5):
        inputs, targets = lay_out(task, items, context)
        assert inputs.shape == targets.shape == (20, context)
        for n, (prompt, answer) in enumerate(
            zip(texts(items.prompts_NxP), texts(items.answers_NxA), strict=True)
        ):
            scored = np.flatnonzero(targets[n] >= 0)
            written = [TOKENIZER.start, *TOKENIZER.encode(f"{task.tag}{prompt}={answer}")]
            assert inputs[n, : len(written)].tolist() == written
            assert (inputs[n, len(written) :] == TOKENIZER.end).all()
            assert len(written) <= task.row_length
            assert scored[0] == len(prompt) + 2  # where `=` is read and the answer begins
            asked = [symbol for place, symbol in enumerate(answer) if place not in task.given]
            assert targets[n, scored].tolist() == [*TOKENIZER.encode("".join(asked)), TOKENIZER.end]


def test_the_answer_mask_leaves_out_the_end():
    test = ability_set(TASKS["copy"], 10, 27)
    assert test.answer_NxT.sum(axis=1).tolist() == [12] * 10
    assert ((test.targets_NxT >= 0).sum(axis=1) == 13).all()
    assert test.answer_length == 12


def test_a_small_task_gives_all_its_held_out_items():
    """Modulo 31 has 961 pairs; the test set is every held-out one, however many are asked for."""
    pairs = np.array([(a, b) for a in range(31) for b in range(31)])
    share = in_test(hashes(np.sort(pairs, axis=1)), TASKS["modular"].test_share).sum()
    assert len(test_items(TASKS["modular"], 1000)) == len(test_items(TASKS["modular"], 5000)) == share


@pytest.mark.parametrize("name", NAMES)
def test_test_items_are_always_the_same(name):
    more, fewer = test_items(TASKS[name], 300), test_items(TASKS[name], 300)
    np.testing.assert_array_equal(more.prompts_NxP, fewer.prompts_NxP)
    np.testing.assert_array_equal(more.answers_NxA, fewer.answers_NxA)


def test_hashes_spread_and_tell_rows_apart():
    rows = np.array([(a, b, c) for a in range(32) for b in range(32) for c in range(32)])
    values = hashes(rows)
    assert len(np.unique(values)) == len(rows)
    octiles = np.bincount((values >> np.uint64(61)).astype(int), minlength=8)
    assert np.abs(octiles - len(rows) / 8).max() < 4.5 * math.sqrt(len(rows) * 7 / 64)
    assert hashes(rows[:, :2])[0] != hashes(rows)[0]  # length counts too


def test_repeats():
    assert repeats(np.array([[1, 2, 3], [1, 1, 2], [5, 5, 5]])).tolist() == [0, 1, 2]
