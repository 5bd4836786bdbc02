"""A decoder trained on the source of known entropy comes near that entropy, and never below the true law."""

import numpy as np
import pytest

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig, load
from lab.data.synthetic import RECORD, excess_loss, source
from lab.runs import loop
from lab.runs.folder import RunFolder
from lab.runs.job import Job

DATA = DataConfig(source="synthetic", context=42, contexts=256)
BUDGETS = (20_000, 260_000)


def true_loss(law, dataset):
    """Nats a token of the true law on the validation set itself: the noise of that set cancels against it."""
    records = dataset.validation().targets_WxT.reshape(-1, RECORD)
    context, value = records[:, 0] * law.side + records[:, 1], records[:, 2] - law.side
    p = law.context_probabilities[context] * law.value_probabilities[context, value]
    return -np.log(p).mean() / RECORD


@pytest.mark.slow
def test_a_small_decoder_approaches_the_entropy_rate_from_above(tmp_path):
    dataset, law = load(DATA), source(DATA.contexts, DATA.zipf)
    true = true_loss(law, dataset)
    assert true == pytest.approx(dataset.entropy_rate, abs=0.04)
    above = []
    for tokens in BUDGETS:
        config = RunConfig(
            tokens=tokens,
            model=ModelConfig(width=16, layers=2, heads=2),
            optimizer=OptimizerConfig(learning_rate=2e-2, warmup_tokens=10_000),
            data=DATA,
            batch=16,
        )
        folder = RunFolder(tmp_path / str(tokens))
        loop.run([Job(config, str(tokens), folder)], dataset)
        above.append(folder.result()["row"]["loss_nats"] - true)
    # The ideal learner knows the law of contexts beforehand; no decoder gets below what it has left to learn.
    ideal = excess_loss(law, BUDGETS)
    assert (np.array(above) > 0.5 * ideal).all()
    assert above[0] > 3 * above[1]
    assert above[1] < 0.025 * dataset.entropy_rate
