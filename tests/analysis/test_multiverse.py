"""The multiverse: choices that move the exponent are found, and those that cannot are not."""

import json
from itertools import product

import numpy as np
import pytest

import analysis as sl
from analysis import plots
from analysis.fits.fitting import Settings, fit_sample
from analysis.solve.objectives import Rho
from analysis.tables.sample import sample
from analysis.universes.multiverse import Universe, _effects, computes, counts, exponent_along, multiverse
from analysis.verbs import fit as verbs

LAW = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
OPTIMAL = LAW["beta"] / (LAW["alpha"] + LAW["beta"])


def grid(noise=0.002, embedding=0.0):
    """6 levels of 7 runs; with `embedding` a column of params without 47491 N^(1/3) (arXiv 2406.12907)."""
    flops = np.repeat(np.geomspace(1e17, 1e20, 6), 7)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.2, 5, 7), 6)
    table = {"params": params, "tokens": flops / 6 / params}
    rng = np.random.default_rng(0)
    table["loss"] = sl.LAWS["chinchilla"].loss(LAW, table) * np.exp(noise * rng.standard_normal(42))
    if embedding:
        table["params_non_embedding"] = params - embedding * params ** (1 / 3)
    return table


@pytest.fixture(scope="module")
def result():
    return multiverse(grid(embedding=2e4), laws=("chinchilla",), bootstrap=60)


def test_what_counts_as_params_moves_the_exponent_most(result):
    """With few params most are embeddings; counted without them the exponent must rise."""
    counted = next(one for one in result.choices if one.dimension == "counted")
    assert counted.means["params_non_embedding"] > counted.means["params"] + 0.02
    assert counted.moves == pytest.approx(np.ptp(list(counted.means.values())))
    shares = [one.share for one in result.choices]
    assert shares == sorted(shares, reverse=True)
    assert all(0 <= share <= 1 for share in shares)
    assert sum(shares) + result.interactions == pytest.approx(1)


def planted(effects, keep=lambda a, b, c: True, crossed=0.0):
    """Universes of three dimensions with two options each, of which b applies to approach law alone."""
    found = []
    for a, b, c in product((0, 1), (0, 1), (0, 1)):
        if (a and b) or not keep(a, b, c):
            continue
        choices = {"approach": ("law", "envelope")[a], "outliers": ["no", "yes"][c]}
        if not a:
            choices["law"] = "pq"[b]
        value = effects[0] * (a - 0.5) + effects[1] * (b - 0.5) * (1 - a) + effects[2] * (c - 0.5)
        found.append(Universe(choices, 0.5 + value + crossed * (a - 0.5) * (c - 0.5)))
    return found


def test_shares_of_planted_effects():
    """Every approach weighs alike: variances 0.04, 0.005 (half of the weight has a law) and 0.0225."""
    choices, rest = _effects(planted((0.4, 0.2, 0.3)), ["approach", "law", "outliers"])
    parts = {"approach": 0.04, "law": 0.005, "outliers": 0.0225}
    for one in choices:
        assert one.share == pytest.approx(parts[one.dimension] / sum(parts.values()), abs=1e-9)
    assert rest == pytest.approx(0, abs=1e-9)


def test_an_interaction_is_no_main_effect():
    choices, rest = _effects(planted((0.4, 0.0, 0.3), crossed=0.8), ["approach", "law", "outliers"])
    parts = {"approach": 0.04, "law": 0.0, "outliers": 0.0225}
    for one in choices:
        assert one.share == pytest.approx(parts[one.dimension] / (sum(parts.values()) + 0.04), abs=1e-9)
    assert rest == pytest.approx(0.04 / 0.1025, abs=1e-9)


def test_missing_combinations_are_shared_once():
    """Without a cell two dimensions are entangled, and single main effects exceed the whole."""
    found = planted((0.4, 0.1, 0.4), keep=lambda a, b, c: not (a and not c))
    choices, rest = _effects(found, ["approach", "law", "outliers"])
    assert sum(one.share for one in choices) + rest == pytest.approx(1)
    assert rest == pytest.approx(0, abs=1e-9)
    alone = [_effects(found, [one.dimension])[0][0].share for one in choices]
    assert sum(alone) > 1.1


def test_the_range_stands_beside_the_interval(result):
    out = result.to_dict()
    assert out["range"][0] <= out["median"] <= out["range"][1]
    assert out["interval"][0] < OPTIMAL < out["interval"][1]
    assert len(out["universes"]) == len(result.universes)
    exponents = [one.exponent for one in result.universes if one.exponent is not None]
    assert exponents == sorted(exponents)
    combinations = {tuple(sorted(one.choices.items())) for one in result.universes}
    assert len(combinations) == len(result.universes)


def test_with_next_to_no_noise_the_laws_universes_agree():
    found = multiverse(grid(noise=1e-4), laws=("chinchilla",), bootstrap=0)
    by_law = [one.exponent for one in found.universes if one.choices["approach"] == "law"]
    assert len(by_law) == 9
    np.testing.assert_allclose(by_law, OPTIMAL, atol=3e-3)


def test_the_exponent_along_another_convention_of_compute():
    """Where compute is 6 N^1.2 D, params grow as its power beta / (alpha + 1.2 beta)."""
    table = grid(noise=1e-7)
    rows = sample(sl.as_runs(table))
    fitted = fit_sample(rows, sl.LAWS["chinchilla"], "", Settings(Rho("squared", 1e-3, False)))
    n, d = rows.inputs["params"], rows.inputs["tokens"]
    expected = LAW["beta"] / (LAW["alpha"] + 1.2 * LAW["beta"])
    assert exponent_along(fitted, rows, 6 * n**1.2 * d) == pytest.approx(expected, abs=2e-3)
    assert exponent_along(fitted, rows, 6 * n * d) == pytest.approx(OPTIMAL, abs=1e-4)


def test_a_store_offers_its_own_conventions(planted_store):
    runs = sl.read(planted_store).where(grid="language")
    assert list(counts(runs)) == ["without input table", "all", "without embedding and head"]
    spent = computes(runs, sample(runs, ("params", "tokens", "flops")))
    assert {"6 params tokens", "flops_exact", "flops_kaplan", "flops_chinchilla"} <= set(spent)


def test_the_figure_and_the_verb(result, tmp_path, capsys):
    plot = result.plot()
    assert len(plot.data) == len(result.exponents)
    first, second = (plots.save(plots.specification(result), tmp_path / turn) for turn in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({name: values.tolist() for name, values in grid().items()}))
    with pytest.raises(sl.InputError, match="goes through all"):
        verbs.fit([str(path), "--multiverse", "--law", "kaplan"])


@pytest.mark.slow
def test_the_verb_prints_both_forms(tmp_path, capsys):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({name: values.tolist() for name, values in grid().items()}))
    assert verbs.fit([str(path), "--multiverse", "--bootstrap", "50", "--json"]) == 0
    out = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert {one["choices"].get("law") for one in out["universes"]} == {
        "chinchilla",
        "coupled",
        "kaplan",
        None,
    }
    assert verbs.fit([str(path), "--multiverse", "--bootstrap", "50"]) == 0
    assert "of variance" in capsys.readouterr().out
