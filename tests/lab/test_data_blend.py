"""Mixtures of texts: each has its share of any stretch of rows, in epochs and an order of its own."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lab.data import DataConfig, blend, load
from lab.errors import InputError


@pytest.fixture
def places(tmp_path):
    """Two texts that share no letter."""
    for name, letters in (("web", "abcdefgh"), ("code", "ijklmnop")):
        draws = np.random.default_rng(len(name))
        texts = ["".join(draws.choice(list(letters), 30)) for _ in range(200)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return {name: str(tmp_path / f"{name}.jsonl") for name in ("web", "code")}


def is_code(inputs_NxT):
    return ((inputs_NxT >= ord("i")) & (inputs_NxT <= ord("p"))).any(axis=1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_each_text_has_its_share_of_the_rows_and_its_own_epochs(places, share):
    config = DataConfig(sources=places, rates={"web": 1 - share, "code": share}, context=16)
    data = load(config)
    rows = 3 * blend.BLOCK
    inputs, _ = data.batches(0, 1, rows)
    code = is_code(inputs[0])
    for end in (blend.BLOCK, 2 * blend.BLOCK, rows):
        assert abs(code[:end].sum() - share * end) <= 1
    thousands = code[: rows // 1000 * 1000].reshape(-1, 1000).mean(1)
    assert np.abs(thousands - share).max() < 5 * np.sqrt(share * (1 - share) / 1000)  # no clumps
    alone = load(DataConfig(places["code"], context=16))
    taken = inputs[0][code]
    np.testing.assert_array_equal(taken, alone.batches(0, 1, len(taken))[0][0])
    for step in (7, 0, 2000):  # a function of the step
        np.testing.assert_array_equal(
            data.batches(step, 2, 8)[0].reshape(16, -1), inputs[0][8 * step : 8 * step + 16]
        )


def test_the_validation_set_is_the_same_for_all_rates(places):
    sets = [
        load(DataConfig(sources=places, rates={"web": web, "code": 1}, context=16, val_windows=20))
        for web in (0.0, 1.0, 5.0)
    ]
    assert len({data.digest for data in sets}) == 3
    for data in sets:
        np.testing.assert_array_equal(data.fixed_validation.inputs_WxT, sets[0].fixed_validation.inputs_WxT)
        assert {name: len(held.bytes_W) for name, held in data.source_validation.items()} == {
            "web": 10,
            "code": 10,
        }
    assert is_code(sets[0].batches(0, 1, 500)[0][0]).all()  # a rate of 0
    assert sets[0].config.shares == {"web": 0.0, "code": 1.0}


def test_rates_are_in_any_unit_and_one_vocabulary_is_learned_of_all(places):
    one = load(DataConfig(sources=places, rates={"web": 3, "code": 1}, context=16, tokenizer="bpe:300"))
    assert one.vocab_size == 302
    assert one.config.shares == {"web": 0.75, "code": 0.25}
    letters = {one.tokenizer.decode([i]) for i in range(256, 300)}
    assert any(set(text) <= set("abcdefgh") for text in letters)
    assert any(set(text) <= set("ijklmnop") for text in letters)
    other = load(replace(one.config, rates={"web": 1, "code": 1}))
    assert other.tokenizer.digest == one.tokenizer.digest


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rates": {"wed": 1}}, r"rates\.wed: no such source; did you mean web\?"),
        ({"rates": {"web": 1, "code": 1e-5}}, r"rates\.code: should be 0 or at least 0\.001 of all rates"),
        ({"rates": {"web": 0, "code": 0}}, r"rates\.web: should be 0 or at least"),
        ({"sources": {"web": "nowhere.txt", "b": "python-docs"}}, r"sources\.web: 'nowhere\.txt' is neither"),
        ({"sources": {"a/b": "python-docs", "c": "python-code"}}, r"sources\.a/b: should be letters"),
        ({"sources": {"web": "python-docs"}}, "sources: should be two or more"),
        ({"sources": {}, "rates": {"web": 1}}, "rates: are of `sources`, and there are none"),
        ({"tasks": {"copy": 1, "text": 1}}, "source 'mixture' cannot be mixed with tasks"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused_in_a_line(places, change, problem):
    with pytest.raises(InputError, match=problem):
        DataConfig(**{"sources": places, "context": 16, **change})
