"""Malformed tables get one line a problem; data not to be believed get the verdict `invalid`."""

import numpy as np
import pandas
import pytest

from analysis.errors import InputError
from analysis.thresholds import detect
from analysis.thresholds.scores import build
from benchmarks import planted
from benchmarks.planted import Plan


def table(**columns):
    rows = planted.smooth(Plan(), np.random.default_rng(0))
    return pandas.DataFrame(rows).assign(**columns)


def problems(frame, **options):
    with pytest.raises(InputError) as caught:
        detect(frame, **options)
    return caught.value.problems


def verdict(frame):
    one = detect(frame, draws=99)[0]
    return one.verdict, [note.code for note in one.warnings]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("score", 68.5, "outside [0, 1]"),
        ("score", np.nan, "score is missing"),
        ("correct", 3.5, "no whole number"),
        ("correct", 1001.0, "of 1000 items"),
        ("items", 0.0, "items (or a stderr) is missing"),
        ("params", -1.0, "not positive"),
        ("params", np.inf, "missing"),
        ("chance", 1.5, "outside [0, 1)"),
    ],
)
def test_a_bad_value_is_named_with_its_row(column, value, said):
    frame = table()
    frame[column] = frame[column].astype(float)
    if column == "score" and np.isnan(value):
        frame["correct"] = np.nan
    frame.loc[5, column] = value
    lines = problems(frame)
    assert any("row 5" in line and "smooth/exact_match" in line and said in line for line in lines), lines


def test_all_problems_come_at_once():
    frame = table()
    frame.loc[2, "score"] = 2.0
    frame.loc[9, "params"] = -3.0
    lines = problems(frame)
    assert any("row 2" in line for line in lines)
    assert any("row 9" in line for line in lines)


def test_text_where_a_number_belongs():
    frame = table()
    frame["score"] = frame["score"].astype(object)
    frame.loc[3, "score"] = "n/a"
    assert any("row 3" in line and "'n/a'" in line for line in problems(frame))


def test_missing_columns_name_the_nearest():
    lines = problems(table().rename(columns={"task": "tsk", "params": "parms"}))
    assert any("'task'" in line and "'tsk'" in line for line in lines)
    assert any("'params'" in line and "'parms'" in line for line in lines)
    assert "nearest" in problems(table(), axis="param")[0]
    assert "ability" in problems(table().iloc[:0])[0]


def test_chance_must_be_known_where_answers_can_be_guessed():
    lines = problems(table(metric="acc").drop(columns="chance"))
    assert any("no chance level" in line and "--chance smooth=0.25" in line for line in lines)
    one = detect(table().drop(columns="chance"), draws=99)[0]
    assert "chance_assumed" in [note.code for note in one.warnings]


def test_duplicate_cells_are_named():
    frame = table()
    assert any("twice" in line for line in problems(pandas.concat([frame, frame.iloc[:1]])))


def test_options_out_of_range():
    assert len(problems(table(), alpha=2, draws=3, seed_sd=-1.0)) == 3


def test_one_size_and_few_sizes_are_undecided():
    frame = table()
    sizes = frame["params"].unique()
    assert verdict(frame[frame["params"] == sizes[0]])[0] == "undecided"
    word, codes = verdict(frame[frame["params"].isin(sizes[:3])])
    assert (word, codes[0]) == ("undecided", "few_sizes")


def test_fractional_counts_are_invalid():
    frame = table().drop(columns="correct")
    frame["score"] = frame["score"] + 0.00037
    assert verdict(frame)[0] == "invalid"


def test_rounded_scores_are_no_fractional_counts():
    frame = table(items=1317).drop(columns="correct")
    frame["score"] = np.round(np.round(frame["score"] * 1317) / 1317, 3)
    assert verdict(frame)[0] != "invalid"


def test_exact_zeros_above_scoring_models_are_invalid():
    """A tokenizer fault scored LLaMA exactly 0 where smaller models scored 0.9."""
    frame = table()
    frame.loc[frame["params"] > 1e6, ["score", "correct"]] = 0
    word, codes = verdict(frame)
    assert (word, codes[0]) == ("invalid", "exact_zero")


