"""`lab run --adaptive`: rounds that rest on each other, killed anywhere and gone on with. Nothing is trained
here: a stand-in for the engine writes the results of a planted law, at a planted speed."""

import json
import tomllib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from analysis.errors import InputError as Unusable
from lab.data import load
from lab.errors import InputError
from lab.machine import speed
from sweeps.plan import cells as planned
from sweeps.plan import next_runs, pricing
from sweeps.store.remote import opened
from sweeps.study import loader
from sweeps.verbs import adaptive
from sweeps.verbs.adaptive import Aim, adapt
from sweeps.verbs.next_runs import Asked
from tests.sweeps.planted_runs import FLOPS_PER_S, LAW, STUDY, Engine, Killed, few_candidates, of_runs

AIM = Aim("loss", "10x", 60.0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with planted.toml, few candidates, and a machine of which a speed is known."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    few_candidates(monkeypatch)
    (tmp_path / "planted.toml").write_text(STUDY)
    plan = planned.make(loader.load(tmp_path / "planted.toml"), load)
    for program in pricing.programs(plan).values():
        speed.record(program.config, program.vocab, program.flops_per_step / FLOPS_PER_S)
    return tmp_path


@pytest.fixture
def planted_law(monkeypatch):
    """Nothing is fitted, where only the rounds are looked at."""
    monkeypatch.setattr(next_runs, "of_runs", of_runs)


def go(place, store, engine=None, aim: Aim = AIM) -> Engine:
    engine = engine or Engine(store)
    adapt(place / "planted.toml", (), store, aim, engine, lambda _: None)
    return engine


def rounds(store) -> list[dict]:
    names = sorted(
        (store.root / "choices").glob("*.json"), key=lambda path: int(path.stem.rpartition("-")[2])
    )
    return [json.loads(path.read_text()) for path in names]


def test_rounds_rest_on_each_other_and_end_with_the_budget(place, planted_law):
    store = opened(place / "store")
    engine = go(place, store)
    kept = rounds(store)
    assert len(kept) >= 3
    assert kept[0]["choice"] is None
    assert "a first grid" in kept[0]["why"]
    for one in kept[1:-1]:
        assert "these take" in one["why"]
        assert one["choice"]["steps"]
    assert kept[-1]["study"] is None
    assert "stop" in kept[-1]["why"]
    spent = [one["spent"] for one in kept]
    assert spent == sorted(spent)
    assert 0 < spent[-1] <= AIM.budget
    assert set(engine.trained.values()) == {1}
    assert (
        len({one["choice"]["target"] for one in kept[1:] if one.get("choice")}) == 1
    )  # though more is known
    widths = [np.ptp(np.log(one["choice"]["now"])) for one in kept[1:] if one.get("choice")]
    assert all(after < before for before, after in pairwise(widths))
    # the same command again trains nothing, and says the same
    assert not go(place, store).trained
    assert rounds(store) == kept
    # with more budget it goes on
    more = go(place, store, aim=replace(AIM, budget=10 * AIM.budget))
    assert more.trained
    assert not set(more.trained) & set(engine.trained)
    assert rounds(store)[: len(kept) - 1] == kept[:-1]


@pytest.mark.parametrize("budget", [90.0, 240.0])
def test_the_budget_holds_where_programs_are_compiled(place, planted_law, budget):
    """Six seconds for each new shape and three for its first evaluation, as on a small machine; less where
    programs were compiled before."""
    store = opened(place / "store")
    go(place, store, Engine(store, start=6.0, again=0.5), replace(AIM, budget=budget))
    kept = rounds(store)
    assert 0.85 * budget < kept[-1]["spent"] < 1.1 * budget
    assert len(kept) > 3


def test_a_trunk_of_an_earlier_round_is_only_extended(place, planted_law):
    store = opened(place / "store")
    engine = go(place, store, aim=replace(AIM, budget=240.0))
    asked: dict[str, list[tuple[int, ...]]] = {}
    for one in rounds(store)[:-1]:
        for node in planned.make(loader.parse(one["study"], "round"), load).trunks:
            asked.setdefault(node.run_id, []).append(node.branch_steps)
    longer = [
        trunk
        for trunk, marks in asked.items()
        if len(marks) > 1 and all(before[-1] < after[0] for before, after in pairwise(marks))
    ]
    assert longer
    for trunk in longer:
        assert engine.steps[trunk] == asked[trunk][-1][-1]
    # and nothing is left of them at the end
    assert not any(store.run(trunk).steps() for trunk in asked)


def test_a_first_grid_goes_on_until_runs_determine_a_law(place, monkeypatch):
    """A quarter of the budget pays for one cell, and by what is believed no few cells tell the exponent."""

    def law_of_five(runs, expected, *rest):
        known = of_runs(runs, expected, *rest)
        if len(known) >= 5:
            return known
        return replace(known, laws=next_runs.of_prior(expected).laws, scatter=expected.scatter, too_few=True)

    monkeypatch.setattr(next_runs, "of_runs", law_of_five)
    store = opened(place / "store")
    go(place, store, Engine(store, start=1.0), Aim("exponent", "", 30.0))
    kept = rounds(store)
    assert "the grid goes on: 1 run determines no law" in kept[1]["why"]
    assert kept[1]["study"]
    assert kept[-1]["spent"] > 0.5 * 30.0


def test_shapes_cost_what_those_of_the_store_s_other_studies_took(place, planted_law):
    store, raw = opened(place / "store"), tomllib.loads(STUDY.replace("planted", "earlier"))
    plan = planned.make(loader.parse(raw, "earlier"), load)
    assert adaptive.there(store, 1, "planted").new == adaptive.GUESS
    Engine(store, start=3.0)(plan, STUDY.replace("planted", "earlier"))
    assert adaptive.there(store, 1, "planted").new == pytest.approx(4.5)


@pytest.mark.parametrize("name", ["slurm", "ray"])
def test_each_round_goes_to_the_engine_that_was_named(place, planted_law, here, monkeypatch, name):
    """A stand-in for the cluster, told what its workers would be told."""
    launches, workers = [], []

    def run(launch, options, watch, tell, *detach):
        launches.append(launch)
        workers.append(options.workers)
        assert not any(detach)
        store = opened(launch.out)
        Engine(store)(planned.make(loader.load(launch.study), load), launch.study.read_text())
        return 0

    monkeypatch.setattr(f"sweeps.work.engines.{name}.run", run)
    monkeypatch.setattr("sweeps.store.damage.left", lambda *args, **options: [])  # it trains no parameters
    options = ["--adaptive", "--budget", "60s", "--target", "loss", "--engine", name, "--workers", 3]
    done = here("run", place / "planted.toml", "--out", place / "store", *options)
    assert done.returncode == 0, done.stderr
    kept = rounds(opened(place / "store"))
    assert len(launches) == len(kept) - 1 > 1
    assert [launch.study.stem for launch in launches] == [one["study"]["name"] for one in kept[:-1]]
    assert set(workers) == {3}
    assert "stop" in kept[-1]["why"]


def test_a_kill_changes_nothing_of_what_is_chosen(place, planted_law):
    straight = opened(place / "straight")
    count = sum(go(place, straight).trained.values())
    for dies in (0, count - 1):
        broken = opened(place / f"broken{dies}")
        with pytest.raises(Killed):
            go(place, broken, Engine(broken, dies))
        go(place, broken)
        assert rounds(broken) == rounds(straight), dies
        assert straight.names() == broken.names()


@pytest.mark.parametrize(
    ("target", "at", "times"),
    [("loss", "10x", 10), ("loss", "", 10), ("allocation", "3×", 3), ("exponent", "", 1)],
)
def test_multiples_are_of_the_study_s_own_grid(place, target, at, times):
    of = Asked(place / "planted.toml").family(place / "planted.toml")
    most = max(6 * next_runs.params_of(c) * c.steps * c.config.batch_tokens for c in of.plan.cells)
    assert float(adaptive.place(Aim(target, at, 1.0), of)) == pytest.approx(times * most)
    for said in ("1e12", "1e5,1e6"):
        assert adaptive.place(Aim(target, said, 1.0), of) == said


def test_a_round_is_chosen_by_a_fit_of_what_was_trained(place):
    store = opened(place / "store")
    engine = Engine(store)

    def first(plan, text):
        if engine.trained:
            raise Killed
        return engine(plan, text)

    with pytest.raises(Killed):
        go(place, store, first, replace(AIM, budget=240.0))
    choice = rounds(store)[1]["choice"]
    assert choice["source"] == f"{len(engine.trained)} finished runs"
    low, high = choice["now"]
    assert 1.2 < low < high
    assert not {one["run_id"] for one in choice["steps"]} & set(engine.trained)


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("loss", {"alpha": 0.0}),
        ("exponent", {"alpha": 0.0}),
        ("allocation", {"alpha": 0.0}),
        ("loss", {"A": 1e-3}),  # at a fraction of a param
    ],
)
def test_a_law_without_a_compute_optimum_gives_way_to_the_one_expected(place, monkeypatch, target, wrong):
    def flat(*args):
        from analysis.designs.outlook import InPlay
        from analysis.laws.named import find

        return replace(of_runs(*args), laws=(InPlay(find("chinchilla"), LAW.params | wrong),))

    monkeypatch.setattr(next_runs, "of_runs", flat)
    store = opened(place / "store")
    go(place, store, aim=Aim(target, "", 30.0))
    choices = [one["choice"] for one in rounds(store) if one.get("choice")]
    assert choices
    for one in choices:
        assert "has no compute-optimum" in one["source"]
        assert np.isfinite(one["now"]).all()


