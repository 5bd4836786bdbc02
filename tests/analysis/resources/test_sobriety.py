"""Frontiers by hand: who is beaten by nobody, where the knee is, and which model is good enough."""

import json

import pytest

from analysis.costs.ledger import ledger
from analysis.errors import InputError
from analysis.plots import sobriety as drawn
from analysis.resources.sobriety import sobriety
from analysis.tables.table import read
from lab.__main__ import main

# params, loss, device-seconds; the last but one is beaten by the one before it at everything.
ROWS = [(1e3, 3.0, 1), (2e3, 2.2, 2), (4e3, 2.04, 4), (8e3, 2.01, 8), (9e3, 2.03, 9), (1.6e4, 2.0, 16)]


@pytest.fixture
def store(new_store):
    """A run each; the larger have an ability, and one of other data is not compared."""
    for index, (params, loss, seconds) in enumerate(ROWS):
        row = new_store.run(f"r{index}", "language", 16, 250_000 + index, 0)
        row |= {"params_total": params, "params_embedding": 0, "loss_nats": loss}
        row |= {"device_seconds": seconds, "compile_seconds": 0.0, "flops_exact": 100.0 * seconds}
        about = {"task": "copy", "metric": "exact_match", "items": 200, "chance": 0.25, "params": params}
        luck = {**about, "task": "coin", "score": 0.25 + 0.01 * (index == 0)}
        new_store.commit(f"r{index}", row, [{**about, "score": (0.3, 0.3, 0.5, 0.9, 0.9, 0.91)[index]}, luck])
    row = new_store.run("other", "abilities", 16, 1000, 0, source="tasks") | {"loss_nats": 0.1}
    new_store.commit("other", row)
    return new_store.finish()


def found(store, **options):
    runs = read(store)
    return sobriety(runs, ledger(runs, watts=(10.0,)), **options)


def test_the_frontier_holds_those_that_none_beats(store):
    result = found(store)
    assert result.source == "python-docs"
    for front in result.fronts:
        assert [run.run_id for run in front.runs] == ["r0", "r1", "r2", "r3", "r5"], front.resource
        # shares of the way in log resource less shares of the gain: 1/4 - 0.8 at r1, 2/4 - 0.96 at r2
        assert front.knee.run_id == "r1", front.resource
    takes = result.runs[1].takes
    assert takes == pytest.approx({"joules": 20.0, "flops": 200.0, "bytes": 8000.0, "serving": 4000.0})


def test_a_straight_frontier_has_no_knee(store, tmp_path):
    table = tmp_path / "runs.csv"
    rows = [f"{2**k * 1000},{1e6},{3 - 0.1 * k},{2**k}" for k in range(6)]
    table.write_text("\n".join(["params,tokens,loss,device_seconds", *rows]))
    assert [front.knee for front in found(table).fronts] == [None] * 4


def test_the_smallest_model_that_is_good_enough(store):
    loss, copy = found(store, percent=2.5).enough
    assert (loss.run.run_id, loss.best_run.run_id) == ("r2", "r5")
    assert loss.shares == pytest.approx({"joules": 0.25, "flops": 0.25, "bytes": 0.25, "serving": 0.25})
    assert str(loss).startswith(
        "the smallest model within 2.5 % of the best loss (2) has 4,000 params and reaches 2.04"
    )
    assert copy.what == "copy (exact_match) above chance", "and the coin is luck"
    assert copy.run.run_id == "r3"
    assert copy.value == pytest.approx(0.65)
    assert "no smaller model" in str(found(store, percent=0.01).enough[0])


def test_abilities_have_frontiers_of_their_own(store):
    """By hand: r0 .05, r2 .25, r3 .65 and r5 .66 above chance; r1 is no better than r0, r4 than r3."""
    result = found(store)
    assert {front.what for front in result.ability_fronts} == {"copy (exact_match) above chance"}
    for front in result.ability_fronts:
        assert [run.run_id for run in front.runs] == ["r0", "r2", "r3", "r5"], front.resource
        assert front.values == pytest.approx((0.05, 0.25, 0.65, 0.66))
        assert front.knee.run_id == "r3", "3/4 of the way gives .6 of .61"
    said = result.to_dict()["ability_fronts"]
    assert len(said) == 4
    assert said[0]["runs"][1]["value"] == pytest.approx(0.25)


def test_the_n_grams_of_a_store_are_the_baseline_and_on_its_frontier(store):
    folder = store / "baselines"
    folder.mkdir()
    one = {"source": "python-docs", "order": 5, "tokens": 1e6, "ngrams": 100, "bytes": 6000, "loss_nats": 2.1}
    (folder / "abc.json").write_text(json.dumps({**one, "cpu_seconds": 1.5}))
    (folder / "other.json").write_text(json.dumps({**one, "source": "other", "cpu_seconds": 1.0}))
    (folder / "torn.json").write_text('{"source": ')
    (folder / "odd.json").write_text(json.dumps({**one, "cpu_seconds": -1}))
    result = found(store)
    assert (result.grams.run_id, result.baseline, result.beaten) == ("5-grams", 2.1, 2)
    on = {front.resource: [run.run_id for run in front.runs] for front in result.fronts}
    assert on["joules"] == ["r0", "5-grams", "r2", "r3", "r5"], "15 J at 10 W: r1 takes 20 for a loss of 2.2"
    assert on["flops"] == ["r0", "r1", "r2", "r3", "r5"], "nobody counts theirs"
    json.dumps(result.to_dict(), allow_nan=False)
    assert "5-grams (crosses)" in drawn(result).caption
    assert found(store, baseline=2.02).grams is None, "what the user says comes first"


def test_a_baseline_is_what_must_be_beaten(store):
    assert found(store, baseline=2.02).beaten == 4
    for options, said in (({"percent": 0}, "--within"), ({"baseline": -1.0}, "--baseline")):
        with pytest.raises(InputError, match=said):
            found(store, **options)


def test_the_figure_and_the_verb(store, capsys):
    plot = drawn(found(store, baseline=2.1))
    assert plot.data["joules_frontier"].sum() == 5
    assert "estimate, not measured" in plot.caption
    assert plot.svg() == drawn(found(store, baseline=2.1)).svg()
    assert main(["energy", str(store), "--frontier", "--watts", "10"]) == 0
    assert "the smallest model within 2 % of the best loss" in capsys.readouterr().out
    assert main(["energy", str(store), "--frontier", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {front["resource"] for front in said["fronts"]} == {"joules", "flops", "bytes", "serving"}
    assert main(["energy", str(store), "--frontier", "--within", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_card_says_who_is_no_better_than_n_grams(store):
    from analysis.report.findings import findings
    from analysis.report.study import gather

    (store / "baselines").mkdir()
    one = {"source": "python-docs", "order": 5, "tokens": 1e6, "ngrams": 100, "bytes": 6000, "loss_nats": 2.1}
    (store / "baselines" / "abc.json").write_text(json.dumps({**one, "cpu_seconds": 1.5}))
    page = findings(gather(read(store), draws=0, abilities=False))
    assert (
        "2 of 6 runs are no better than 5-grams, a model without a network: 2.1 nats from 1M tokens." in page
    )
