"""The audit: rollouts never see the future, mistuned rungs are found at the stated rate of false alarms."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import analysis as sl
from analysis.audits.blend import Blend, about
from analysis.audits.misses import Misses, blend_of, widening
from analysis.audits.mistuned import find_mistuned, rungs_of
from analysis.audits.windows import past_of, windows_of
from analysis.fits.fitting import Settings
from analysis.laws.law import FormulaLaw, Parameter
from analysis.solve.objectives import Rho
from analysis.tables.sample import sample
from analysis.verbs.audit import audit as verb
from benchmarks import planted_losses
from benchmarks.forecast_rules import Rule, forecasts, trial
from benchmarks.planted_losses import TRUTHS

LAW = {"E": 1.0, "A": 60.0, "B": 3000.0, "alpha": 0.4, "beta": 0.6}
WIDE = {"E": 1.817218, "A": 477.826, "B": 2143.42, "alpha": 0.347311, "beta": 0.367172}


def ladder(rng, sizes=6, budgets=5, seeds=1, own=0.005, trunk=0.0, bad=None, up=0.03, outliers=0.0):
    """sizes x budgets x seeds runs of a planted law. own: a run's noise; trunk: that of a size and seed."""
    n, d, s = np.meshgrid(
        np.geomspace(2e4, 1e6, sizes), np.geomspace(1e6, 3e7, budgets), np.arange(seeds), indexing="ij"
    )
    size = (np.arange(sizes)[:, None, None] + 0 * s).ravel()
    shared = (size * seeds + s.ravel()).astype(int)
    noise = rng.normal(0, own, n.size) + (rng.normal(0, trunk, sizes * seeds)[shared] if trunk else 0.0)
    noise += (rng.random(n.size) < outliers) * np.abs(rng.normal(0, 0.06, n.size))
    noise += up * (size == bad) if bad is not None else 0.0
    table = {"params": n.ravel(), "tokens": d.ravel()}
    table["loss"] = sl.LAWS["chinchilla"].loss(LAW, table) * np.exp(noise)
    if trunk:
        table["cluster"] = shared.astype(str).astype(object)
    return table


def isogrid(rng, noise=0.004, law=WIDE):
    flops = np.repeat(np.geomspace(1e18, 1e21, 7), 7)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.2, 5, 7), 7)
    table = {"params": params, "tokens": flops / 6 / params}
    loss = sl.LAWS["chinchilla"].loss(law, table)
    return {**table, "loss": loss * np.exp(noise * rng.standard_normal(49))}


def mistuned(table):
    runs = sl.as_runs(table)
    return find_mistuned(sl.fit(runs, bootstrap=0), sample(runs).clusters)


DESIGNS = {
    "6 sizes x 5": {},
    "8 sizes x 4": {"sizes": 8, "budgets": 4},
    "trunks, 2 seeds": {"seeds": 2, "trunk": 0.006, "own": 0.003},
    "one trunk a size": {"trunk": 0.006, "own": 0.003},
    "8 x 8, outliers": {"sizes": 8, "budgets": 8, "outliers": 0.05},
}


def alarms(name, simulations, **planted):
    """(share of ladders with any alarm, share in which the planted rung is marked)."""
    any_alarm = hit = 0
    for seed in range(simulations):
        found = mistuned(ladder(np.random.default_rng(seed), **{**DESIGNS[name], **planted}))
        any_alarm += any(one.mistuned for one in found)
        hit += bool(found) and planted.get("bad") is not None and found[planted["bad"]].mistuned
    return any_alarm / simulations, hit / simulations


def test_sound_ladders_have_the_p_values_of_sound_ladders():
    """Minus the logarithm of an exact p-value is 1 on average; Holm's, cut off at 1, lies a fifth below. Over
    30 ladders the standard error is 0.15; alarms three times as often as stated would give 1.2, none 0."""
    smallest = [
        min(rung.p_value for rung in mistuned(ladder(np.random.default_rng(seed), **planted)))
        for planted in DESIGNS.values()
        for seed in range(6)
    ]
    assert 0.45 <= -np.log(smallest).mean() <= 1.1, smallest


