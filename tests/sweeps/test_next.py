"""`lab next`: from a table, a store or a prior to a study file that `lab run` takes."""

import json
import tomllib
from dataclasses import replace
from unittest import mock

import numpy as np
import pandas
import pytest

from analysis.designs.targets import Target
from lab.data import load
from sweeps.plan import cells as planned
from sweeps.plan import next_cells, next_elbow, next_runs
from sweeps.plan.next_targets import beyond
from sweeps.plan.scatter import Scatter
from sweeps.store.remote import opened
from sweeps.study import loader
from tests.sweeps.planted_runs import (
    LAW,
    STUDY,
    Engine,
    asked,
    few_candidates,
    of_runs,
    stated_speed,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with planted.toml and runs.csv: its 16 runs with losses of a law."""
    folder = tmp_path_factory.mktemp("next")
    (folder / "planted.toml").write_text(STUDY)
    plan = planned.make(loader.load(folder / "planted.toml"), load)
    rng = np.random.default_rng(0)
    lines = ["run_id,params,tokens,seed,loss_nats"]
    for cell in plan.cells:
        n, d = cell.params.total - cell.params.embedding, cell.steps * cell.config.batch_tokens
        loss = (1.2 + 40 / n**0.5 + 900 / d**0.5) * np.exp(0.004 * rng.standard_normal())
        lines.append(f"{cell.run_id},{n},{d},{cell.config.seed},{loss:.6f}")
    (folder / "runs.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def fitted_once():
    """The laws of a table are fitted once for all tests of it."""
    kept, fit = {}, next_runs.of_runs

    def once(runs, expected, include_held_out=False):
        key = runs.columns["loss_nats"].tobytes(), expected.source, include_held_out
        if key not in kept:
            kept[key] = fit(runs, expected, include_held_out)
        return kept[key]

    with mock.patch.object(next_runs, "of_runs", once):
        yield


@pytest.fixture(autouse=True)
def small(monkeypatch):
    few_candidates(monkeypatch)
    stated_speed(monkeypatch)


def test_the_next_runs_of_a_table_are_a_study_that_lab_plan_takes(here, place, tmp_path):
    out = tmp_path / "next.toml"
    made = asked(here, place / "runs.csv", "--study", place / "planted.toml", "--cells", 5, "--out", out)
    assert 1 <= len(made["steps"]) <= 5
    assert made["cost"] <= made["budget"] * (1 + 1e-9)
    assert made["unit"] == "seconds"
    assert not made["stop"]
    assert made["after"][1] - made["after"][0] < made["now"][1] - made["now"][0]
    assert made["narrowing"] == pytest.approx(1 - np.ptp(made["after"]) / np.ptp(made["now"]))
    seen = here("plan", out, "--probe", "never", "--json")
    assert seen.returncode == 0, seen.stderr
    rows = {row["run_id"]: row for row in json.loads(seen.stdout)["rows"]}
    assert set(rows) == {one["run_id"] for one in made["steps"]}
    for one in made["steps"]:
        row = rows[one["run_id"]]
        shape = f"{row['width']}x{row['layers']}h{row['heads']}"
        assert (row["grid"], row["seed"], shape) == ("language", one["seed"], one["shape"])
    # what is there already is not trained again
    assert not set(rows) & {line.split(",")[0] for line in (place / "runs.csv").read_text().splitlines()}
    again = here("next", place / "runs.csv", "--study", place / "planted.toml", "--out", out)
    assert again.returncode == 2
    assert "is there already" in again.stderr


@pytest.mark.parametrize(
    ("target", "at"), [("allocation", "1e13"), ("loss", "10x"), ("loss", "1e5,1e6"), ("beta", "")]
)
def test_each_target_is_narrowed_and_told_in_words(here, place, target, at):
    where = ["--at", at] if at else []
    said = here("next", place / "runs.csv", "--target", target, *where, "--budget", 1e12)
    assert said.returncode == 0, said.stderr
    assert "go on: these cells take" in said.stdout
    assert "FLOPs" in said.stdout


def test_no_candidate_has_more_compute_than_the_study_allows_a_run():
    raw = tomllib.loads(STUDY)

    def flops(of):
        return [6 * next_runs.params_of(c) * c.steps * c.config.batch_tokens for c in of.every.cells]

    most = max(flops(next_cells.family(raw, "planted", load)))
    raw["grids"][0]["max_flops"] = most / 4
    capped = next_cells.family(raw, "planted", load)
    assert most / 16 < max(flops(capped)) <= most / 4
    made = next_cells.chosen_study(capped, "some", capped.every.cells[-3:])
    assert made["grids"][0]["max_flops"] == most / 4


def test_nothing_but_a_prior_makes_a_first_design(here, place, tmp_path):
    out = tmp_path / "first.toml"
    made = asked(
        here,
        place / "planted.toml",
        "--prior",
        "published:chinchilla",
        "--cells",
        8,
        "--out",
        out,
        "--target",
        "loss",
    )
    assert "published:chinchilla" in made["source"]
    assert len({one["shape"] for one in made["steps"]}) >= 2
    assert here("plan", out, "--probe", "never").returncode == 0


def test_runs_that_contradict_the_prior_say_so(place):
    """The exponent by the runs, and by priors: one that agrees, one that does not, one that knows little."""
    from analysis.designs.outlook import InPlay
    from analysis.laws.named import find

    n, d = (one.ravel() for one in np.meshgrid(np.geomspace(1e4, 1e6, 5), np.geomspace(1e5, 1e7, 4)))
    mine = replace(LAW, runs=(n, d, np.arange(len(n))))
    laws = [InPlay(find("chinchilla"), LAW.params)]
    assert next_runs.contradiction(laws, mine, mine) == ""
    other = replace(LAW, params={**LAW.params, "alpha": 0.3, "beta": 0.9}, source="another text", runs=None)
    said = next_runs.contradiction(laws, mine, other)
    assert said.startswith("the runs contradict what was expected by another text")
    assert "0.50 [" in said
    assert "0.75 by that" in said
    few = replace(other, runs=(n[:6], d[:6], np.arange(6)), scatter=Scatter(run=0.3))
    assert next_runs.contradiction(laws, mine, few) == ""


ABILITIES = """
name = "lifts"
batch = 8
model = { layers = 1 }
optimizer = { warmup_tokens = 2_000 }
data = { source = "abilities", eval_items = 20, tasks = { copy = 1 } }

[[grids]]
name = "abilities"
tokens = [20_000]
seeds = [0, 1, 2]
sizes = [
  { width = 8, heads = 1, learning_rate = 0.02 }, { width = 12, heads = 1, learning_rate = 0.02 },
  { width = 16, heads = 2, learning_rate = 0.01 }, { width = 24, heads = 3, learning_rate = 0.01 },
  { width = 24, layers = 2, heads = 3, learning_rate = 0.01 },
  { width = 48, heads = 6, learning_rate = 0.005 },
  { width = 64, heads = 8, learning_rate = 0.0025 }, { width = 96, heads = 12, learning_rate = 0.0025 },
]
"""


def test_the_elbow_of_an_ability_asks_for_sizes_about_it(here, tmp_path):
    """A planted kink between one layer and two of width 24: with the study and without."""
    from benchmarks import planted as tables

    (tmp_path / "lifts.toml").write_text(ABILITIES)
    plan = planned.make(loader.load(tmp_path / "lifts.toml"), load)
    sizes = sorted({cell.params.total for cell in plan.cells})  # as a store's scores count them
    design = tables.Plan(tuple(map(float, sizes)), seeds=3, items=1000, seed_sd=0.1)
    place = float(np.log10(sizes[3] / sizes[0])) + 0.1
    rows = tables.hinge(design, np.random.default_rng(0), elbow=place, after=4.0)
    scores = tmp_path / "scores.csv"
    pandas.DataFrame([{**row, "task": "copy", "tokens": 20_000} for row in rows]).to_csv(scores, index=False)
    args = ("--target", "elbow", "--task", "copy", "--cells", 6)
    out = tmp_path / "next.toml"
    made = asked(here, scores, *args, "--study", tmp_path / "lifts.toml", "--out", out)
    low, high = made["now"]
    assert low < sizes[0] * 10**place < high
    assert made["narrowing"] > 0.05
    assert 0 < made["part_of_items"] < 1
    assert made["narrowing_with_more_items"] > made["narrowing"]
    chosen = planned.make(loader.load(out), load).cells
    shapes = {cell.run_id: cell.config.model.label for cell in chosen}
    assert shapes == {one["run_id"]: one["shape"] for one in made["steps"]}
    assert {cell.config.tokens for cell in chosen} == {20_000}
    # neither a run that is there, nor one that tells nothing of it
    assert not {cell.run_id for cell in chosen} & {cell.run_id for cell in plan.cells}
    said = here("next", scores, *args, "--budget", 1e12)
    assert said.returncode == 0, said.stderr
    assert "the elbow of copy" in said.stdout
    assert "of the variance of a run at the elbow" in said.stdout


def test_candidates_count_params_as_the_scores_do():
    of = next_cells.family(tomllib.loads(ABILITIES), "lifts", load, task="copy")
    candidates = next_cells.of_family(of, next_cells.There())
    for count in (next_runs.params_of, lambda cell: cell.params.total):
        sizes = np.array([count(cell) for cell in of.cells], float)
        known = next_elbow.KnownAbility(None, sizes, sizes, sizes, 20_000.0, "emergent")
        found = next_elbow.counted_alike(known, of.cells, candidates)
        assert found.params.tolist() == [count(cell) for cell in candidates.cells]


TWO_DEPTHS = STUDY.replace("{ width = 64, learning", "{ width = 32, layers = 2, learning")


def test_shapes_of_one_width_are_told_apart(here, place, tmp_path, monkeypatch):
    """Two depths at width 32: both are candidates, at new widths too, and what was chosen is written."""
    monkeypatch.setattr(next_runs, "of_runs", of_runs)
    (tmp_path / "two.toml").write_text(TWO_DEPTHS)
    of = next_cells.family(tomllib.loads(TWO_DEPTHS), "two", load)
    shapes = {next_cells.shape_key(cell.config.model) for cell in of.every.cells}
    assert shapes == {(8, 1, 1), (16, 1, 1), (32, 1, 1), (32, 2, 1), (64, 1, 1), (64, 2, 1)}
    rates = {cell.config.model: cell.config.optimizer.learning_rate for cell in of.every.cells}
    own = {cell.config.model: cell.config.optimizer.learning_rate for cell in of.cells}
    assert own.items() <= rates.items()
    # any cells, at budgets and seeds of their own
    every = of.every.cells
    for some in (
        every[::7],
        every[3::11],
        every[:1],
        [cell for cell in every if cell.config.model.width == 32],
    ):
        made = next_cells.chosen_study(of, "some", some)
        again = planned.make(loader.parse(made, "some"), load).cells
        assert {cell.run_id for cell in again} == {cell.run_id for cell in some}
    lines = ["run_id,params,tokens,seed,loss_nats"]
    for cell in of.cells:
        n, d = next_runs.params_of(cell), cell.steps * cell.config.batch_tokens
        lines.append(f"{cell.run_id},{n},{d},{cell.config.seed},{1.2 + 40 / n**0.5 + 900 / d**0.5:.6f}")
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "next.toml"
    args = (tmp_path / "runs.csv", "--study", tmp_path / "two.toml", "--target", "loss", "--cells", 8)
    made = asked(here, *args, "--out", out)
    cells = {cell.run_id: cell.config.model.label for cell in planned.make(loader.load(out), load).cells}
    assert cells == {one["run_id"]: one["shape"] for one in made["steps"]}
    said = here("next", *args).stdout
    assert all(f"\n  {shape} " in said for shape in cells.values())


def test_a_gain_below_the_stated_share_says_stop(here, place):
    made = asked(here, place / "runs.csv", "--least", 0.99)
    assert "less than 99%" in made["stop"]
    assumed = asked(here, place / "planted.toml")  # of which nothing is trained: by what is expected
    assert assumed["now"][0] == pytest.approx(assumed["now"][1])
    assert "chinchilla-tied has it by assumption" in assumed["stop"]
    said = here("next", place / "runs.csv", "--target", "loss", "--at", "1e4,8e4", "--budget", 1e3)
    assert said.returncode == 0
    assert "stop: no candidate can be paid" in said.stdout


def test_joules_and_euros_are_seconds_times_their_price(here, place):
    common = (place / "runs.csv", "--study", place / "planted.toml", "--cells", 3)
    seconds = asked(here, *common, "--budget", 100)
    joules = asked(here, *common, "--per", "joule", "--watts", 50, "--budget", 5000)
    euros = asked(here, *common, "--per", "euro", "--price", 36, "--budget", 1)
    assert joules["cost"] == pytest.approx(50 * seconds["cost"])
    assert euros["cost"] == pytest.approx(seconds["cost"] / 100)
    assert [one["run_id"] for one in joules["steps"]] == [one["run_id"] for one in seconds["steps"]]


def test_runs_of_a_store_are_priced_by_what_its_steps_took(here, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(next_runs, "of_runs", of_runs)
    plan = planned.make(loader.parse(tomllib.loads(STUDY), "here"), load)
    made = []
    for name, flops_per_s in (("quick", 1e9), ("slow", 5e8)):
        store = opened(tmp_path / name)
        Engine(store, flops_per_s=flops_per_s)(plan, STUDY)
        made.append(asked(here, store.root, "--cells", 3))
    quick, slow = made
    assert [one["run_id"] for one in slow["steps"]] == [one["run_id"] for one in quick["steps"]]
    assert slow["unit"] == "seconds"
    assert slow["cost"] == pytest.approx(2 * quick["cost"])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--target", "slope"], "no law in play has it; there are exponent, allocation, loss, A, "),
        (["--target", "elbow"], "--target elbow: is of a --task"),
        (["--target", "elbow", "--task", "copy"], "has no ability scores"),
        (["--task", "copy"], "--task: is of --target elbow"),
        (["--target", "loss", "--at", "1e4,many"], "'many' is no positive number"),
        (["--out", "x.toml"], "name one with --study"),
        (["--per", "euro"], "no device_seconds"),
        (["--cells", "0"], "at least 1"),
        (["--prior", "published:nobody"], "there are chinchilla, epoch"),
        (["--target", "beta", "--at", "3"], "is a number of the law"),
        (["--target", ""], "--target: '': no law in play has it"),
        (["--target", "loss", "--at", "1e2,1e9"], "--far answers all the same"),
        (["--at", "1e30"], "times the largest of the runs"),
        (
            ["--max-seconds", "1e-9"],
            "--max-seconds: no run costs as little as 1e-09 FLOPs",
        ),
    ],
)
def test_what_is_wrong_is_one_line(here, place, args, words):
    done = here("next", place / "runs.csv", *args)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert all(line.startswith("error: ") for line in done.stderr.strip().splitlines())


def test_what_lies_beyond_the_runs_is_said_first_and_far_out_needs_far(here, place):
    args = (place / "runs.csv", "--target", "loss", "--budget", 1e12, "--at")
    said = here("next", *args, "1e5,2e6").stdout
    assert said.startswith("BEYOND THE RUNS: 1.2e+12 FLOPs are 23.3 times the largest of the runs")
    assert "BEYOND THE RUNS: 2e+06 tokens are 12.5 times the largest of the runs" in said
    assert not here("next", *args, "2e4,1e5").stdout.startswith("BEYOND")
    far = asked(here, *args, "1e5,1e9", "--far")
    assert "far_extrapolation" in {one["code"] for one in far["warnings"]}
    # what a law makes of FLOPs that were named is said and not refused
    known = next_runs.of_prior(LAW)
    tried = next_cells.of_table(np.array([1e4, 1e5]), np.array([1e5, 1e6]), None)
    odd = Target("loss", params=1.0, tokens=1e11)
    assert {one.code for one in beyond(odd, "6e11", known, tried)} == {"extrapolation"}
    assert "far_extrapolation" in {one.code for one in beyond(odd, "1,1e11", known, tried)}
    # nothing is trained yet: the candidates are what there is
    first = here("next", place / "planted.toml", "--at", "1e30")
    assert first.returncode == 2
    assert "times the largest of the candidates" in first.stderr


@pytest.mark.parametrize("share", [0.5, 1.0, 30.0, 1000.0])
def test_a_first_design_is_paid_and_spans_what_can_be_paid(share):
    """share: of the budget, in costs of the cheapest cell."""
    every = next_cells.of_table(np.geomspace(1e6, 1e8, 8), np.geomspace(1e7, 1e9, 8), None)
    cheapest = every.own.min()
    found = next_runs.starter(every, share * cheapest)
    assert every.own[found].sum() <= max(share, 1.0) * cheapest
    assert len(found) == len(set(found))
    if share == 30.0:
        assert len(found) >= 3
    if share == 1000.0:
        assert len(np.unique(every.params[found])) >= 3
        assert len(np.unique(every.tokens[found])) >= 3


def test_only_where_leaves_the_cells_that_it_selects(place):
    raw = loader.resolved(place / "planted.toml")
    raw["grids"][0]["only_where"] = [{"width": 8, "tokens": [20_000]}, {"width": 64}]
    plan = loader.parse(raw, "here")
    from sweeps.study.designs import points

    kept = [(p.config.model.width, p.config.tokens) for p in points(plan)]
    assert kept == [(8, 20_000), *((64, tokens) for tokens in (20_000, 40_000, 80_000, 160_000))]
    raw["grids"][0]["only_where"] = [{"width": 9}]
    from lab.errors import InputError

    with pytest.raises(InputError, match="only_where"):
        loader.parse(raw, "here")
