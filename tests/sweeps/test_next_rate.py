"""`lab next --target rate`: which rates of which sizes are tried next, by the rates that were."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from lab.data import load
from sweeps.plan import cells as planned
from sweeps.plan import next_cells, next_runs
from sweeps.study import loader
from tests.sweeps.planted_runs import STUDY, asked, few_candidates, stated_speed


@pytest.fixture(autouse=True)
def small(monkeypatch):
    few_candidates(monkeypatch)
    stated_speed(monkeypatch)


def test_rates_that_a_published_law_sets_stay_its_own():
    raw = tomllib.loads(re.sub(r", learning_rate = [\d.]+", "", STUDY))
    raw["optimizer"] |= {"learning_rate_law": "step"}
    of = next_cells.family(raw, "law", load)
    assert len({cell.config.optimizer.learning_rate for cell in of.every.cells}) > len(of.sizes)
    some = of.every.cells[::5]
    again = planned.make(loader.parse(next_cells.chosen_study(of, "some", some), "some"), load).cells
    assert {cell.run_id for cell in again} == {cell.run_id for cell in some}


RATES = """
name = "rates"
batch = 8
model = { layers = 1, heads = 1 }
optimizer = { warmup_tokens = 2_000 }
data = { source = "synthetic", context = 32, val_windows = 64 }

[[grids]]
name = "narrow"
design = "factorial"
tokens = [20_000]
factors = { optimizer.learning_rate = [0.005, 0.01, 0.02, 0.04] }
sizes = [{ width = 8 }, { width = 16 }]

[[grids]]
name = "wide"
tokens = [20_000]
sizes = [
  { width = 32, learning_rate = 0.002 },
  { width = 32, learning_rate = 0.005 },
  { width = 32, learning_rate = 0.012 },
]

[[grids]]
name = "other"
tokens = [20_000]
model = { parametrization = "mup", base_width = 8 }
sizes = [{ width = 8, learning_rate = 0.01 }]
"""


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    """A folder with rates.toml and rates.csv, whose best rates are 0.02 (8 / width)^1."""
    folder = tmp_path_factory.mktemp("rates")
    (folder / "rates.toml").write_text(RATES)
    plan = planned.make(loader.load(folder / "rates.toml"), load)
    rng = np.random.default_rng(0)
    lines = ["run_id,grid,width,layers,heads,params,tokens,learning_rate,seed,loss_nats"]
    for cell in plan.cells:
        config = cell.config
        off = np.log(config.optimizer.learning_rate / 0.02 * config.model.width / 8)
        loss = 2 - 0.1 * np.log(config.model.width) + 0.05 * off**2 + 0.002 * rng.standard_normal()
        shape = ",".join(map(str, next_cells.shape_key(config.model)))
        row = (
            f"{next_runs.params_of(cell)},{cell.steps * config.batch_tokens},{config.optimizer.learning_rate}"
        )
        lines.append(f"{cell.run_id},{cell.grid},{shape},{row},0,{loss:.6f}")
    (folder / "rates.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_best_rate_of_a_size_asks_for_rates_about_it(here, rates, tmp_path):
    """Grids that differ in shapes and rates alone count together; another parametrisation does not."""
    out = tmp_path / "next.toml"
    args = (rates / "rates.csv", "--target", "rate", "--at", "32x1h1", "--cells", 5)
    study = ("--study", rates / "rates.toml")
    made = asked(here, *args, *study, "--out", out)
    low, high = made["now"]
    assert low < 0.005 < high
    assert made["value"] == pytest.approx(0.005, rel=0.2)
    assert low < made["after"][0] < made["value"] < made["after"][1] < high
    assert " of 11 runs" in made["source"]
    chosen = planned.make(loader.load(out), load).cells
    told = {cell.run_id: (cell.config.model.label, cell.config.optimizer.learning_rate) for cell in chosen}
    assert told == {one["run_id"]: (one["shape"], one["rate"]) for one in made["steps"]}
    assert len(told) == len(made["steps"]) > 1
    assert not set(told) & {line.split(",")[0] for line in (rates / "rates.csv").read_text().splitlines()}
    assert {cell.config.model.parametrization for cell in chosen} == {"standard"}
    assert here("plan", out, "--probe", "never").returncode == 0
    said = here("next", *args, *study).stdout
    assert all(f"  {shape} " in said and f"  {rate:.4g} " in said for shape, rate in told.values())
    assert "it goes as size^" in said
    # without a study, of the same runs; what is not of them is named
    table = tmp_path / "narrow.csv"
    rows = (rates / "rates.csv").read_text().splitlines()
    table.write_text("\n".join(row for row in rows if ",other," not in row) + "\n")
    alone = asked(here, table, *args[1:], "--budget", 1e12)
    assert alone["unit"] == "FLOPs"
    assert alone["now"] == pytest.approx(made["now"])
    beyond = here("next", table, "--target", "rate", "--at", "1e5", "--budget", 1e12)
    assert "no run is of this size" in beyond.stdout
    assert beyond.stdout.startswith("BEYOND THE RUNS: 1e+05 params are")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--grid", "narrow"), "--at: says of which size: a shape as 48x2h3, or params, as in --at 1e6"),
        (("--at", "9x1h1", "--grid", "narrow"), "--at: no shape '9x1h1'; there are 8x1h1, 16x1h1"),
        (("--at", "big", "--grid", "narrow"), "--at: 'big' is no positive number; give params, or a shape"),
        (("--at", "8x1h1", "--grid", "other"), "no size has three learning rates"),
        (("--at", "8x1h1"), "narrow and other have runs of the same sizes; name one of them with --grid"),
        (("--at", "8x1h1", "--grid", "narrow", "--out", "x.toml"), "name one with --study"),
        (("--at", "16", "--grid", "narrow"), "16 is a width of the runs"),
        (("--at", "1e9", "--grid", "narrow"), "--far answers all the same"),
        (("--at", "8x1h1,1e9", "--grid", "narrow"), "says nothing of the best rate at 1e+09 tokens; theirs"),
    ],
)
def test_a_best_rate_that_cannot_be_stated_is_one_line(here, rates, args, words):
    done = here("next", rates / "rates.csv", "--target", "rate", *args)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert all(line.startswith("error: ") for line in done.stderr.strip().splitlines())


def test_the_page_says_what_the_rates_of_the_text_study_say(here):
    root = Path(__file__).parents[2]
    made = asked(here, root / "docs/findings/text/rates.csv", "--target", "rate", "--at", "368x2h2")
    value, low, high = (f"{one:.3g}" for one in (made["value"], *made["now"]))
    page = (root / "docs" / "next.md").read_text()
    assert f"{value} [{low}, {high}] at width 368" in page
    assert f"the rate goes as size^{made['power']:.2f}" in page
    assert f"runs scatter by {100 * made['scatter']:.2f} % about their valleys" in page.replace("\n", " ")
