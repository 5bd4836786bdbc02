import copy
import random
import tomllib

import pytest

from lab.data import load
from lab.errors import InputError
from sweeps import running
from sweeps.plan import cells
from sweeps.store.store import Store
from sweeps.study import loader
from sweeps.verbs import plan_output


@pytest.fixture
def data(study_file):
    return tomllib.loads(study_file.read_text())


@pytest.fixture
def made(study_file):
    return cells.make(loader.load(study_file), load)


def test_a_plan_has_every_cell_once_and_one_trunk_a_size_and_seed(made):
    assert len(made.cells) == len({c.run_id for c in made.cells}) == 2 * 3 * 2
    assert len(made.trunks) == 4
    for trunk in made.trunks:
        branches = [c for c in made.cells if c.trunk == trunk.run_id]
        assert trunk.branch_steps == tuple(sorted(c.config.hold_steps for c in branches))
        assert len({(c.config.model, c.config.seed) for c in branches}) == 1


def test_trunks_save_what_they_should(made):
    # budgets 1, 2, 4 with a cooldown of f = 0.2: (1 - f) 4 + f (1 + 2 + 4) = 4.6 instead of 7
    assert made.flops_spent() / made.flops_straight() == pytest.approx(4.6 / 7, rel=0.02)


def test_the_cells_of_highest_compute_are_held_out(made):
    held = [c for c in made.cells if c.held_out]
    assert {(c.config.model.width, c.config.tokens) for c in held} == {(16, 40_000)}
    assert len(held) == 2
    assert max(c.flops["flops_exact"] for c in made.cells) == held[0].flops["flops_exact"]


def test_the_same_file_gives_the_same_ids_and_a_larger_one_shares_them(made, data):
    again = cells.make(loader.parse(data, "again"), load)
    assert [c.run_id for c in again.cells] == [c.run_id for c in made.cells]
    data["grids"][0]["tokens"].append(80_000)
    data["name"] = "larger"
    larger = cells.make(loader.parse(data, "larger"), load)
    assert {c.run_id for c in made.cells} < {c.run_id for c in larger.cells}
    assert {t.run_id for t in made.trunks} == {t.run_id for t in larger.trunks}


def test_one_budget_or_a_cosine_needs_no_trunk(data):
    data["grids"][0]["tokens"] = [20_000]
    data["grids"][0]["held_out"] = 0
    assert cells.make(loader.parse(data, "s"), load).trunks == ()
    data["grids"][0]["tokens"] = [10_000, 20_000]
    data["optimizer"]["schedule"] = "cosine"
    assert cells.make(loader.parse(data, "s"), load).trunks == ()


def test_a_plan_prints_its_cells_costs_and_doubts(made, tmp_path):
    text = plan_output.as_text(plan_output.Priced(made))
    assert all(c.run_id in text for c in made.cells)
    assert "34% less than without trunks" in text
    assert "fewer than 4 sizes" in text
    states = running.states(made, Store(tmp_path))
    assert set(states.values()) == {"new"}
    assert running.headline(made, states).startswith("study small: 12 of 12 runs to train")


def test_errors_say_where_they_are(data):
    data["grids"][0]["sizes"][1] = {"width": 9, "heads": 2, "depth": 1}
    data["grids"][0]["held_out"] = 99
    data["run"] = {"pack": "vmpa"}
    with pytest.raises(InputError) as caught:
        loader.parse(data, "s.toml")
    text = "\n".join(caught.value.problems)
    assert "s.toml: grids[0].sizes[1].depth: no such key" in text
    assert "s.toml: run.pack: should be one of" in text
    del data["grids"][0]["sizes"][1]["depth"], data["run"]
    with pytest.raises(InputError, match=r"grids\[0\].held_out: should lie between 0 and 5"):
        loader.parse(data, "s.toml")
    data["grids"][0]["held_out"] = 0
    with pytest.raises(InputError, match=r"grids\[0\].sizes\[1\].heads: should divide width 9, is 2"):
        loader.parse(data, "s.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [("name = ", "is not TOML"), ("", "name: is missing"), ('name = "a/b"\ngrids = []', "letters, digits")],
)
def test_files_that_are_no_study(tmp_path, text, words):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        loader.load(path)


def problems_of(data) -> tuple[str, ...]:
    try:
        loader.parse(data, "s.toml")
    except InputError as error:
        return error.problems
    return ()


def test_three_hundred_mutated_studies_give_lines_that_name_a_key(data):
    rng = random.Random(1)
    values = [
        None,
        -1,
        0,
        1e300,
        float("nan"),
        float("inf"),
        "text",
        "",
        [],
        {},
        [1],
        {"a": 1},
        2.5,
        True,
        [[]],
    ]
    refused = 0
    for _ in range(300):
        mutant = copy.deepcopy(data)
        grid = mutant["grids"][0]
        table = rng.choice(
            [mutant, grid, mutant["model"], mutant["data"], mutant["optimizer"], rng.choice(grid["sizes"])]
        )
        key = rng.choice(list(table))
        if rng.random() < 0.3:
            table[key + rng.choice("xyz")] = table.pop(key)
        else:
            table[key] = rng.choice(values)
        problems = problems_of(mutant)
        refused += bool(problems)
        assert all(line.startswith("s.toml: ") and line.count(":") >= 2 for line in problems)
    assert refused > 200


def test_what_a_study_says_of_its_runs_reaches_them():
    from sweeps.study.schema import RunOptions
    from sweeps.work.multihost import alone

    how = alone(RunOptions(memory="ignore", evaluate_every=40))
    assert (how.memory, how.evaluate_every) == ("ignore", 40)