@pytest.mark.weekly
def test_sound_ladders_raise_the_stated_share_of_alarms():
    """Nominal 5 %, Holm's a little below; 500 ladders have a standard error of 1 %."""
    rates = [alarms(name, 100)[0] for name in DESIGNS]
    assert 0.02 <= np.mean(rates) <= 0.075, rates


@pytest.mark.parametrize("name", [name for name in DESIGNS if name != "one trunk a size"])
@pytest.mark.parametrize("bad", [1, 5])
def test_a_planted_rung_is_found_and_measured(name, bad):
    found = mistuned(ladder(np.random.default_rng(0), **DESIGNS[name], bad=bad, up=0.04))
    assert found[bad].mistuned
    assert found[bad].shift_percent == pytest.approx(4.0, abs=1.6)
    assert sum(one.mistuned for one in found) <= 2


def test_a_rung_below_the_law_is_no_alarm():
    """Luck cannot be mistuned: the test looks at one side."""
    found = mistuned(ladder(np.random.default_rng(2), bad=3, up=-0.03))
    assert not found[3].mistuned
    assert found[3].shift_percent < -1.5


def test_what_cannot_be_tested_is_not():
    assert mistuned(ladder(np.random.default_rng(0), sizes=4, budgets=8)) == ()
    assert rungs_of(np.array([1e6, 5e5, 1.001e6, 2e6])).tolist() == [1, 0, 1, 2]


def test_rollouts_never_see_the_future():
    """Whatever the losses beyond a window are, what was predicted from within it stays the same."""
    table = isogrid(np.random.default_rng(0))
    for axis, windows in (("tokens", 2), ("flops", 4)):
        honest = sl.rollout(table, axis, windows=windows)
        limit = honest.steps[1].limit
        along = sl.as_runs(table).columns[axis]
        other = {**table, "loss": np.where(along > limit * 1.002, 1.5 * table["loss"], table["loss"])}
        changed = sl.rollout(other, axis, windows=windows)
        before = {(m.limit, m.row): m.error_percent for m in honest.misses if m.limit <= limit}
        after = {(m.limit, m.row): m.error_percent for m in changed.misses if m.limit <= limit}
        common = before.keys() & after.keys()
        assert len(common) > 10
        for key in common:
            # error is 100 (p - y) / y: the same prediction p, and y half as large again where it was changed
            factor = 1.5 if along[key[1]] > limit * 1.002 else 1.0
            assert 1 + after[key] / 100 == pytest.approx((1 + before[key] / 100) / factor, rel=1e-9)
        for miss in honest.misses:
            assert miss.distance > 1
            assert along[miss.row] == pytest.approx(miss.limit * miss.distance)


def test_errors_are_summed_by_distance():
    found = sl.rollout(isogrid(np.random.default_rng(1)), "flops")
    assert sum(one.predictions for one in found.distances) == len(found.misses)
    worst = max(abs(miss.error_percent) for miss in found.misses)
    assert all(one.mean_abs_error_percent <= worst for one in found.distances)


