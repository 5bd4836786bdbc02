"""Tables with a planted truth come back with that truth."""

from collections import Counter

import numpy as np
import pandas
import pytest

from analysis.thresholds import SeedSd, detect
from analysis.thresholds.family import false_discovery
from analysis.thresholds.findings import study
from analysis.thresholds.scores import build
from analysis.thresholds.verdict import decide
from benchmarks import planted
from benchmarks.planted import Plan

IDS = [generator.__name__ for generator, _ in planted.EXPECTED]


def plan_for(generator, **more):
    return Plan(seeds=8 if generator is planted.seed_mixture else 3, **more)


def verdict(generator, number, draws=99, **more):
    table = generator(plan_for(generator, **more), np.random.default_rng(number))
    metric = planted.JUDGED_BY.get(generator.__name__, "exact_match")
    return detect(pandas.DataFrame(table), draws=draws, seed=number)[generator.__name__, metric].verdict


@pytest.mark.parametrize(("generator", "expected"), planted.EXPECTED, ids=IDS)
def test_each_planted_truth_is_called(generator, expected):
    assert verdict(generator, 7) == expected


def test_called_right_with_much_seed_noise():
    """A table of each truth at twice the noise of the tables above: 9 of 10 at the least."""
    right = {
        generator.__name__: verdict(generator, 100, draws=99, seed_sd=0.4) == expected
        for generator, expected in planted.EXPECTED
    }
    assert sum(right.values()) >= len(right) - 1, right


@pytest.mark.weekly
@pytest.mark.parametrize("sd", [0.1, 0.4])
@pytest.mark.parametrize(("generator", "expected"), planted.EXPECTED, ids=IDS)
def test_called_right_over_many_draws(generator, expected, sd):
    """At a level of 5 %, at least 16 of 20."""
    calls = Counter(verdict(generator, number, seed_sd=sd) for number in range(100, 120))
    assert calls[expected] >= 16, calls


def test_elbow_interval_covers_the_planted_elbow():
    series = detect(pandas.DataFrame(planted.hinge(Plan(), np.random.default_rng(1))), draws=99)["hinge"]
    low, high = series.thresholds.elbow.interval
    assert low < 10**5.5 < high
    assert high / low < 4
    assert series.thresholds.half.value > series.thresholds.elbow.value


def test_detectable_falls_when_items_are_added():
    def first(items):
        table = planted.smooth(Plan(items=items, seed_sd=0.05, chance=0.25), np.random.default_rng(0), 3.0)
        return detect(pandas.DataFrame(table), draws=99)[0].thresholds.detectable.value

    assert first(10000) < first(50)


def test_metric_share_is_high_for_an_artifact():
    table = pandas.DataFrame(planted.metric_only(Plan(), np.random.default_rng(1)))
    one = detect(table, draws=99)["metric_only", "exact_match"]
    assert one.gates.metric_explains > 0.7
    assert one.gates.continuous_break is False


def test_one_seed_a_size_is_undecided_and_says_what_would_settle_it():
    table = pandas.DataFrame(planted.hinge(Plan(seeds=1), np.random.default_rng(0)))
    one = detect(table, draws=99)[0]
    assert (one.verdict, one.p_value, one.leading) == ("undecided", None, "hinge")
    assert one.seed_sd.source == "unknown"
    text = next(note.text for note in one.warnings if note.code == "one_seed")
    assert "would stand" in text
    assert "3 seeds" in text
    assert detect(table, seed_sd=0.2, draws=99)[0].verdict == "emergent"


def test_seed_noise_is_pooled_from_other_tasks_and_named():
    rng = np.random.default_rng(0)
    table = planted.smooth(Plan(), rng) + planted.hinge(Plan(seeds=1), rng)
    one = detect(pandas.DataFrame(table), draws=99)["hinge"]
    assert (one.verdict, one.seed_sd.source) == ("emergent", "pooled")
    assert any("smooth" in note.text for note in one.warnings if note.code == "seed_sd_pooled")


def test_q_values_are_those_of_benjamini_and_hochberg():
    """Their 1995 example, section 3.2: 15 p-values, of which four are rejected at 5 %."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262]
    p += [0.5719, 0.6528, 0.7590, 1.0]
    q = false_discovery([*p[::-1], None])
    assert q[-1] is None
    assert sum(value <= 0.05 for value in q[:-1]) == 4
    assert q[14] == pytest.approx(0.0001 * 15)


def test_a_break_that_multiplicity_explains_is_not_called():
    """One mild break at p of about 1 % among 30 flat tasks is what such a family gives by chance."""
    cells = build(pandas.DataFrame(planted.hinge(Plan(), np.random.default_rng(0))), "params")[0]
    found = study(cells, SeedSd(0.2, "given"), 0, 0.05, 99, np.random.default_rng(0))
    assert decide(found, 0.02, 0.05)[0] == "emergent"
    word, notes = decide(found, 0.3, 0.05)
    assert word != "emergent"
    assert "multiplicity" in [note.code for note in notes]


def test_same_seed_gives_the_same_result_and_order_of_rows_does_not_matter():
    table = pandas.DataFrame(planted.smooth(Plan(), np.random.default_rng(0)))
    first = detect(table, draws=99, seed=3).to_dict()
    assert detect(table, draws=99, seed=3).to_dict() == first
    assert detect(table.sample(frac=1, random_state=0), draws=99, seed=3).to_dict() == first


def test_loss_axis_runs_from_high_to_low_loss():
    table = pandas.DataFrame(planted.hinge(Plan(), np.random.default_rng(0)))
    table["loss_nats"] = 4.0 - 0.5 * np.log10(table["params"] / 1e4)
    table["tokens"] = 1e8
    one = detect(table, axis="loss_nats", draws=99)[0]
    assert one.verdict == "emergent"
    assert one.thresholds.elbow.value == pytest.approx(4.0 - 0.5 * 1.5, abs=0.1)
    assert one.grid[0] > one.grid[-1]
