from dataclasses import replace

import numpy as np
import pytest

from lab import evaluate, optimizer, pack, train
from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig, load
from lab.generate import generate


def test_the_error_is_that_of_the_windows(tiny, synthetic):
    params = train.initial_state(tiny, synthetic.vocab_size).params
    loss = evaluate.validate(params, tiny, synthetic)
    held = synthetic.validation()
    nats_WxT, _ = evaluate.score(params, tiny, synthetic.vocab_size, held.inputs_WxT, held.targets_WxT)
    assert loss.nats == pytest.approx(nats_WxT.sum() / held.scored)
    assert loss.bits_per_byte == pytest.approx(nats_WxT.sum() / np.log(2) / held.bytes_W.sum())
    rng = np.random.default_rng(0)
    W, count_W = len(nats_WxT), (held.targets_WxT >= 0).sum(1)
    draws = [rng.integers(0, W, W) for _ in range(4000)]
    spread = np.std([nats_WxT[d].sum() / count_W[d].sum() for d in draws])
    assert loss.se == pytest.approx(spread, rel=0.1)


def test_filling_the_last_batch_changes_nothing(tiny, synthetic):
    params = train.initial_state(tiny, synthetic.vocab_size).params
    held = synthetic.validation()
    whole, right = evaluate.score(
        params, tiny, synthetic.vocab_size, held.inputs_WxT[:64], held.targets_WxT[:64]
    )
    part, part_right = evaluate.score(
        params, tiny, synthetic.vocab_size, held.inputs_WxT[:5], held.targets_WxT[:5]
    )
    np.testing.assert_allclose(part, whole[:5], rtol=1e-5)
    np.testing.assert_array_equal(part_right, right[:5])


@pytest.mark.slow
def test_exact_match_is_that_of_greedy_generation():
    data = load(DataConfig(source="abilities", tasks={"copy": 1.0}, eval_items=200))
    config = RunConfig(
        tokens=500 * 64 * data.context,
        model=ModelConfig(width=16, layers=2, heads=2),
        optimizer=OptimizerConfig(learning_rate=0.01, warmup_tokens=50 * 64 * data.context),
        data=data.config,
        batch=64,
    )
    one = pack.Pack(config, data.vocab_size)
    placed = one.put([train.initial_state(config, data.vocab_size)])
    for step in range(0, 500, 20):  # until some items are right and some wrong
        placed, _ = one.advance(placed, *data.batches(step, 20, 64), 20, [optimizer.hyper(config)])
        params = one.get(placed, 0).params
        rows = {row["metric"]: row for row in evaluate.abilities(params, config, data)}
        correct = rows["exact_match"]["correct"]
        if correct > 10:
            break
    assert 10 < correct < 200, "the comparison needs right and wrong items"
    test = data.ability_sets()["copy"]
    prompts, answers = [], []
    for inputs_T, targets_T in zip(test.inputs_NxT, test.targets_NxT, strict=True):
        scored = np.flatnonzero(targets_T >= 0)
        prompts.append(inputs_T[: scored[0] + 1].tolist())
        answers.append(targets_T[scored].tolist()[:-1])  # the last scored target is <end>
    got = generate(
        params,
        prompts,
        config.model,
        data.vocab_size,
        data.tokenizer.end,
        data.context,
        len(answers[0]) + 1,
    )
    right = sum(g == a for g, a in zip(got, answers, strict=True))
    assert abs(right - correct) <= 1, "a near tie may fall either way"


def test_an_untrained_model_scores_at_chance():
    data = load(DataConfig(source="abilities", tasks={"coin": 1.0}, eval_items=300))
    config = RunConfig(tokens=10**5, model=ModelConfig(width=8, layers=1, heads=1), data=data.config)
    params = train.initial_state(replace(config, seed=3), data.vocab_size).params
    rows = {row["metric"]: row for row in evaluate.abilities(params, config, data)}
    assert rows["gold_nats"]["score"] == pytest.approx(np.log(data.vocab_size), rel=0.1)
    assert rows["gold_nats"]["correct"] is None
    assert rows["exact_match"]["chance"] == 0.25