def test_zeros_that_chance_cannot_give_are_invalid():
    frame = pandas.DataFrame(planted.smooth(Plan(chance=0.25), np.random.default_rng(0)))
    frame.loc[frame["params"] < 2e4, ["score", "correct"]] = 0
    assert verdict(frame)[0] == "invalid"


def test_a_fall_to_zero_is_inverse_not_invalid():
    rows = planted.inverse(Plan(seed_sd=0.1), np.random.default_rng(0), slope=-3.0)
    assert pandas.DataFrame(rows)["correct"].min() == 0
    assert verdict(pandas.DataFrame(rows))[0] == "inverse"


def test_one_answer_for_all_items_off_chance_is_invalid():
    """WSC answered with one label: 38 of 104 items at every size, where chance is a half."""
    frame = table(items=1000, correct=365, score=0.365, chance=0.5)
    word, codes = verdict(frame)
    assert (word, codes[0]) == ("invalid", "constant_answers")


def parsed(rate, **columns):
    """Parse rates by size, smallest first."""
    frame = table(**columns)
    return frame.assign(
        parse_rate=frame["params"].map(dict(zip(np.unique(frame["params"]), rate, strict=True)))
    )


def test_an_answer_that_is_right_was_read():
    word, codes = verdict(parsed([0.3] * 8))
    assert (word, codes[0]) == ("invalid", "parse_rate")


def test_a_parser_that_loses_larger_models_is_at_fault():
    frame = parsed([0.9, 0.9, 0.95, 0.95, 0.95, 0.95, 0.3, 0.3])
    frame.loc[frame["parse_rate"] < 0.5, "correct"] = 200
    word, codes = verdict(frame.drop(columns="score"))
    assert (word, codes[0]) == ("invalid", "parse_rate")


def test_small_models_that_do_not_end_their_answers_have_no_faulty_parser():
    rows = pandas.DataFrame(planted.hinge(Plan(), np.random.default_rng(0)))
    rate = dict(zip(np.unique(rows["params"]), [0.02, 0.05, 0.1, 0.3, 0.6, 0.8, 0.95, 1.0], strict=True))
    rows["parse_rate"] = rows["params"].map(rate)
    rows["correct"] = np.minimum(rows["correct"], (rows["parse_rate"] * rows["items"]).astype(int))
    word, codes = verdict(rows.drop(columns="score"))
    assert word == "emergent"
    assert "parse_rate" in codes


def test_a_model_that_knows_the_answers_is_not_read():
    """Same rates and scores as above, but the tokens of the right answers are near certain at every size."""
    rows = pandas.DataFrame(planted.hinge(Plan(), np.random.default_rng(0)))
    rate = dict(zip(np.unique(rows["params"]), [0.02, 0.05, 0.1, 0.3, 0.6, 0.8, 0.95, 1.0], strict=True))
    rows["parse_rate"] = rows["params"].map(rate)
    rows["correct"] = np.minimum(rows["correct"], (rows["parse_rate"] * rows["items"]).astype(int))
    sure = rows.assign(metric="gold_nats", score=0.03, correct=np.nan, parse_rate=np.nan)
    rows = rows.drop(columns="score")
    found = detect(pandas.concat([rows, sure], ignore_index=True), draws=99)["hinge", "exact_match"]
    assert found.verdict == "invalid"
    assert "gold_nats" in found.warnings[0].text


def test_nobody_is_read_at_any_size():
    frame = parsed([0.2] * 8, correct=100, score=0.1)
    assert verdict(frame)[0] == "invalid"


def test_most_answers_read_is_only_said():
    word, codes = verdict(parsed([0.9] * 8))
    assert word != "invalid"
    assert "parse_rate" in codes


