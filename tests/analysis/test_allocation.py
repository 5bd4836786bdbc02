"""Allocation under limits against published numbers, closed forms and a general optimiser."""

import json

import numpy as np
import pytest

import analysis as sl
from analysis.allocations.limits import Limits, Search, plan, size_limit
from analysis.laws.named import C4_BASE
from analysis.verbs import fit as verbs

CHINCHILLA = sl.LAWS["chinchilla"]
EPOCH = {"E": 1.817218, "A": 477.826, "B": 2143.42, "alpha": 0.347311, "beta": 0.367172}


@pytest.fixture(scope="module")
def table():
    flops = np.repeat(np.geomspace(1e18, 1e21, 6), 7)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.2, 5, 7), 6)
    out = {"params": params, "tokens": flops / 6 / params}
    noise = 0.002 * np.random.default_rng(0).standard_normal(42)
    return {**out, "loss": CHINCHILLA.loss(EPOCH, out) * np.exp(noise)}


@pytest.fixture(scope="module")
def fitted(table):
    return sl.fit(table, bootstrap=100)


def test_the_published_allocation_with_25_billion_unique_tokens():
    """arXiv 2305.16264: 7.022e9 params, 237.34e9 tokens, from a grid of 500; the optimum lies beside it."""
    search = Search(CHINCHILLA, Limits(unique_tokens=25e9))
    budget = np.log(1e22)
    at, where = search.best(C4_BASE, budget)
    assert where == 0
    assert np.exp(at) == pytest.approx(7.0262e9, rel=1e-4)
    assert search.tokens(at, budget) == pytest.approx(237.21e9, rel=1e-4)
    assert search.loss(C4_BASE, at, budget) == pytest.approx(2.2221292749, abs=1e-9)


def test_the_published_saving_of_serving_a_smaller_model():
    """arXiv 2401.00448: for Chinchilla 13B quality and 2e12 tokens to serve, 7B on 2.1 x the data."""
    law = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.336, "beta": 0.283}
    free, served = Search(CHINCHILLA, Limits()), Search(CHINCHILLA, Limits(inference_tokens=2e12))
    budgets = np.linspace(45, 60, 15001)
    at, _ = free.best({name: np.full(15001, value) for name, value in law.items()}, budgets)
    budget = float(np.interp(np.log(13e9), at, budgets))
    tokens = np.exp(budget) / 6 / 13e9
    loss = float(CHINCHILLA.loss(law, {"params": 13e9, "tokens": tokens}))
    best = float(served.budget(law, np.log(loss), budget))
    n, _ = served.best(law, best)
    naive = np.exp(budget) + 2 * 13e9 * 2e12
    assert np.exp(n) == pytest.approx(7e9, rel=0.01)
    assert served.tokens(n, best) / tokens == pytest.approx(2.1, abs=0.1)
    assert naive - np.exp(best) == pytest.approx(1.7e22, rel=0.01)
    assert 1 - np.exp(best) / naive == pytest.approx(0.17, abs=0.005)


@pytest.mark.parametrize(
    "limits", [Limits(inference_tokens=3e12), Limits(unique_tokens=2e10), Limits(max_params=3e9)]
)
def test_against_a_general_optimiser(fitted, limits):
    """Scanning two hundred thousand sizes finds no better run than the root of the slope does."""
    found = plan(fitted, flops=1e22, limits=limits)
    search = Search(fitted.law, limits)
    sizes = np.linspace(np.log(1e7), np.log(limits.max_params or 1e12), 200_001)
    losses = search.loss(fitted.params, sizes, np.log(1e22))
    assert found.loss <= losses.min() + 1e-12
    assert np.log(found.params) == pytest.approx(sizes[np.argmin(losses)], abs=1e-4)
    spent = 6 * found.params * found.tokens + 2 * found.params * limits.inference_tokens
    assert spent == pytest.approx(1e22, rel=1e-9)
    assert found.train_flops + found.inference_flops == pytest.approx(1e22, rel=1e-9)