def test_laws_are_ranked_by_what_they_predict():
    """Runs of a coupled law: it must come before Chinchilla's, and be right at ten times the compute."""
    n, d = np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6), indexing="ij")
    table = {"params": n.ravel(), "tokens": d.ravel()}
    truth = {"E": 1.5, "A": 3e3, "B": 3e4, "alpha": 0.6, "beta": 0.6, "gamma": 0.5}
    noise = 0.002 * np.random.default_rng(0).standard_normal(36)
    table["loss"] = sl.LAWS["coupled"].loss(truth, table) * np.exp(noise)
    done = []
    result = sl.audit(table, laws=("chinchilla", "coupled"), bootstrap=60, progress=done.append)
    assert done == pytest.approx([0, 1 / 3, 2 / 3])
    assert [one.law for one in result.laws] == ["coupled", "chinchilla"]
    assert result.laws[0].relative == 1.0
    assert result.laws[1].relative > 1.2
    ahead = result.next_scale
    assert ahead.flops == pytest.approx(10 * 6 * n.max() * d.max())
    loss = float(sl.LAWS["coupled"].loss(truth, {"params": ahead.params, "tokens": ahead.tokens}))
    assert ahead.loss == pytest.approx(loss, rel=0.01)
    assert ahead.interval[0] < ahead.bootstrap[0] * 1.0001 < ahead.loss < ahead.interval[1]


def test_widening_is_the_worst_window_taken_to_the_distance():
    far, near = np.full(9, 3.0), np.full(9, 2.0)
    found = Misses(np.concatenate([far, near]), np.repeat([0, 1], 9), (10.0, 2.0))
    assert widening(found, 0.9, 2.0) == 3.0
    assert widening(found, 0.9, 10.0) == pytest.approx(2.0 * np.sqrt(np.log(10) / np.log(2)))
    assert widening(found, 0.9, 100.0) == pytest.approx(2.0 * np.sqrt(np.log(100) / np.log(2)))
    assert widening(Misses(np.full(9, 3.0), np.zeros(9, int), (10.0,)), 0.9, 100.0) == pytest.approx(
        4.2426, 1e-4
    )
    assert widening(Misses(np.full(9, 0.4), np.zeros(9, int), (3.0,)), 0.9, 3.0) == 1.0
    wide = Misses(np.repeat([2.0, 6.0, 3.0], 9), np.repeat([0, 1, 2], 9), (10.0, 10.0, 10.0))
    assert widening(wide, 0.9, 10.0) == 6.0
    assert widening(wide, 0.9, 10.0, together=True) == pytest.approx(11 / 3)
    assert widening(Misses(np.zeros(0), np.zeros(0, int), ()), 0.9, 3.0) is None


def test_laws_that_part_beyond_the_runs_widen_the_interval_where_they_part():
    """Two laws, one of twice the other's loss beyond: the middle, and a standard deviation, worked out."""
    near, far = (
        {"params": np.array([1e6]), "tokens": np.array([1e7])},
        {"params": np.array([1e8]), "tokens": np.array([1e7])},
    )
    own = (Parameter("c"), Parameter("a"))
    power = lambda p, x: p["c"] * x["params"] ** (-1.0 * p["a"])
    law = FormulaLaw("one", power, ("params", "tokens"), own, "", "")
    blend = Blend(((law, {"c": 2.0, "a": 0.0}), (law, {"c": 2.0 * 1e6**0.1, "a": 0.1})), (0.75, 0.25))
    middle, apart = blend.predict(near)
    assert (middle[0], apart[0]) == pytest.approx((np.log(2.0), 0.0), abs=1e-12)
    step = 0.1 * np.log(100)
    middle, apart = blend.predict(far)
    assert middle[0] == pytest.approx(np.log(2.0) - 0.25 * step)
    spread = np.sqrt(0.75 * 0.25**2 + 0.25 * 0.75**2)
    assert apart[0] == pytest.approx(spread * step)
    loss, low, high = about(blend, far, np.array([1.9]), np.array([2.1]), 0.9)
    assert np.log(high / loss)[0] == pytest.approx(np.hypot(np.log(2.1 / 2.0), 1.644854 * apart[0]))
    assert np.log(loss / low)[0] == pytest.approx(np.hypot(np.log(2.0 / 1.9), 1.644854 * apart[0]))


