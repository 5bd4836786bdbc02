"""Designs, ladders, factors, selections, includes and overrides, against what they say in words."""

import tomllib

import pytest

from lab.config import ModelConfig, RunConfig
from lab.data import DataConfig, load
from lab.errors import InputError
from lab.strict import build
from sweeps.plan import cells as plan
from sweeps.study import designs, ladders, loader, overrides
from sweeps.verbs import planning

BASE = {
    "name": "s",
    "batch": 8,
    "model": {"layers": 2, "heads": 1},
    "optimizer": {"warmup_tokens": 2_000},
    "data": {"source": "synthetic", "context": 32, "val_windows": 64},
}
V = designs.vocab_size(build(DataConfig, BASE["data"], "t"))


def made(**grid):
    return designs.points(loader.parse({**BASE, "grids": [{"name": "g", **grid}]}, "s.toml"))


def problems(**grid) -> str:
    with pytest.raises(InputError) as caught:
        made(**grid)
    return "\n".join(caught.value.problems)


def params(config: RunConfig) -> int:
    return ladders.counted(config.model, V)


def test_a_parameter_target_gets_the_nearest_of_all_shapes_and_one_depth():
    targets = [3_000, 10_000, 40_000]
    found = made(params=targets, shape={"head_width": 4}, tokens=[10_000])
    base = ModelConfig(layers=2)
    for target, point in zip(targets, found, strict=True):
        widths = range(4, 81, 4)
        counts = {w: ladders.counted(ladders.Shape(head_width=4).model(base, w), V) for w in widths}
        best = min(counts, key=lambda w: abs(counts[w] / target - 1))
        m = point.config.model
        assert (m.width, m.layers, m.width // m.heads) == (best, 2, 4)


def test_an_aspect_rule_makes_depth_follow_width_and_rates_follow_a_power():
    rate = {"width": 16, "learning_rate": 0.02, "power": -0.5}
    found = made(
        params=[5_000, 100_000], shape={"aspect": 16, "head_width": 8, "rate": rate}, tokens=[10_000]
    )
    for point in found:
        m = point.config.model
        assert m.layers == max(1, round(m.width / 16))
        assert point.config.optimizer.learning_rate == pytest.approx(0.02 * (m.width / 16) ** -0.5, rel=5e-3)


def test_a_target_out_of_reach_is_named():
    assert "grids[0].params[0]: 50 params are not within a factor of 2" in problems(
        params=[50], tokens=[9_000]
    )


@pytest.mark.parametrize(
    ("grid", "tokens"),
    [
        ({"tokens_per_param": [20, 40]}, lambda n: [20 * n, 40 * n]),
        ({"flops": [1e9, 2e9]}, lambda n: [round(1e9 / (6 * n)), round(2e9 / (6 * n))]),
        ({"design": "isoflop", "flops": [1e9]}, lambda n: [round(1e9 / (6 * n))]),
        (
            {"design": "ladder", "multiples": [0.5, 2], "optimal_tokens_per_param": 30},
            lambda n: [15 * n, 60 * n],
        ),
        ({"tokens": {"start": 1_000, "times": 2, "count": 3}}, lambda n: [1_000, 2_000, 4_000]),
        ({"tokens": {"start": 1_000, "stop": 16_000, "count": 3}}, lambda n: [1_000, 4_000, 16_000]),
    ],
)
def test_budgets_are_what_they_say(grid, tokens):
    found = made(sizes=[{"width": 8}, {"width": 16}], **grid)
    for width in (8, 16):
        mine = [p.config for p in found if p.config.model.width == width]
        assert [c.tokens for c in mine] == tokens(params(mine[0]))


def test_a_valley_surrounds_its_expected_optimum_at_equal_compute():
    valley = {"sizes": 5, "spread": 3, "tokens_per_param": 20}
    found = made(design="isoflop", flops=[1e10, 1e11], valley=valley, shape={"head_width": 2})
    for flops in (1e10, 1e11):
        cells = [p.config for p in found if abs(6 * params(p.config) * p.config.tokens / flops - 1) < 1e-3]
        sizes = sorted(params(c) for c in cells)
        centre = (flops / 120) ** 0.5
        assert len(sizes) == 5
        assert sizes[2] == pytest.approx(centre, rel=0.15)
        assert sizes[0] == pytest.approx(centre / 3, rel=0.25)
        assert sizes[-1] == pytest.approx(3 * centre, rel=0.15)


def test_factors_are_crossed_and_dotted_keys_are_tables():
    grid = {
        "design": "factorial",
        "sizes": [{"width": 8, "learning_rate": 0.5}],
        "tokens": [10_000, 20_000],
        "factors": {
            "optimizer": {"learning_rate": [0.1, 0.2]},
            "batch": [4, 8],
            "model.qk_norm": [True, False],
        },
    }
    found = [p.config for p in made(**grid)]
    combinations = {(c.optimizer.learning_rate, c.batch, c.model.qk_norm, c.tokens) for c in found}
    assert len(found) == len(combinations) == 2 * 2 * 2 * 2
    assert {c.optimizer.learning_rate for c in found} == {0.1, 0.2}, "a factor wins over the size"


def test_more_seeds_and_held_out_cells_are_the_chosen_ones():
    found = made(
        sizes=[{"width": 8}, {"width": 16}],
        tokens=[10_000, 20_000],
        seeds=[0, 1],
        more_seeds=[{"where": {"width": "largest", "tokens": 20_000}, "seeds": [0, 1, 2, 3]}],
        held_out_where=[{"width": 16, "tokens": "largest"}, {"tokens": [10_000], "width": 8}],
    )
    seeds = {}
    for p in found:
        seeds.setdefault((p.config.model.width, p.config.tokens, p.held_out), []).append(p.config.seed)
    assert seeds == {
        (8, 10_000, True): [0, 1],
        (8, 20_000, False): [0, 1],
        (16, 10_000, False): [0, 1],
        (16, 20_000, True): [0, 1, 2, 3],
    }


def test_points_beyond_the_most_flops_are_left_out():
    grid = {"sizes": [{"width": 8}, {"width": 16}], "tokens": [10_000, 20_000, 40_000]}
    cost = {(c.model.width, c.tokens): 6 * params(c) * c.tokens for c in (p.config for p in made(**grid))}
    most = cost[16, 20_000]
    left = {(p.config.model.width, p.config.tokens) for p in made(**grid, max_flops=most)}
    assert left == {cell for cell, flops in cost.items() if flops <= most}
    assert (16, 20_000) in left
    assert (16, 40_000) not in left
    assert "grids[0].max_flops: leaves no cell" in problems(**grid, max_flops=1.0)


@pytest.mark.parametrize(
    ("grid", "line"),
    [
        ({"tokens": [9_000], "flops": [1e9]}, "grids[0].flops: replaces tokens, which is given too"),
        ({}, "grids[0].tokens: is missing: design 'grid' needs tokens or tokens_per_param or flops"),
        ({"design": "isoflop", "tokens": [9_000]}, "grids[0].tokens: is not a budget of design 'isoflop'"),
        ({"design": "isoflp", "tokens": [9_000]}, "grids[0].design: should be one of grid, isoflop"),
        ({"design": "factorial", "tokens": [9_000]}, "grids[0].factors: is missing"),
        ({"design": "trunk_branch", "tokens": [9_000]}, "grids[0].tokens: should be two budgets or more"),
        (
            {"design": "trunk_branch", "tokens": [9_000, 18_000], "optimizer": {"schedule": "cosine"}},
            "grids[0].optimizer.schedule: branches need a trunk",
        ),
        ({"tokens": [9_000], "factors": {"model.widht": [8]}}, "no such key; did you mean model.width?"),
        (
            {"tokens": [9_000], "model": {"layerz": 1}},
            "grids[0].model.layerz: no such key; did you mean layers?",
        ),
        (
            {"tokens": [9_000], "held_out_where": [{"widht": 8}]},
            "grids[0].held_out_where[0].widht: no such key; did you mean width?",
        ),
        (
            {"tokens": [9_000], "more_seeds": [{"where": {"tokens": 7}, "seeds": [1]}]},
            "grids[0].more_seeds[0].where.tokens: no cell has 7; there are 9000",
        ),
        ({"tokens": {"start": 10, "count": 3}}, "grids[0].tokens.stop: should be given, or times"),
        ({"params": [9_000], "sizes": [{"width": 8}], "tokens": [9_000]}, "grids[0].params: replaces sizes"),
        ({"tokens": [9_000], "valley": {}, "sizes": []}, 'grids[0].valley: belongs to design "isoflop"'),
    ],
)
def test_a_wrong_key_is_one_line_with_its_place(grid, line):
    assert line in problems(**grid)


def test_a_wrong_key_of_the_whole_study_is_told_once():
    data = {**BASE, "model": {"layerz": 2}, "grids": [{"name": "g", "tokens": [9_000, 18_000]}] * 1}
    with pytest.raises(InputError) as caught:
        loader.parse(data, "s.toml")
    assert caught.value.problems == ("s.toml: model.layerz: no such key; did you mean layers?",)


def test_includes_lie_beneath_and_overrides_above(tmp_path):
    (tmp_path / "base.toml").write_text(
        'batch = 4\n[model]\nlayers = 3\nheads = 1\n[data]\nsource = "synthetic"\ncontext = 32\n'
        '[[grids]]\nname = "a"\ntokens = [10_000]\nsizes = [{ width = 8 }]\n'
    )
    top = tmp_path / "s.toml"
    top.write_text(
        'include = ["base.toml"]\nname = "s"\n[model]\nlayers = 1\n[[grids]]\nname = "b"\ntokens = [20_000]\n'
    )
    found = {p.grid: p.config for p in designs.points(loader.load(top))}
    assert (found["a"].model.layers, found["a"].batch, found["b"].model.heads) == (1, 4, 1)
    sets = ("grids.b.model={ width = 24 }", "grids[0].tokens=[30_000]", "run.pack=pmap", "batch=2")
    after = loader.load(top, sets)
    found = {p.grid: p.config for p in designs.points(after)}
    assert (found["b"].model.width, found["a"].tokens, found["a"].batch) == (24, 30_000, 2)
    assert after.run.pack == "pmap", "what is no TOML value is text"
    alone = loader.text_of(top, sets)
    (tmp_path / "alone.toml").write_text(alone)
    assert loader.load(tmp_path / "alone.toml") == after, "the store's copy needs no other file"
    assert loader.text_of(tmp_path / "base.toml") == (tmp_path / "base.toml").read_text()
    (tmp_path / "base.toml").write_text('include = ["s.toml"]')
    with pytest.raises(InputError, match=r"include: s\.toml includes this file in turn"):
        loader.load(top)
    (tmp_path / "base.toml").unlink()
    with pytest.raises(InputError, match=r"base.toml: no such file; is included by .*s.toml"):
        loader.load(top)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model.widht=3", "model.widht: no such key; did you mean width?"),
        ("model.width=64", "changes no run of this study"),
        ("grids.gg.batch=3", "no entry 'gg' here; did you mean g?"),
        ("batch", "should be key=value"),
        ("batch=many", "batch: should be a whole number, is 'many'"),
        ("name.x=1", "name is not a table"),
    ],
)
def test_a_wrong_override_is_one_line(tmp_path, text, words):
    path = tmp_path / "s.toml"
    path.write_text(
        overrides.to_toml({**BASE, "grids": [{"name": "g", "tokens": [9_000], "sizes": [{"width": 8}]}]})
    )
    with pytest.raises(InputError) as caught:
        loader.load(path, (text,))
    assert len(caught.value.problems) == 1
    assert words in caught.value.problems[0]
    assert text in caught.value.problems[0]