def test_limits_that_do_not_bind_change_nothing(fitted):
    free = sl.allocate(fitted, 1e20)
    loose = plan(fitted, flops=1e20, limits=Limits(unique_tokens=1e15, max_params=1e13))
    assert loose.params == pytest.approx(free.params, rel=1e-4)
    assert loose.loss == pytest.approx(free.loss, abs=1e-9)
    assert loose.binding == ()
    assert loose.cost == pytest.approx(0, abs=1e-6)


def test_a_target_loss_is_the_inverse_of_a_budget(fitted):
    for limits in (Limits(), Limits(inference_tokens=1e12, max_params=5e9), Limits(unique_tokens=1e10)):
        there = plan(fitted, flops=1e21, limits=limits)
        back = plan(fitted, loss=there.loss, limits=limits)
        assert back.flops == pytest.approx(1e21, rel=1e-5)
        assert back.intervals["flops"][0] < 1e21 < back.intervals["flops"][1]


def test_each_limit_costs_and_a_tighter_one_costs_more(fitted):
    costs = [plan(fitted, flops=1e22, limits=Limits(max_params=size)).cost for size in (8e9, 4e9, 2e9)]
    assert 0 < costs[0] < costs[1] < costs[2]
    tight = plan(fitted, flops=1e22, limits=Limits(max_params=2e9, why="--memory"))
    assert tight.binding == ("--memory",)
    assert {one.factor for one in tight.deviations} == {0.25, 0.5}
    assert all(one.extra_loss > 0 and 0 < one.extra_flops < 1 for one in tight.deviations)
    for one in tight.deviations:
        # What was wasted on another size: without it the best run is as good.
        less = plan(fitted, flops=tight.flops * (1 - one.extra_flops), limits=tight.limits)
        assert less.loss == pytest.approx(one.loss, rel=1e-8)


def test_memory_and_latency_are_sizes():
    assert size_limit(memory=24e9) == (12e9, "--memory")
    assert size_limit(memory=24e9, latency=0.01, bandwidth=1e12, bytes_per_param=1) == (1e10, "--latency")
    assert size_limit() == (None, "--max-params")
    with pytest.raises(sl.InputError, match="go together"):
        size_limit(latency=0.01)


def test_laws_without_a_term_for_repetition_say_so(table):
    kaplan = sl.fit(table, law="kaplan", bootstrap=0)
    found = plan(kaplan, flops=1e22, limits=Limits(unique_tokens=1e10))
    # Repeats are worth something, and less than as many fresh tokens.
    assert found.tokens > 1.01e10
    assert found.loss > found.free["loss"]
    assert kaplan.predict(found.params, 1e10) > found.loss > kaplan.predict(found.params, found.tokens)
    assert any(note.code == "repetition_assumed" for note in found.warnings)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "--flops"),
        (["--flops", "1e20", "--loss", "2"], "either --flops"),
        (["--flops", "-1"], "positive"),
        (["--loss", "1.0"], "not reached"),
        (["--flops", "1e20", "--memory", "-5"], "--memory"),
        (["--flops", "1e20", "--latency", "0.1"], "--bandwidth"),
        (["--flops", "1e20", "--unique-tokens", "0"], "--unique-tokens"),
        (["--flops", "1e12", "--inference-tokens", "1e13"], "whole budget"),
    ],
)
def test_bad_limits_are_one_line(table, tmp_path, options, text):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({name: values.tolist() for name, values in table.items()}))
    with pytest.raises(sl.InputError, match=text):
        verbs.allocate([str(path), "--law", "chinchilla", "--bootstrap", "0", *options])


def test_the_verb_prints_the_plan(table, tmp_path, capsys):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({name: values.tolist() for name, values in table.items()}))
    asked = [
        str(path),
        "--loss",
        "2.2",
        "--inference-tokens",
        "2e12",
        "--law",
        "chinchilla",
        "--bootstrap",
        "30",
    ]
    assert verbs.allocate([*asked, "--json"]) == 0
    out = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert out["loss"] == pytest.approx(2.2, abs=1e-6)
    assert out["naive_flops"] > out["flops"]
    assert verbs.allocate(asked) == 0
    assert "train and serve" in capsys.readouterr().out