def test_a_forecast_is_the_blend_of_laws_by_their_earlier_errors():
    table = isogrid(np.random.default_rng(5))
    found = sl.forecast(table, bootstrap=0)
    weights = [one.weight for one in found.rivals]
    assert sum(weights) == pytest.approx(1)
    raw = [(one.earlier_error_percent + 0.1) ** -4 for one in found.rivals]
    assert weights == pytest.approx([one / sum(raw) for one in raw])
    assert found.fit.law.name == found.rivals[0].law
    far = found.cells[-1]
    parts = [sl.forecast(table, law=one.law, bootstrap=0).cells for one in found.rivals]
    logs = [np.log(next(c for c in cells if c.row == far.row).predicted) for cells in parts]
    assert np.log(far.predicted) == pytest.approx(np.dot(weights, logs), rel=1e-6)
    alone = sl.forecast(table, law="chinchilla", bootstrap=0)
    assert alone.rivals == ()


def test_held_out_rows_play_no_part_in_the_audit():
    table = isogrid(np.random.default_rng(3))
    held = 6 * table["params"] * table["tokens"] > 4e20
    first = sl.audit({**table, "held_out": held}, laws=("chinchilla",), bootstrap=0)
    other = {**table, "loss": np.where(held, 9.0, table["loss"]), "held_out": held}
    assert first.to_dict() == sl.audit(other, laws=("chinchilla",), bootstrap=0).to_dict()


def test_a_table_that_holds_everything_out_is_told_so():
    table = isogrid(np.random.default_rng(3))
    every = {**table, "held_out": np.ones(len(table["loss"]), bool)}
    for verb_of in (sl.audit, sl.forecast):
        with pytest.raises(sl.InputError, match="marked as held out"):
            verb_of(every)
    one = {name: values[:7] for name, values in ladder(np.random.default_rng(0), 1, 7).items()}
    with pytest.raises(sl.InputError) as refused:
        sl.forecast(one)
    assert not any("holdout-factor" in problem for problem in refused.value.problems)


def test_the_verb_prints_one_object_and_names_bad_input(tmp_path, capsys):
    table = ladder(np.random.default_rng(0), bad=3)
    path = tmp_path / "runs.csv"
    lines = [",".join(table)] + [
        ",".join(f"{v:.8g}" for v in row) for row in zip(*table.values(), strict=True)
    ]
    path.write_text("\n".join(lines))
    assert verb([str(path), "--laws", "chinchilla", "--bootstrap", "20", "--json"]) == 0
    out = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [one["mistuned"] for one in out["rungs"]].index(True) == 3
    assert {"mistuned_rung", "mistuned_moves_exponent"} <= {note["code"] for note in out["warnings"]}
    assert {one["axis"] for one in out["rollouts"]} == {"params", "tokens", "flops"}
    assert verb([str(path), "--laws", "chinchilla", "--bootstrap", "20"]) == 0
    text = capsys.readouterr().out
    assert "mistuned_rung" in text
    assert "90 % interval" in text
    with pytest.raises(sl.InputError, match="nearest: 'chinchilla'"):
        verb([str(path), "--laws", "chinchila"])
    with pytest.raises(sl.InputError, match="factor"):
        verb([str(path), "--factor", "0.5"])


