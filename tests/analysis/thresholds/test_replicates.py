"""Rows of one size: which of them are seeds, which copies, and which other models."""

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.thresholds import detect
from analysis.thresholds.findings import own_seed_sd
from analysis.thresholds.scores import build
from benchmarks import planted
from benchmarks.planted import Plan


def table(seeds=3):
    return pandas.DataFrame(planted.hinge(Plan(seeds=seeds), np.random.default_rng(0)))


def codes(cells):
    return [note.code for note in cells.notes]


@pytest.mark.parametrize("seeded", [True, False])
def test_an_evaluation_run_again_is_no_seed(seeded):
    """Four sizes, three equal rows each: with a seed column or without."""
    rows = [
        {
            "task": "t",
            "metric": "exact_match",
            "params": n,
            "seed": j,
            "correct": c,
            "items": 1000,
            "chance": 0.0,
        }
        for n, c in zip((1e4, 1e5, 1e6, 1e7), (3, 10, 30, 700), strict=True)
        for j in range(3)
    ]
    frame = pandas.DataFrame(rows)
    one = detect(frame if seeded else frame.drop(columns="seed"), draws=99)[0]
    assert (one.verdict, one.seeds, one.seed_sd.source) == ("undecided", 1, "unknown")
    assert "duplicates" in [note.code for note in one.warnings]


def test_seeds_that_agree_now_and_then_are_no_copies():
    rng = np.random.default_rng(0)
    for items in (20, 1000):
        rows = planted.smooth(Plan(items=items, seed_sd=0.0), rng)
        assert "duplicates" not in codes(build(pandas.DataFrame(rows), "params")[0])


def test_a_blank_seed_leaves_the_other_seeds_what_they_are():
    frame = table()
    frame["seed"] = frame["seed"].astype(object)
    frame.loc[4, "seed"] = None
    cells, whole = build(frame, "params")[0], build(table(), "params")[0]
    assert "seed_blank" in codes(cells)
    assert own_seed_sd(cells) == own_seed_sd(whole)


def test_other_models_of_a_size_are_no_seeds():
    frame = table()
    frame["model"] = frame.pop("seed").map({0: "a", 1: "b", 2: "c"})
    cells = build(frame, "params")[0]
    assert own_seed_sd(cells)[0] is None
    assert cells.seeds.max() == 1
    assert "other_models" in codes(cells)
    named = build(frame.assign(seed=0), "params")[0]  # each model's own seed 0
    assert own_seed_sd(named)[0] is None


def test_a_model_with_seeds_is_read_without_the_others():
    frame = pandas.concat(
        [table().assign(model="a"), table(1).assign(model="b", seed=np.nan)], ignore_index=True
    )
    cells = build(frame, "params")[0]
    assert cells.size.size == 24
    assert own_seed_sd(cells)[1] == 16
    assert "8 of other models" in next(note.text for note in cells.notes if note.code == "other_models")


def test_names_that_hold_the_seed_are_seeds_where_a_column_says_so():
    frame = table()
    frame["model"] = "size-" + frame["params"].astype(str) + "-seed" + frame["seed"].astype(str)
    assert own_seed_sd(build(frame, "params")[0])[1] == 16


@pytest.mark.parametrize("named", [True, False])
def test_corpora_of_one_size_and_budget_keep_their_own_losses(named):
    rows = [
        {"task": "t", "metric": "acc", "params": n, "tokens": 1e9, "corpus": corpus, "chance": 0.0}
        | {"loss_nats": 4 - 0.3 * i + off, "items": 1000, "correct": round(1000 * expit(0.5 * i - off))}
        for corpus, off in (("x", 0.0), ("y", 0.41), ("z", 0.82))
        for i, n in enumerate(np.geomspace(1e7, 1e10, 6))
    ]
    frame = pandas.DataFrame(rows)
    cells = build(frame if named else frame.drop(columns="corpus"), "loss_nats")[0]
    assert cells.x.size == 18
    assert cells.seeds.max() == 1
