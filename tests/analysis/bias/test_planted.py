"""Planted associations whose truth is known: probabilities written into the items of made-up runs."""

import json

import numpy as np
import pandas
import pytest

from analysis import read
from analysis.bias.planted import associations, rate
from analysis.errors import InputError
from lab.__main__ import main

# params -> (probability, part of items of which it is the likeliest) of each seed; 70 % planted
TRUTH = {
    200: [(0.50, 0.50), (0.51, 0.52), (0.49, 0.51)],
    2000: [(0.60, 0.9), (0.61, 0.92), (0.62, 0.91)],
    20000: [(0.69, 1.0), (0.70, 0.99), (0.71, 1.0)],
    200000: [(0.80, 1.0), (0.81, 1.0), (0.82, 1.0)],
}


@pytest.fixture
def store(tmp_path):
    for params, seeds in TRUTH.items():
        for seed, (probability, likeliest) in enumerate(seeds):
            run_id = f"r{params}s{seed}"
            folder = tmp_path / "runs" / run_id
            folder.mkdir(parents=True)
            row = {"run_id": run_id, "loss_nats": 1.0, "params_total": params, "params_embedding": 0}
            row |= {"tokens": 1e6, "seed": seed, "status": "ok", "source": "abilities"}
            score = {"task": "association", "metric": "exact_match", "score": likeliest, "items": 100}
            (folder / "result.json").write_text(
                json.dumps({"row": row, "abilities": [{**score, "chance": 0.5}]})
            )
            spread = (
                np.array([0.9, 1.1] * 50) * probability
            )  # the mean is the probability, not its logarithm's
            items = {"task": ["association"] * 100, "factors": ["rank=3 planted=70"] * 100}
            items |= {"gold_nats": -np.log(spread), "correct": np.arange(100) < round(100 * likeliest)}
            pandas.DataFrame(items).to_parquet(folder / "items.parquet")
    return tmp_path


def test_sizes_are_called_by_what_they_make_of_it(store):
    (found,) = associations(read(store))
    assert (found.share, found.tokens) == (pytest.approx(0.7), 1e6)
    assert [size.params for size in found.sizes] == list(TRUTH)
    assert [size.probability.verdict for size in found.sizes] == ["dampens", "dampens", "copies", "amplifies"]
    assert [size.likeliest.verdict for size in found.sizes] == [
        "dampens",
        "amplifies",
        "amplifies",
        "amplifies",
    ]
    first = found.sizes[0].probability
    assert first.mean == pytest.approx(0.5, abs=1e-6)
    # t of two degrees of freedom is 4.303; three seeds .01 apart have a standard error of .01 / sqrt(3)
    assert first.high - first.mean == pytest.approx(4.3027 * 0.01 / np.sqrt(3), rel=1e-3)
    said = str(found)
    assert "dampen it from 200 to 2000 params, copy it at 2e+04 params, amplify it at 2e+05 params" in said


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0.7], "cannot tell"), ([0.5, 0.9], "cannot tell"), ([0.7, 0.7], "copies"), ([0.6, 0.601], "dampens")],
)
def test_one_seed_or_scattered_ones_tell_nothing(values, verdict):
    found = rate(np.array(values), 0.7)
    assert found.verdict == verdict
    assert 0 <= found.low <= found.high <= 1


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of 2,000 draws of four seeds; five standard errors of a binomial are 2.4 %."""
    draws = np.random.default_rng(0).normal(0.7, 0.03, (2000, 4))
    held = [found.low <= 0.7 <= found.high for found in (rate(row, 0.7) for row in draws)]
    assert abs(np.mean(held) - 0.95) < 0.024


def test_the_verb_the_figure_and_the_card(store, capsys):
    assert main(["bias", str(store), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["associations"]
    assert len(found["sizes"]) == 4
    assert main(["bias", str(store)]) == 0
    assert "70% planted" in capsys.readouterr().out

    from analysis.plots import association
    from analysis.report.findings import findings
    from analysis.report.study import gather

    plot = association(associations(read(store))[0])
    assert len(plot.data) == 24
    assert plot.svg() == association(associations(read(store))[0]).svg()
    assert "A planted association" in findings(gather(read(store), draws=0, abilities=False))


def test_a_store_without_one_is_a_line(new_store, capsys):
    new_store.language(widths=(16,), seeds=(0,))
    store = new_store.finish()
    with pytest.raises(InputError, match="no run has a planted association"):
        associations(read(store))
    assert main(["bias", str(store)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
