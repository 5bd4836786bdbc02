from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig, load
from lab.evaluation import evaluate, progress_measures
from lab.evaluation.generate import generate
from lab.model import decoder
from lab.training import optimizer, pack, train


def test_the_error_is_that_of_the_windows(tiny, synthetic):
    params = train.initial_state(tiny, synthetic.vocab_size).params
    loss = evaluate.validate(params, tiny, synthetic)
    held = synthetic.validation()
    nats_WxT, _, _ = evaluate.score(params, tiny, synthetic.vocab_size, held.inputs_WxT, held.targets_WxT)
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
    whole, right, _ = evaluate.score(
        params, tiny, synthetic.vocab_size, held.inputs_WxT[:64], held.targets_WxT[:64]
    )
    part, part_right, _ = evaluate.score(
        params, tiny, synthetic.vocab_size, held.inputs_WxT[:5], held.targets_WxT[:5]
    )
    np.testing.assert_allclose(part, whole[:5], rtol=1e-5)
    np.testing.assert_array_equal(part_right, right[:5])


def test_tasks_of_a_short_context_are_scored_by_the_program_of_validation():
    data = load(DataConfig(source="abilities", tasks={"sort": 1.0, "coin": 1.0}, eval_items=20))
    config = RunConfig(tokens=1000, model=ModelConfig(width=4, layers=1, heads=1), data=data.config)
    params = train.initial_state(config, data.vocab_size).params
    evaluate.validate(params, config, data)
    rows = evaluate.everything(params, config, data).rows
    assert {row["task"] for row in rows} == {"sort", "coin"}
    assert evaluate._program(config.model, config.precision, data.vocab_size, None)._cache_size() == 1


