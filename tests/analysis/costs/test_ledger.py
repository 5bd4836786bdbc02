"""What a store spent: every line is counted once, a trunk's shared, nothing measured that no counter read."""

import json

import pytest

from analysis.costs.carbon import carbon
from analysis.costs.ledger import ledger
from analysis.errors import InputError
from analysis.tables.table import read
from lab.__main__ import main
from sweeps.plan import pricing


def line(step, seconds=0.0, compiled=0.0, **more):
    found = {"attempt": "a", "phase": "train", "step": step, "device_seconds": seconds}
    return found | {"compile_seconds": compiled, "device": "cpu", "runs": 1} | more


def log(store, name, lines, file="costs.jsonl"):
    folder = store.path / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(one) + "\n" for one in lines)
    (folder / file).write_text(text + '{"step": 3, "torn')


def run(store, name, tokens, trunk=None, end="ok", loss=None, **more):
    row = store.run(name, "language", 16, tokens, 0, trunk=trunk, end=end, **more)
    if row is not None:
        row = {key: value for key, value in row.items() if key not in ("device_seconds", "compile_seconds")}
        store.commit(name, row | ({"loss_nats": loss} if loss else {}))


@pytest.fixture
def store(new_store):
    """A trunk with branches at 40 and 80, one that diverged, one that failed, one that never began."""
    steps = 2048
    run(new_store, "short", 50 * steps, "trunk", loss=3.0)
    run(new_store, "long", 100 * steps, "trunk", loss=2.0)
    run(new_store, "again", 100 * steps, "trunk", end="diverged")
    run(new_store, "lone", 10 * steps, end="failed", loss=None)
    run(new_store, "later", 200 * steps, "trunk", end="waiting")
    log(
        new_store,
        "trunk",
        [line(0, compiled=1.0), line(20, 2.0), line(40, 2.0), line(80, 6.0), line(90, 5.0)],
    )
    marks = [{"step": step, "tokens": step * steps, "loss_nats": 3.0, "kind": "branch"} for step in (40, 80)]
    log(new_store, "trunk", marks, "metrics.jsonl")
    log(new_store, "short", [line(40, compiled=0.5), line(50, 1.0), line(50, 0.5, phase="evaluate")])
    log(
        new_store,
        "long",
        [line(80, compiled=0.5), line(100, 2.0), line(80, 0.0), line(100, 2.0, attempt="b")],
    )
    log(new_store, "again", [line(80, 1.0)])
    log(new_store, "lone", [line(5, 3.0)])
    return new_store


def found(store, **options):
    return ledger(read(store.finish()), **options)


