"""Published laws against their papers' own numbers, and their way into a run."""

from dataclasses import replace
from math import log

import pytest

from lab.config import OptimizerConfig, RunConfig
from lab.data import DataConfig
from lab.errors import InputError
from lab.strict import build
from lab.training import recipes


def model(matrices=0.0, vectors=0.0, head=0.0, layers=1, width=1, context=1):
    return recipes.Counts(matrices, vectors, head, layers, width, context)


def test_step_law_at_its_largest_run():
    # 2503.04715: 1 B parameters, 100 B tokens
    one = model(matrices=0.9e9, vectors=0.1e9, head=5e8)
    assert recipes.learning_rate("step", one, 1e11) == pytest.approx(
        1.79 * 10 ** (-0.713 * 9 + 0.307 * 11), rel=1e-9
    )
    assert recipes.learning_rate("step", one, 1e11) == pytest.approx(1.63e-3, rel=0.01)
    assert recipes.batch_tokens("step", one, 1e11) == pytest.approx(1.11e6, rel=0.01)


def test_porian_at_its_reference_size():
    one = model(matrices=100e6, head=8e6)
    assert recipes.learning_rate("porian", one, 1e9) == pytest.approx(0.0047)
    assert recipes.batch_tokens("porian", one, 1e9) == pytest.approx(160 * 2048)
    eighth = model(matrices=13.5e6)
    assert recipes.learning_rate("porian", eighth, 1e9) == pytest.approx(0.0094)
    assert recipes.batch_tokens("porian", eighth, 1e9) == pytest.approx(40 * 2048)


def test_deepseek_at_the_7b_model():
    # table 2 of 2401.02954: 7 B (30 layers, width 4096), 2 T tokens, batch 2304 x 4096, rate 4.2e-4
    seven = model(matrices=30 * 12 * 4096**2, layers=30, width=4096, context=4096)
    assert seven.flops_per_token == pytest.approx(72 * 30 * 4096**2 + 12 * 30 * 4096 * 4096)
    assert recipes.learning_rate("deepseek", seven, 2e12) == pytest.approx(4.2e-4, rel=0.1)
    assert recipes.batch_tokens("deepseek", seven, 2e12) == pytest.approx(2304 * 4096, rel=0.1)


def test_kaplan_falls_with_the_logarithm():
    assert recipes.learning_rate("kaplan", model(matrices=1e6), 1) == pytest.approx(
        0.003239 - 0.0001395 * log(1e6)
    )
    with pytest.raises(InputError, match="kaplan gives no rate above 0"):
        recipes.learning_rate("kaplan", model(matrices=1e11), 1)


def test_at_small_sizes_batches_agree_and_rates_do_not():
    # the reason to fit one's own: 1e5 parameters, 2e6 tokens
    small = model(matrices=98_304, layers=2, width=64, context=128)
    batches = [recipes.batch_tokens(law, small, 2e6) for law in ("step", "porian", "deepseek")]
    assert max(batches) / min(batches) < 1.5
    rates = [recipes.learning_rate(law, small, 2e6) for law in ("step", "porian", "deepseek", "kaplan")]
    assert max(rates) / min(rates) > 20


def test_an_unknown_law_is_one_line_with_the_nearest():
    with pytest.raises(InputError, match="no law 'porrian'; did you mean porian"):
        recipes.learning_rate("porrian", model(), 1)
    with pytest.raises(InputError, match="no law 'kaplan'"):
        recipes.batch_tokens("kaplan", model(), 1)


def test_a_law_becomes_a_number_before_the_id(synthetic, tiny):
    by_law = replace(tiny, optimizer=OptimizerConfig(learning_rate_law="porian", batch_law="step"))
    with pytest.raises(ValueError, match="laws have to be resolved"):
        by_law.run_id("digest")
    got = recipes.resolve(by_law, synthetic.vocab_size)
    params = recipes.counts(tiny, synthetic.vocab_size)
    assert got.optimizer.learning_rate == recipes.learning_rate("porian", params, tiny.tokens)
    assert got.batch == round(0.58 * tiny.tokens**0.571 / 32)
    by_number = replace(
        tiny,
        batch=got.batch,
        optimizer=OptimizerConfig(learning_rate=recipes.learning_rate("porian", params, tiny.tokens)),
    )
    assert got.run_id("digest") == by_number.run_id("digest")
    assert recipes.resolve(tiny, synthetic.vocab_size) is tiny


def test_counts_are_those_of_the_shapes(synthetic, tiny):
    params = recipes.counts(tiny, synthetic.vocab_size)
    assert params.matrices == tiny.model.layers * 12 * 16 * 16
    assert params.head == 16 * synthetic.vocab_size


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            {"learning_rate_law": "porian", "learning_rate": 0.01},
            "optimizer.learning_rate_law: would replace learning_rate, which is given too; give one of them",
        ),
        (
            {"learning_rate_law": "stepp"},
            "optimizer.learning_rate_law: should be one of step, porian, deepseek, kaplan, is 'stepp'",
        ),
        (
            {"decay_timescale": 0.1, "weight_decay": 0.1},
            "optimizer.decay_timescale: would replace weight_decay, which is given too; give one of them",
        ),
        ({"decay_timescale": 0}, "optimizer.decay_timescale: should be at least 1e-06, is 0.0"),
        ({"algorithm": "moun"}, "optimizer.algorithm: should be one of adamw, muon, is 'moun'"),
    ],
)
def test_contradictions_and_misspellings_are_one_line(table, line):
    data = {"tokens": 10_000, "data": {"source": "synthetic", "context": 32}, "optimizer": table}
    with pytest.raises(InputError) as caught:
        build(RunConfig, data, "study.toml")
    assert caught.value.problems == (f"study.toml: {line}",)


def test_the_decay_timescale_is_a_part_of_the_horizon():
    run = RunConfig(
        tokens=100 * 16 * 32,
        data=DataConfig(source="synthetic", context=32),
        optimizer=OptimizerConfig(learning_rate=0.01, decay_timescale=0.5),
    )
    assert run.steps == 100
    assert run.weight_decay == pytest.approx(1 / (0.01 * 0.5 * 100))  # forgotten over 50 steps at the peak
    same = replace(run, optimizer=OptimizerConfig(learning_rate=0.01, weight_decay=run.weight_decay))
    assert same.run_id("d") == run.run_id("d"), "the id holds the decay, however it was given"
    longer = replace(run, tokens=2 * run.tokens)
    assert longer.weight_decay == pytest.approx(run.weight_decay / 2)
    assert longer.trunk_id("d") != run.trunk_id("d"), "another decay cannot share a trunk"
