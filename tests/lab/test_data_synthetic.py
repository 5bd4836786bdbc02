"""The synthetic source against what is claimed of it: entropy, excess loss, its power law."""

import math

import numpy as np
import pytest

from lab.data import DataConfig, load
from lab.data.synthetic import RECORD, VALUES, _mean_log_poisson, excess_loss, source
from lab.draws import Draws
from lab.errors import InputError


@pytest.fixture(scope="module")
def law():
    return source(2048, 1.75)


def read(law, rows):
    """Contexts and values of rows of symbols, by the letter of the format."""
    records = rows.reshape(-1, RECORD).astype(int)
    return records[:, 0] * law.side + records[:, 1], records[:, 2] - law.side


def test_the_loss_of_the_true_law_on_a_long_stream_is_the_entropy_rate(law):
    """Also through the data set: `<start>`, framing and the validation set must not shift it."""
    dataset = load(DataConfig(source="synthetic", val_windows=2000))
    _, targets = dataset.batches(0, 1, 20_000)
    for rows in (targets[0], dataset.validation().targets_WxT):
        context, value = read(law, rows)
        nats = -np.log(law.context_probabilities[context]) - np.log(law.value_probabilities[context, value])
        error = nats.std() / np.sqrt(len(nats)) / RECORD
        assert error < 0.004
        assert abs(nats.mean() / RECORD - dataset.entropy_rate) < 4 * error


def test_entropy_rate_of_a_source_small_enough_to_list():
    """All records of three contexts, each with its probability."""
    small = source(3, 2.0)
    p = np.array([1, 1 / 4, 1 / 9]) / (1 + 1 / 4 + 1 / 9)
    np.testing.assert_allclose(small.context_probabilities, p, atol=1e-9)
    joint = (small.context_probabilities[:, None] * small.value_probabilities).ravel()
    joint = joint[joint > 0]
    assert joint.sum() == pytest.approx(1, abs=1e-12)
    assert small.entropy_rate == pytest.approx(-(joint * np.log(joint)).sum() / RECORD, rel=1e-12)


def test_values_follow_the_prior_that_the_ideal_learner_assumes(law):
    """Moments of Dirichlet(1/2): mean 1/V, variance (V - 1) / (V^2 (V/2 + 1))."""
    q = law.value_probabilities
    np.testing.assert_allclose(q.sum(axis=1), 1, atol=1e-12)
    assert q.mean(axis=0) == pytest.approx(1 / VALUES, abs=4 * q.std() / np.sqrt(len(q)))
    assert q.var() == pytest.approx((VALUES - 1) / (VALUES**2 * (VALUES / 2 + 1)), rel=0.05)


def test_excess_of_a_tabular_learner_is_the_closed_form(law):
    """A learner that counts, trained on fresh streams and scored by its exact loss under the true law."""
    p, q = law.context_probabilities, law.value_probabilities
    entropy = -(q * np.log(np.where(q > 0, q, 1))).sum(axis=1)
    streams = 12
    for records in (100, 3000, 100_000):
        excess = []
        for stream in range(streams):
            context, value = read(law, law.symbols(Draws("learner", records, stream), 1, records))
            counts = np.zeros((law.contexts, VALUES))
            np.add.at(counts, (context, value), 1)
            predicted = (counts + 0.5) / (counts.sum(axis=1, keepdims=True) + VALUES / 2)
            excess.append(p @ (-(q * np.log(predicted)).sum(axis=1) - entropy) / RECORD)
        error = np.std(excess, ddof=1) / np.sqrt(streams)
        closed = float(excess_loss(law, records * RECORD))
        assert error < 0.1 * closed
        assert abs(np.mean(excess) - closed) < 4 * error


@pytest.mark.parametrize("zipf", [1.75, 2.0])
def test_excess_falls_as_the_stated_power_of_tokens(zipf):
    law = source(2**14, zipf)
    tokens = np.array([3e3, 3e4, 3e5])
    slopes = -np.diff(np.log10(excess_loss(law, tokens)))
    assert slopes == pytest.approx(1 - 1 / zipf, abs=0.03)


def test_excess_before_any_data_is_that_of_the_uniform_guess(law):
    q = law.value_probabilities
    entropy = -(q * np.log(np.where(q > 0, q, 1))).sum(axis=1)
    expected = law.context_probabilities @ (np.log(VALUES) - entropy) / RECORD
    assert float(excess_loss(law, 0)) == pytest.approx(expected, rel=1e-9)
    assert (np.diff(excess_loss(law, np.geomspace(1e3, 1e9, 13))) < 0).all()


@pytest.mark.parametrize("shift", [0.5, 8.0])
def test_mean_log_of_poisson_against_the_sum(shift):
    for mean in (0.0, 1e-4, 0.3, 7.0, 150.0, 399.0, 401.0, 5000.0):
        n = np.arange(0, int(mean + 12 * np.sqrt(mean) + 30))
        log = math.log(mean or 1)
        p = [math.exp(k * log - mean - math.lgamma(k + 1)) for k in n.tolist()] if mean else n == 0
        exact = p @ np.log(n + shift)
        assert float(_mean_log_poisson(np.array(mean), shift)) == pytest.approx(exact, abs=2e-6)


def test_rows_are_whole_records_and_the_rest_is_not_scored():
    dataset = load(DataConfig(source="synthetic", context=128, contexts=100))
    inputs, targets = dataset.batches(0, 1, 50)
    inputs, targets = inputs[0], targets[0]
    assert (inputs[:, 0] == dataset.tokenizer.start).all()
    np.testing.assert_array_equal(inputs[:, 1:126], targets[:, :125])
    assert (targets[:, 126:] == -1).all()
    assert (targets[:, :126] >= 0).all()
    assert (inputs[:, 126:] == dataset.tokenizer.end).all()
    digits, values = targets[:, :126].reshape(-1, 3)[:, :2], targets[:, :126].reshape(-1, 3)[:, 2]
    assert digits.max() < 10 <= values.min()
    assert values.max() < 26 == dataset.vocab_size - 2
    assert dataset.bytes_per_token == 126 / 128


def test_capped_data_repeat_their_rows_and_validation_is_elsewhere():
    dataset = load(DataConfig(source="synthetic", max_tokens=1500 * 126 + 100, val_windows=300))
    assert dataset.unique_tokens == 1500 * 126
    _, targets = dataset.batches(0, 1, 3000)
    first, second = (np.unique(part, axis=0) for part in (targets[0, :1500], targets[0, 1500:]))
    assert len(first) == 1500
    np.testing.assert_array_equal(first, second)
    endless = load(DataConfig(source="synthetic", val_windows=300))
    np.testing.assert_array_equal(np.unique(endless.batches(0, 1, 1500)[1][0], axis=0), first)
    rows = {row.tobytes() for row in first}
    assert not rows & {row.tobytes() for row in dataset.validation().targets_WxT}


def test_the_digest_tells_sources_apart_and_the_stream_is_pinned():
    digests = {
        load(DataConfig(source="synthetic", contexts=k, zipf=a)).digest for k in (64, 65) for a in (1.5, 2.0)
    }
    assert len(digests) == 4
    # Whole numbers decide every draw, so other machines and versions of NumPy make the same stream.
    _, targets = load(DataConfig(source="synthetic")).batches(10**6, 1, 4)
    assert int(targets.sum()) == PINNED_SUM


PINNED_SUM = 9516


def test_context_shorter_than_a_record_is_refused():
    with pytest.raises(InputError, match="a record"):
        DataConfig(source="synthetic", context=2)
