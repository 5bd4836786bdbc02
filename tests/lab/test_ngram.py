"""Modified Kneser-Ney against hand-worked counts, its own axioms, and a source of known entropy."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from lab.data import DataConfig, load
from lab.errors import InputError
from lab.evaluation import ngram
from lab.verbs.data import data


def windows(*rows):
    """Inputs and targets of rows of equal length, the last token being a target only."""
    rows = np.array(rows)
    return rows[:, :-1], rows[:, 1:]


def reference(rows, order, vocab, context, word):
    """p(word | context), the definition written out with dictionaries; the mark is None."""
    counts = {order: Counter()}
    for row in rows:
        marked = [None] * (order - 2) + list(row) if order > 1 else list(row)
        first = order - 1 if order > 1 else 1
        for t in range(first, len(marked)):
            counts[order][tuple(marked[t - order + 1 : t + 1])] += 1
    for n in range(order - 1, 0, -1):
        counts[n] = Counter()
        left = defaultdict(set)
        for gram in counts[n + 1]:
            left[gram[1:]].add(gram[0])
        for gram in left:
            starts = gram[0] is None
            counts[n][gram] = counts[n + 1][(None, *gram)] if starts else len(left[gram])

    def p(n, context):
        if n == 0:
            return 1 / vocab
        lower = p(n - 1, context[1:])
        followers = {g[-1]: c for g, c in counts[n].items() if g[:-1] == tuple(context)}
        if not followers:
            return lower
        d = ngram.discounts(np.array(list(counts[n].values())))
        taken = [d[min(c, 3) - 1] for c in followers.values()]
        c = followers.get(word, 0)
        kept = c - d[min(c, 3) - 1] if c else 0.0
        return (kept + sum(taken) * lower) / sum(followers.values())

    return p(order, list(context))


def test_bigrams_by_hand():
    """Rows a b a b a c and a b: bigrams ab 3, ba 2, ac 1; to the left of b stands a, of a: b, of c: a."""
    inputs, targets = windows([0, 1, 0, 1, 0, 2])
    model = ngram.train(inputs, targets, 2, 3)
    unigrams, bigrams = model.levels
    assert bigrams.grams_G.tolist() == [0 * 4 + 1, 0 * 4 + 2, 1 * 4 + 0]
    # counts 2, 1, 2: n1 = 1, n2 = 2, n3 = 0, so Y = 1/5, D1 = 1 - 2/5 2 = 1/5, and D2 falls back to Y
    assert bigrams.discounts == pytest.approx((0.2, 0.2, 0.2))
    # a unigram counts its left neighbours, one each: n1 = 3 and nothing else, so 1/2 is taken from each
    assert unigrams.kept_G == pytest.approx([1 / 6] * 3)
    p_of_b = 1 / 6 + 1 / 2 * 1 / 3
    assert p_of_b == pytest.approx(1 / 3)
    p_b_after_a = (2 - 0.2) / 3 + 0.4 / 3 * p_of_b
    assert model.probability(np.array([0 * 4 + 1]))[0] == pytest.approx(p_b_after_a)
    # c was never followed: the unigram decides
    assert model.probability(np.array([2 * 4 + 1]))[0] == pytest.approx(1 / 3)


def test_discounts_are_those_of_the_paper():
    counts = np.repeat([1, 2, 3, 4, 9], [40, 20, 10, 6, 3])
    y = 40 / 80
    assert ngram.discounts(counts) == pytest.approx(
        (1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 6 / 10)
    )


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_probability_is_that_of_the_definition(order):
    rng = np.random.default_rng(order)
    rows = rng.choice(5, p=[0.4, 0.3, 0.15, 0.1, 0.05], size=(6, 12))
    model = ngram.train(rows[:, :-1], rows[:, 1:], order, 5)
    tests = rng.integers(0, 5, (3, 7))
    nats = model.nats(tests[:, :-1], tests[:, 1:])
    for row, found in zip(tests.tolist(), nats, strict=True):
        for t in range(1, 7):
            marked = [None] * order + row[:t]
            context = marked[len(marked) - order + 1 :] if order > 1 else []
            assert np.exp(-found[t - 1]) == pytest.approx(reference(rows.tolist(), order, 5, context, row[t]))


def test_probabilities_sum_to_one_over_the_vocabulary():
    rng = np.random.default_rng(0)
    rows = rng.zipf(1.5, (50, 40)) % 11
    model = ngram.train(rows[:, :-1], rows[:, 1:], 4, 11)
    contexts = rng.integers(0, 12, (200, 3)) @ 12 ** np.arange(1, 4)
    total = sum(model.probability(contexts + word) for word in range(11))
    np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_the_synthetic_source_is_predicted_to_a_little_above_its_entropy():
    """The excess of the ideal learner is a bound too: n-grams know neither the borders nor the law of "
    "contexts."""
    from lab.data.synthetic import excess_loss, source

    tokens = 600_000
    dataset = load(DataConfig(source="synthetic", contexts=64, val_windows=800))
    found = ngram.baseline(dataset, 3, tokens)
    above = found["loss_nats"] - dataset.entropy_rate
    error = 0.006  # of a validation set of 100,000 tokens
    ideal = float(excess_loss(source(64, 1.75), tokens))
    assert ideal - error < above < 0.03
    worse = ngram.baseline(dataset, 3, 3_000)["loss_nats"]
    assert worse > found["loss_nats"] + 0.02


def test_unscored_targets_are_neither_counted_nor_scored():
    inputs, targets = windows([0, 1, 2, 3], [0, 1, 2, 3])
    masked = targets.copy()
    masked[:, 1] = -1
    model = ngram.train(inputs, masked, 2, 4)
    assert 1 * 5 + 2 not in model.levels[1].grams_G
    assert (model.nats(inputs, masked)[:, 1] == 0).all()
    assert (model.nats(inputs, masked)[:, [0, 2]] > 0).all()


def test_the_verb_prints_bits_per_byte(capsys, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"text": "the number {n} and its double {2 * n}"}}\n' for n in range(300)))
    assert data(["ngram", str(path), "--context", "30", "--order", "4", "--json"]) == 0
    four = json.loads(capsys.readouterr().out)
    assert data(["ngram", str(path), "--context", "30", "--order", "1", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert four["bits_per_byte"] < 1.5 < 3 < one["bits_per_byte"]
    with pytest.raises(InputError, match="between 1 and 7"):
        data(["ngram", str(path), "--context", "30", "--order", "9"])
    with pytest.raises(InputError, match="has no end"):
        data(["ngram", "synthetic"])