def published():
    """The module beside this one: tests are no package."""
    spec = importlib.util.spec_from_file_location("published", Path(__file__).with_name("published.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_published_table_can_still_be_read(oracles):
    for name, read in published().tables(oracles):
        runs = read()
        assert len(runs) >= 10, name
        assert np.isfinite(runs.columns["loss"]).all(), name


def coverage(design, law, simulations, draws=200):
    """Share of held-out cells inside their 90 % interval, and the mean error in percent."""
    inside, error = [], []
    for seed in range(simulations):
        result = sl.forecast(design(np.random.default_rng(seed)), law=law, bootstrap=draws, seed=seed)
        inside.append(result.score.coverage)
        error.append(result.score.mean_abs_error_percent)
    return float(np.mean(inside)), float(np.mean(error))


def dirty(rng):
    return ladder(rng, sizes=7, budgets=7, own=0.004, outliers=0.05)


def test_a_laws_own_forecast_holds_what_comes():
    """90 % nominal, over clean tables and tables with outliers: never all, nor too few."""
    held = [coverage(design, "chinchilla", 4, draws=60)[0] for design in (isogrid, dirty)]
    assert 0.8 <= np.mean(held) <= 0.99, held


@pytest.mark.weekly
@pytest.mark.parametrize("design", [isogrid, dirty])
def test_a_laws_own_forecast_holds_what_comes_over_many_tables(design):
    """60 tables: the standard error is a point or two. Earlier misses widen an interval and never narrow it:
    where the law is true and the noise even, more than nine in ten lie inside."""
    assert 0.86 <= coverage(design, "chinchilla", 60)[0] <= 0.99


def planted_coverage(tables, first, draws=60):
    """{truth: (share of held-out cells inside 90 %, log of their half-widths)} of the default forecast."""
    out = {}
    for truth in TRUTHS:
        cells = []
        for name in ("grid x 3.3", "grid x 10"):
            for seed in range(first, first + tables):
                columns, _ = planted_losses.table(truth, planted_losses.DESIGNS[name], seed)
                cells += sl.forecast(columns, bootstrap=draws).cells
        half = np.mean([np.log(np.log(cell.high / cell.low) / 2) for cell in cells])
        out[truth] = float(np.mean([cell.inside for cell in cells])), float(half)
    return out


def test_the_forecasts_rule_holds_what_comes_where_chinchilla_does_not():
    """90 % nominal over 40 tables each of Kaplan's joint form and of trunks that share noise, on seeds that
    the rule was not chosen on; not by width either, for a run alone scatters by half a percent."""
    for truth in ("joint", "trunks"):
        one = trial(truth, "grid x 3.3", range(1000, 1040))
        inside, half, _ = forecasts(one, Rule())
        assert 0.86 <= inside.mean() <= 0.985, truth
        assert 0.008 <= np.exp(np.log(half).mean()) <= 0.02, truth


@pytest.mark.weekly
def test_the_default_forecast_holds_what_comes_under_every_truth():
    """20 tables a truth: the worst not far below 90 %, none beyond all doubt; widths as a run scatters."""
    found = planted_coverage(10, 2000, 200)
    for truth, (held, half) in found.items():
        assert 0.84 <= held <= 0.99, (truth, held)
        assert 0.008 <= np.exp(half) <= 0.04, (truth, half)


def test_windows_rank_and_weigh_by_what_came_before_them_alone():
    """Losses beyond a window change neither what it says nor with which weights."""
    columns, _ = planted_losses.table("joint", planted_losses.DESIGNS["grid x 3.3"], 3)
    rows = sample(sl.as_runs(columns))
    laws = [sl.LAWS[name] for name in ("chinchilla", "kaplan")]
    first = past_of(rows, laws, Settings(), "")
    assert len(first.windows) >= 3
    stage = 1
    late = first.windows[stage].late
    other = past_of(replace(rows, loss=np.where(late, 1.3 * rows.loss, rows.loss)), laws, Settings(), "")
    one, two = blend_of(first, stage), blend_of(other, stage)
    assert one.weights == two.weights
    assert [values for _, values in one.laws] == [values for _, values in two.laws]
    assert first.errors(-1) != other.errors(-1)


def test_a_remembered_past_is_of_the_same_rows():
    rows = sample(sl.as_runs(ladder(np.random.default_rng(0), sizes=4, budgets=4)))
    law = [sl.LAWS["power-params"]]
    larger = {**rows.inputs, "params": 2 * rows.inputs["params"]}
    first = past_of(rows, law, Settings(), "")
    assert past_of(replace(rows, loss=rows.loss.copy()), law, Settings(), "elsewhere").logs is first.logs
    others = [
        past_of(replace(rows, loss=1.1 * rows.loss), law, Settings(), ""),
        past_of(replace(rows, inputs=larger), law, Settings(), ""),
        past_of(replace(rows, noise=0.1 * rows.loss), law, Settings(), ""),
        past_of(replace(rows, clustered_by="size"), law, Settings(), ""),
        past_of(rows, [sl.LAWS["power-tokens"]], Settings(), ""),
        past_of(rows, law, Settings(rho=Rho("squared", 1.0, False)), ""),
    ]
    assert all(other.logs is not first.logs for other in others)


def test_a_trunk_is_never_split():
    """Of a trunk that reaches into a window's future no row is fitted in it."""
    columns, _ = planted_losses.table("trunks", planted_losses.DESIGNS["grid x 10"], 0)
    rows = sample(sl.as_runs(columns))
    windows = windows_of(rows)
    assert windows
    for window in windows:
        assert not set(rows.clusters[window.early]) & set(rows.clusters[window.late])
    free = {name: values for name, values in columns.items() if name not in ("held_out", "cluster")}
    found = sl.forecast({**free, "cluster": columns["cluster"]}, bootstrap=0, law="chinchilla")
    assert "of a trunk that reaches there" in found.rule
    marked = sl.forecast(columns, bootstrap=0, law="chinchilla")
    assert "trunks_split" in {note.code for note in marked.warnings}


def test_a_ladder_whose_every_trunk_reaches_the_end_is_scored_all_the_same():
    """No early part of it is free of what comes. Before: no law was scored, and the first tried led."""
    sizes, budgets = np.meshgrid(np.geomspace(3e4, 3e5, 5), [6e5, 1.2e6, 2.4e6, 4.8e6], indexing="ij")
    loss = 1.2 + 120 / sizes**0.58 + 1700 / budgets**0.58
    loss *= np.exp(0.003 * np.random.default_rng(0).standard_normal(loss.shape))
    columns = {"params": sizes.ravel(), "tokens": budgets.ravel(), "loss": loss.ravel()}
    columns |= {"cluster": np.repeat([f"trunk {n}" for n in range(5)], 4)}
    columns |= {"held_out": (sizes * budgets > (sizes * budgets).max() / 4).ravel()}
    found = sl.forecast(columns, bootstrap=100)
    assert found.fit.leading.scored
    assert found.fit.law.name.startswith("chinchilla")
    assert {"trunks_split", "windows_split_trunks"} <= {note.code for note in found.warnings}
    assert found.widened is not None
    assert found.score.coverage == 1.0


if __name__ == "__main__":
    import sys

    # `python test_audit.py tables` prints the last part alone (`published.py`); the others take minutes.
    parts = sys.argv[1:] or ["alarms", "coverage", "tables"]
    if "alarms" in parts:
        print(f"{'false alarms and power, nominal 5 %':38}{'sound':>8}{'+3 %':>8}")
    for name in DESIGNS if "alarms" in parts else ():
        print(f"{name:38}{alarms(name, 200)[0]:8.3f}{alarms(name, 100, bad=2)[1]:8.3f}", flush=True)
    if "coverage" in parts:
        print(f"\n{'coverage of 90 % forecasts':38}{'held':>8}{'error %':>8}")
    designs = {
        "IsoFLOP, 0.4 % noise": isogrid,
        "6 x 6 grid": lambda rng: ladder(rng, 6, 6, own=0.006),
        "7 x 7 grid, outliers": lambda rng: ladder(rng, 7, 7, own=0.004, outliers=0.05),
        "trunks, 2 seeds": lambda rng: ladder(rng, 6, 5, 2, 0.003, 0.006),
    }
    for name, design in designs.items() if "coverage" in parts else ():
        for law in ("chinchilla", "auto"):
            share, error = coverage(design, law, 100)
            print(f"{name + ', ' + law:38}{share:8.3f}{error:8.2f}", flush=True)
    if "tables" in parts:
        print()
        published().show(published().folder())