@pytest.mark.slow
def test_exact_match_is_that_of_greedy_generation():
    data = load(DataConfig(source="abilities", tasks={"copy": 1.0}, eval_items=200))
    config = RunConfig(
        tokens=500 * 64 * data.context,
        model=ModelConfig(width=16, layers=1, heads=2),
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
    # a label's symbol alone: the end that follows it, likely or not, is no part of the ability
    assert rows["token_accuracy"]["items"] == 300
    assert rows["exact_match"]["se"] == pytest.approx(
        np.sqrt(rows["exact_match"]["score"] * (1 - rows["exact_match"]["score"]) / 299), rel=0.05, abs=1e-9
    )


@pytest.fixture(scope="module")
def mixed():
    """An untrained model, sharpened, on tasks of several shapes."""
    tasks = {"addition/scratchpad": 1.0, "needle-32": 1.0, "induction": 1.0, "modular": 1.0}
    data = load(DataConfig(source="abilities", tasks=tasks, eval_items=60))
    config = RunConfig(tokens=10**5, model=ModelConfig(width=16, layers=1, heads=2), data=data.config)
    params = train.initial_state(config, data.vocab_size).params
    params["head"]["kernel"] = params["head"]["kernel"] * 30
    return params, config, data


def test_columns_without_targets_change_nothing(mixed):
    params, config, data = mixed
    test = data.ability_sets()["modular"]
    nats, right, first = evaluate.score(
        params, config, data.vocab_size, test.inputs_NxT, test.targets_NxT, first=True
    )
    logits = decoder.apply(params, jnp.asarray(test.inputs_NxT), config.model, data.vocab_size)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    at = (test.targets_NxT >= 0).argmax(1)
    np.testing.assert_allclose(first, log_p[np.arange(60), at], atol=1e-4)
    gold = log_p[np.arange(60), at, test.targets_NxT[np.arange(60), at]]
    np.testing.assert_allclose(nats[np.arange(60), at], -gold, atol=1e-4)
    assert right.shape == nats.shape == test.targets_NxT.shape


def test_every_item_keeps_its_gold_log_probability_and_choices(mixed):
    params, config, data = mixed
    measured = evaluate.everything(params, config, data)
    assert [one.task for one in measured.items] == list(data.ability_sets())
    for one in measured.items:
        rows = {row["metric"]: row for row in measured.rows if row["task"] == one.task}
        assert rows["gold_nats"]["score"] == pytest.approx(one.nats_N.sum() / one.tokens_N.sum())
        assert rows["exact_match"]["correct"] == one.correct_N.sum()
    modular = next(one for one in measured.items if one.task == "modular")
    assert np.exp(modular.choice_log_NxC).sum(1) == pytest.approx(1)
    assert (
        modular.gold_choice_N
        == data.ability_sets()["modular"].targets_NxT.max(
            1, where=data.ability_sets()["modular"].answer_NxT, initial=-1
        )
    ).all()


def test_working_is_decoded_and_the_answer_read_behind_it(mixed, monkeypatch):
    """With writers of known text: right working, wrong working but a right answer, no answer, no end."""
    from lab.evaluation import decode

    params, config, data = mixed
    test = data.ability_sets()["addition/scratchpad"]
    scores = evaluate.measure(params, config, data, test)
    gold = [want[want >= 0][:-1].tolist() for want in test.targets_NxT]
    mark = gold[0][test.scratch_length - 1]

    def write(index):
        right = gold[index]
        wrong_working = [(right[0] + 1) % 10, *right[1:]]
        return [right, wrong_working, right[: test.scratch_length - 1], [*right, 1, 1]][index % 4]

    order = np.argsort([int((want >= 0).argmax()) for want in test.targets_NxT], kind="stable").tolist()
    texts = [write(i) for i in order] + [[]] * (256 - len(order))
    monkeypatch.setattr(decode, "generate", lambda *_, **__: texts)
    found = decode.decode(params, config, data, test, scores)
    kinds = np.arange(60) % 4
    assert found.correct_N.tolist() == (kinds < 2).tolist()
    assert found.parsed_N.tolist() == (kinds < 2).tolist()
    assert (found.edits_N[kinds == 1] == 1).all()
    assert (found.edits_N[kinds == 0] == 0).all()
    assert mark == 32


def test_attention_weights_are_those_of_the_model(mixed):
    """Weights computed beside the model, put through its own values and output, give its own stream."""
    params, config, data = mixed
    tokens = jnp.asarray(data.ability_sets()["induction"].inputs_NxT[:4])
    weights = progress_measures.attention(params, tokens, config.model, data.vocab_size)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    own, (B, T) = params["attention_0"], tokens.shape
    x = params["embed"]["embedding"][tokens]
    normal = x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * params["norm_a_0"]["scale"]
    v = jnp.split(normal @ own["qkv"]["kernel"], 3, axis=-1)[2].reshape(B, T, 2, 8)
    after = x + jnp.einsum("bhts,bshk->bthk", weights[0], v).reshape(B, T, 16) @ own["out"]["kernel"]
    streams = decoder.activations(params, tokens, config.model, data.vocab_size)
    hidden = after / jnp.sqrt((after**2).mean(-1, keepdims=True) + 1e-6) * params["norm_m_0"]["scale"]
    mlp = jax.nn.gelu(hidden @ params["mlp_0"]["up"]["kernel"]) @ params["mlp_0"]["down"]["kernel"]
    np.testing.assert_allclose((after + mlp).reshape(B * T, 16), streams["block_0"], atol=2e-4)


def test_progress_measures_of_every_kind(mixed):
    params, config, data = mixed
    found = {
        (line["task"], line["measure"]): line["value"]
        for line in progress_measures.measure(params, config, data)
    }
    assert {f"place_{i}" for i in range(11)} <= {m for t, m in found if t == "addition/scratchpad"}
    assert {f"depth_{p}" for p in (0, 25, 50, 75, 100)} <= {m for t, m in found if t == "needle-32"}
    assert 0 <= found["induction", "attention"] <= 1
    assert 0 <= found["modular", "fourier_mass"] < 0.2
    places = [found["addition/scratchpad", f"place_{i}"] for i in range(11)]
    scores = evaluate.measure(
        params, config, data, progress_measures.head(data.ability_sets()["addition/scratchpad"], 128)
    )
    assert np.mean(places) == pytest.approx(scores.tokens_right_N.sum() / scores.tokens_N.sum())


def test_source_attention_looks_where_the_answer_stands(mixed, monkeypatch):
    params, config, data = mixed
    test = data.ability_sets()["needle-32"]
    tokens = np.asarray(test.inputs_NxT)
    weights = np.zeros((2, len(tokens), 2, tokens.shape[1], tokens.shape[1]))
    for n, (row, want) in enumerate(zip(tokens, test.targets_NxT, strict=True)):
        write = (want >= 0).argmax()
        source = row.tolist().index(33) + 1  # behind the mark
        assert row[source] == want[write]
        weights[1, n, 0, write, source] = 0.7
    monkeypatch.setattr(progress_measures, "attention", lambda *a: weights)
    assert progress_measures.source_attention(params, config, data, test) == pytest.approx(0.7)