def test_a_store_in_which_no_run_is_finished_has_costs_and_no_best_buys(new_store, capsys):
    """Before: `lab report` and `lab energy` of a study in its first minutes ended in a traceback."""
    run(new_store, "first", 10 * 2048, end="waiting")
    log(new_store, "first", [line(5, 3.0)])
    costs = found(new_store)
    assert (costs.points, [one.spent.seconds for one in costs.entries]) == ((), [3.0])
    assert main(["energy", str(new_store.path)]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_every_line_is_counted_once_and_a_trunk_is_shared(store):
    costs = found(store)
    seconds = {one.run_id: one.spent.seconds for one in costs.entries}
    first, second = 1.0 + 2.0 + 2.0, 6.0  # of the trunk: up to 40 for three, up to 80 for two
    assert seconds == pytest.approx(
        {
            "short": 2.0 + first / 3,
            "long": 4.5 + first / 3 + second / 2,
            "again": 1.0 + first / 3 + second / 2,
            "lone": 3.0,
        }
    )
    assert costs.trunks["trunk"].seconds == 5.0, "beyond the last branch: nobody's yet"
    assert costs.total.seconds == pytest.approx(16.0 + 2.0 + 4.5 + 1.0 + 3.0)
    assert [(name, n) for name, (n, _) in costs.by_status().items()] == [
        ("ok", 2),
        ("diverged", 1),
        ("failed", 1),
        ("trunks, not shared yet", 1),
    ]


def test_a_run_answers_for_the_flops_of_the_steps_it_has_a_part_of(store):
    costs = found(store)
    by_id = {one.run_id: one for one in costs.entries}
    exact = by_id["long"].flops / (20 + 40 / 3 + 40 / 2) * 100
    assert exact == pytest.approx(1.08 * 6 * 2048 * 100 * read(store.path).columns["params_total"][0])
    good = [by_id[name] for name in ("short", "long")]
    rate = sum(one.flops for one in good) / sum(one.spent.device_seconds for one in good)
    assert costs.flops_per_s == pytest.approx(rate)
    assert found(store, peak_flops=10 * rate).utilisation == pytest.approx(0.1)


def test_an_estimate_stands_beside_nothing_measured(store):
    costs = found(store, pue=1.5, carbon=carbon("FR"))
    assert costs.measured is None
    assert costs.coverage == 0
    low, middle, high = (one.kwh for one in costs.estimate)
    seconds = costs.total.seconds
    assert low == pytest.approx(1.5 * 3 * seconds / 3.6e6)
    assert high == pytest.approx(1.5 * 25 * seconds / 3.6e6)
    assert middle == pytest.approx((low * high) ** 0.5)
    assert costs.estimate[1].grams == pytest.approx(middle * 56)
    said = costs.to_dict()
    assert said["measured"] is None
    assert said["energy_source"] == "none"
    assert "device-seconds where there are none" in said["estimate"]["basis"]


def test_cpu_seconds_and_cards_are_estimated_apart(store):
    log(store, "lone", [line(5, 3.0, cpu_seconds=7.0), line(6, 2.0, device="NVIDIA H100", cpu_seconds=9.0)])
    spent = next(one.spent for one in found(store).entries if one.run_id == "lone")
    assert (spent.core_seconds, spent.card_seconds) == (7.0, 2.0)
    assert found(store).joules(spent) == pytest.approx(
        (7 * 3 + 2 * 60, 7 * 75**0.5 + 2 * 42000**0.5, 7 * 25 + 2 * 700)
    )
    with pytest.raises(InputError, match="some runs were on processors and some on cards"):
        found(store, watts=(5.0,))


def test_what_counters_read_is_never_mixed_with_the_estimate(store):
    log(store, "lone", [line(5, 3.0, energy_joules=60.0, energy_source="rapl"), line(6, 1.0)])
    costs = found(store)
    assert costs.measured.kwh == 60 / 3.6e6
    assert costs.coverage == pytest.approx(3 / costs.total.seconds)
    assert costs.joules(costs.total)[0] == pytest.approx(3 * costs.total.seconds)
    assert costs.basis == "estimate, middle"
    assert costs.to_dict()["energy_source"] == "rapl"


def test_a_point_of_loss_is_priced_along_the_edge(store):
    costs = found(store, watts=(1.0,))
    first, second = costs.points
    spent = {one.run_id: one.spent.seconds for one in costs.entries}
    assert (first.entry.run_id, first.joules_a_point) == ("short", None)
    assert second.joules_a_point == pytest.approx((spent["long"] - spent["short"]) / 100)


def test_a_study_says_what_its_machine_draws(store):
    """`[run] watts` reaches the estimate; --watts comes first, and one that cannot be read is none."""
    runs = read(store.path)
    default = ledger(runs).core_watts
    (store.path / "studies").mkdir(exist_ok=True)
    for name, text, wanted in (
        ("a", "[run]\nwatts = [4, 9]", (4.0, 6.0, 9.0)),
        ("b", "[run]\nwatts = [16, 25]", (4.0, 10.0, 25.0)),
        ("c", "run = 3", (4.0, 10.0, 25.0)),
        ("d", "[run]\nwatts = ['x', true]", (4.0, 10.0, 25.0)),
        ("e", "[run", (4.0, 10.0, 25.0)),
    ):
        (store.path / "studies" / f"{name}.toml").write_text(text)
        assert ledger(runs).core_watts == pytest.approx(wanted), name
    assert "4, 10, 25 W a core" in ledger(runs).how
    assert ledger(runs, watts=(7.0,)).core_watts == (7.0, 7.0, 7.0)
    for name in "abcde":
        (store.path / "studies" / f"{name}.toml").unlink()
    assert ledger(runs).core_watts == default


def test_the_bounds_are_those_of_the_plan():
    from analysis.costs import ledger as ours

    assert (ours.CORE_WATTS, ours.CARD_WATTS) == (pricing.CORE_WATTS, pricing.ACCELERATOR_WATTS)


def test_the_verb_prints_a_store_and_a_table(store, tmp_path, capsys):
    assert main(["energy", str(store.finish()), "--carbon", "FR"]) == 0
    out = capsys.readouterr().out
    for said in ("diverged", "failed", "trunks, not shared yet", "measured: nothing", "not a measurement"):
        assert said in out
    table = tmp_path / "runs.csv"
    table.write_text("N,D,loss,device_seconds,energy_joules\n1e6,1e8,3,10,500\n1e7,1e9,2,100,\n")
    assert main(["energy", str(table), "--watts", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["measured"]["device_kwh"] == pytest.approx(500 / 3.6e6)
    assert said["energy_coverage"] == pytest.approx(10 / 110)
    assert said["estimate"]["low"]["device_kwh"] == pytest.approx(440 / 3.6e6)


def test_a_table_without_costs_and_bad_watts_are_refused(tmp_path, store, capsys):
    table = tmp_path / "runs.csv"
    table.write_text("N,D,loss\n1e6,1e8,3\n")
    assert main(["energy", str(table)]) == 2
    assert "no run has device_seconds" in capsys.readouterr().err
    where = str(store.finish())
    for arguments, said in (
        (["--watts", "5", "3"], "--watts"),
        (["--watts", "-5"], "--watts[0]: -5.0"),
        (["--peak-flops", "0"], "--peak-flops"),
        (["--hours", "3"], "--hours"),
        (["--where", "grid=none"], "no row where grid"),
    ):
        assert main(["energy", where, *arguments]) == 2
        assert said in capsys.readouterr().err
