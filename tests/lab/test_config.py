import random
from dataclasses import asdict, replace

import pytest

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig
from lab.errors import InputError
from lab.strict import build

SOURCE = {"source": "synthetic", "context": 32}
RUN = RunConfig(tokens=10_000, data=DataConfig(**SOURCE))


def test_the_id_is_fixed():
    # a golden value: whoever changes it makes every finished run of every user a stranger
    assert RUN.run_id("digest") == "de622fda2ca7"


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": 20_000},
        {"seed": 1},
        {"batch": 8},
        {"precision": "bfloat16"},
        {"model": ModelConfig(width=128)},
        {"model": ModelConfig(qk_norm=False)},
        {"optimizer": OptimizerConfig(beta2=0.9)},
    ],
)
def test_what_changes_the_result_changes_the_id(change):
    assert replace(RUN, **change).run_id("digest") != RUN.run_id("digest")


def test_what_does_not_change_the_result_leaves_the_id():
    assert RUN.steps == 20
    assert replace(RUN, tokens=10_100).run_id("digest") == RUN.run_id("digest"), (
        "the same number of whole batches"
    )
    assert RUN.run_id("digest") != RUN.run_id("other data")


def test_all_errors_of_a_file_at_once_with_the_nearest_key():
    data = {
        "tokens": "many",
        "model": {"widht": 64, "layers": 2.5, "mlp": "glu"},
        "optimizer": {"learning_rate": True},
        "data": SOURCE,
        "bacth": 3,
    }
    with pytest.raises(InputError) as caught:
        build(RunConfig, data, "study.toml")
    assert set(caught.value.problems) == {
        "study.toml: bacth: no such key; did you mean batch?",
        "study.toml: tokens: should be a whole number, is 'many'",
        "study.toml: model.widht: no such key; did you mean width?",
        "study.toml: model.layers: should be a whole number, is 2.5",
        "study.toml: model.mlp: should be one of gelu, gated, is 'glu'",
        "study.toml: optimizer.learning_rate: should be a number, is True",
    }


@pytest.mark.parametrize(
    ("table", "key", "value", "words"),
    [
        ("model", "heads", 5, "divide width 64"),
        ("model", "heads", 64, "even head width"),
        ("model", "layers", 0, "at least 1"),
        ("optimizer", "beta1", 1.0, "at most 0.99999"),
        ("optimizer", "cooldown", 1.5, "at most 1.0"),
        ("optimizer", "clip", 0, "at least 1e-06"),
        ("data", "source", "no/such/file.txt", "no/such/file.txt"),
    ],
)
def test_values_that_cannot_be_name_their_key(table, key, value, words):
    data = {"tokens": 10_000, "data": dict(SOURCE)}
    data.setdefault(table, {})[key] = value
    with pytest.raises(InputError) as caught:
        build(RunConfig, data, "study.toml")
    (line,) = caught.value.problems
    assert line.startswith(f"study.toml: {table}.{key}:")
    assert words in line


def problems_of(data) -> tuple[str, ...]:
    try:
        build(RunConfig, data, "study.toml")
    except InputError as error:
        return error.problems
    return ()


def test_three_hundred_mutated_files_give_lines_that_name_a_key():
    rng = random.Random(0)
    whole = asdict(RUN)
    refused = 0
    for _ in range(300):
        data = {key: dict(value) if isinstance(value, dict) else value for key, value in whole.items()}
        table = rng.choice([data, data["model"], data["optimizer"], data["data"]])
        key = rng.choice(list(table))
        if rng.random() < 0.3:
            table[key + rng.choice("xyz")] = table.pop(key)
        else:
            table[key] = rng.choice(
                [None, -1, 0, 1e400, float("nan"), "text", [], {}, [1], {"a": 1}, 2.5, True]
            )
        problems = problems_of(data)
        refused += bool(problems)
        assert all(line.startswith("study.toml: ") for line in problems)
        assert not problems or any(key in line for line in problems)
    assert refused > 150


def test_a_run_survives_the_way_through_plain_data():
    assert build(RunConfig, asdict(RUN), "spec.json") == RUN