def test_copies_of_rows_are_no_replicates():
    frame = table().query("seed == 0").drop(columns="seed")
    one = detect(pandas.concat([frame, frame]), draws=99)[0]
    assert (one.verdict, one.seeds) == ("undecided", 1)
    assert "duplicates" in [note.code for note in one.warnings]


def test_a_score_that_contradicts_its_counts_is_named():
    frame = table()
    frame.loc[4, "score"] = frame.loc[4, "score"] + 0.1
    assert any("row 4" in line and "but correct" in line for line in problems(frame))


def test_chance_told_once_serves_all_rows_of_a_series():
    frame = table(metric="acc", chance=np.nan)
    frame.loc[3, "chance"] = 0.1
    assert build(frame, "params")[0].chance == 0.1
    frame.loc[9, "chance"] = 0.25
    assert any("more than one chance level" in line for line in problems(frame))


def test_a_third_of_a_small_test_set_again_and_again_is_one_answer():
    """38 of 104 items in five of eight models, where a half is chance."""
    score = np.array([38, 38, 59, 38, 38, 40, 38, 57]) / 104
    frame = pandas.DataFrame(
        {"task": "t", "metric": "acc", "params": np.geomspace(7e7, 1.2e10, 8), "score": score}
    )
    word, codes = verdict(frame.assign(stderr=np.sqrt(score * (1 - score) / 103), chance=0.5))
    assert (word, codes[0]) == ("invalid", "constant_answers")


def test_stated_errors_beyond_the_binomial_shrink_the_items():
    frame = table()
    binomial = np.sqrt(frame["score"] * (1 - frame["score"]) / frame["items"])
    cells = build(frame.assign(stderr=3 * binomial), "params")[0]
    assert np.allclose(cells.items[(cells.score > 0) & (cells.score < 1)], 1000 / 9)


def test_clustered_rows_become_one_cell_with_their_design_effect():
    """Each cluster answered wholly right or wholly wrong: 1,000 items are worth 20."""
    rng = np.random.default_rng(0)
    rows = []
    for size in np.geomspace(1e4, 1e7, 6):
        for cluster in range(20):
            right = int(rng.random() < 0.5) * 50
            cell = {"task": "t", "metric": "exact_match", "params": size, "seed": 0, "chance": 0.0}
            rows.append(cell | {"cluster": cluster, "correct": right, "items": 50, "score": right / 50})
    cells = build(pandas.DataFrame(rows), "params")[0]
    assert cells.size.size == 6
    assert 15 < np.median(cells.items) < 25


def test_a_grid_of_budgets_is_not_a_set_of_seeds():
    frame = table(tokens=1e8)
    more = pandas.concat([frame, frame.assign(tokens=2e8)])
    one = detect(more, draws=99)[0]
    assert one.seeds == 3
    assert "one_budget" in [note.code for note in one.warnings]


@pytest.mark.parametrize("number", range(6))
def test_random_tables_never_break_it(number):
    """Few or many sizes, ragged seeds, extreme scores, tiny items: always a verdict."""
    rng = np.random.default_rng(number)
    rows = []
    for size in np.geomspace(1e3, 1e9, rng.integers(1, 9)):
        for seed in range(rng.integers(1, 7)):
            items = int(rng.choice([1, 3, 50, 20000]))
            correct = int(rng.choice([0, items, rng.integers(0, items + 1)]))
            cell = {"task": "t", "params": size, "seed": seed}
            rows.append(cell | {"metric": "exact_match", "items": items, "correct": correct, "chance": 0.0})
            rows.append(cell | {"metric": "gold_nats", "score": float(rng.exponential()) + 1e-9})
    found = detect(pandas.DataFrame(rows), draws=99)
    text = repr(found) + found._repr_html_()
    assert all(one["verdict"] in text for one in found.to_dict()["series"])


def test_equal_places_on_an_axis_are_one_place():
    """Models of different size that reach one loss: nothing can be fitted against that loss."""
    frame = table(tokens=1e8, loss_nats=2.0)
    one = detect(frame, axis="loss_nats", draws=99)[0]
    assert (one.verdict, one.sizes.size) == ("undecided", 1)