def test_toml_that_is_written_reads_as_the_same():
    data = {
        "name": 'quotes " and \\ and \n and é',
        "numbers": [1, -2, 0.1, 1e-300, True],
        "empty": [],
        "a key": {"b.c": {"d": [{"x": 1}, {"y": [1, [2]]}]}},
        "grids": [{"name": "a", "sizes": [{"width": 8}], "t": {"u": 1}}, {"name": "b"}],
    }
    assert tomllib.loads(overrides.to_toml(data)) == data


@pytest.mark.parametrize("design", ["grid", "isoflop", "ladder", "trunk_branch", "factorial"])
def test_every_example_plans(design, tmp_path):
    path = tmp_path / "s.toml"
    assert planning.init([str(path), "--design", design]) == 0
    small = ("data.source=synthetic", "data.val_windows=16")
    found = plan.make(loader.load(path, small), load)
    assert len(found.cells) >= 12
    if design in ("isoflop", "trunk_branch", "grid", "ladder"):
        assert any(c.held_out for c in found.cells)
    if design == "trunk_branch":
        assert all(c.trunk for c in found.cells)


@pytest.mark.parametrize("name", ["quickstart", "example"])
def test_the_shipped_studies_are_the_runs_that_their_words_say(name):
    """Ids follow from the configurations alone: built here by hand, as the first version of the file did."""
    path = f"sweeps/studies/{name}.toml"
    raw = tomllib.loads((planning.files("sweeps") / "studies" / f"{name}.toml").read_text())
    expected = []
    for grid in raw["grids"]:
        for size in grid["sizes"]:
            size = dict(size)
            rate = {"learning_rate": size.pop("learning_rate")} if "learning_rate" in size else {}
            for tokens in grid["tokens"]:
                for seed in grid["seeds"]:
                    tables = {
                        "model": {**raw.get("model", {}), **grid.get("model", {}), **size},
                        "optimizer": {**raw.get("optimizer", {}), **grid.get("optimizer", {}), **rate},
                        "data": {**raw.get("data", {}), **grid.get("data", {})},
                    }
                    expected.append(
                        build(
                            RunConfig,
                            {**tables, "tokens": tokens, "seed": seed, "batch": grid["batch"]},
                            path,
                        )
                    )
    found = [p.config for p in designs.points(loader.parse(raw, path))]
    assert [c.run_id("digest") for c in found] == [c.run_id("digest") for c in expected]