def test_runs_that_all_diverged_are_not_chosen_again(place):
    store = opened(place / "store")
    engine = go(place, store, Engine(store, status="diverged"), replace(AIM, budget=12.0))
    assert engine.trained
    kept = rounds(store)
    assert "no cell fits" in kept[-1]["why"]
    chosen = [json.dumps(one["study"]["grids"]) for one in kept[:-1]]
    assert len(set(chosen)) == len(chosen)


@pytest.mark.parametrize(
    ("target", "at", "words"),
    [
        ("gamma_ray", "", "no law in play has it"),
        ("loss", "manyx", "'many' is no positive number"),
        ("loss", "0x", "--at: '0' is no positive number"),
        ("loss", "0", "'0' is no positive number"),
        ("loss", "infx", "'inf' is no positive number"),
        ("loss", "1e40", "chooses runs for it all the same"),
    ],
)
def test_a_target_that_is_none_is_refused_before_a_round_is_trained(place, target, at, words):
    store = opened(place / "store")
    with pytest.raises((InputError, Unusable), match=words):
        go(place, store, aim=Aim(target, at, 30.0))
    assert not rounds(store)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--adaptive"], "--budget: '' is no time: 90s, 30min, 2h"),
        (["--adaptive", "--budget", "soon"], "is no time"),
        (["--adaptive", "--budget", "1h", "--set", "batch=4"], "goes without --set"),
        (["--budget", "1h"], "are of --adaptive"),
        (["--adaptive", "--budget", "1h", "--target", "rate"], "`lab next --target rate` chooses"),
        (["--adaptive", "--budget", "1h", "--target", "elbow"], "`lab next --target elbow` chooses"),
    ],
)
def test_what_is_wrong_is_one_line(here, tmp_path, args, words):
    (tmp_path / "planted.toml").write_text(STUDY)
    done = here("run", tmp_path / "planted.toml", "--out", tmp_path / "store", *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "change",
    [{"budget": "much"}, {"study": [1]}, {"why": 3}, {"beyond": [[3]]}, {"beyond": 1}, {"beyond": [[1, 2]]}],
)
def test_an_edited_record_of_a_choice_is_named(here, place, change):
    record = {"study": None, "why": "stop", "budget": 1.0} | change
    path = place / "store" / "choices" / "planted-1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    args = ("--out", place / "store", "--adaptive", "--budget", "1h")
    done = here("run", place / "planted.toml", *args)
    assert done.returncode == 2
    assert "planted-1.json: is no record of a choice; remove it, and it is chosen again" in done.stderr


def test_a_study_that_cannot_be_read_makes_no_store(here, tmp_path):
    (tmp_path / "planted.toml").write_text(STUDY.replace("tokens = [", "tokenz = ["))
    args = (tmp_path / "planted.toml", "--out", tmp_path / "store", "--adaptive", "--budget", "1h")
    done = here("run", *args)
    assert done.returncode == 2
    assert "tokenz" in done.stderr
    assert not (tmp_path / "store").exists()


def test_a_budget_that_pays_for_nothing_is_told_as_json_too(here, place):
    args = (place / "planted.toml", "--out", place / "store", "--adaptive", "--budget", "0.01s", "--json")
    done = here("run", *args)
    assert done.returncode == 0, done.stderr
    assert "no round was trained" in done.stderr
    assert json.loads(done.stdout) == {"study": "", "out": str(place / "store"), "failed": [], "states": {}}
