"""Single odd runs, as published series have them: named, and not taken for the shape."""

import numpy as np
import pandas
import pytest
from scipy.special import expit

from analysis.thresholds import detect
from analysis.thresholds.outliers import set_aside
from analysis.thresholds.scores import build


def table(scores, items=2000, metric="acc", sizes=None, **columns):
    sizes = np.geomspace(7e7, 1.2e10, len(scores)) if sizes is None else sizes
    correct = np.round(np.array(scores) * items)
    frame = {
        "task": "t",
        "metric": metric,
        "params": sizes,
        "correct": correct,
        "items": items,
        "chance": 0.0,
    }
    return pandas.DataFrame(frame).assign(**columns)


def codes(one):
    return [note.code for note in one.warnings]


SMOOTH = expit(np.linspace(-6.0, 0.2, 7))


def test_a_last_model_far_below_its_family_is_set_aside():
    """As where one large model was asked in a format it had not learnt."""
    one = detect(table([*SMOOTH, 0.008]), draws=99)[0]
    assert (one.verdict, "outlier" in codes(one)) == ("undecided", True)
    assert one.leading in ("smooth", "sigmoid", "power_law")
    assert one.leading == detect(table(SMOOTH, sizes=one.x[:-1]), draws=99)[0].leading
    assert one.score[-1] == pytest.approx(0.008)  # shown all the same


def test_an_inner_model_off_both_neighbours_is_set_aside():
    scores = SMOOTH.copy()
    scores[3] = 0.95
    assert "outlier" in codes(detect(table(scores), draws=99)[0])
    assert "outlier" not in codes(detect(table(SMOOTH), draws=99)[0])


def test_a_jump_at_the_last_size_is_no_outlier():
    cells = build(table([0.01, 0.02, 0.015, 0.02, 0.03, 0.02, 0.8]), "params")[0]
    assert set_aside(cells) is cells


def test_a_plateau_that_wobbles_is_a_step_with_a_fall_in_it():
    """2.8B above 6.9B by ten standard errors: a remark, and no outlier, for either could be the odd one."""
    one = detect(table([0.018, 0.035, 0.032, 0.051, 0.685, 0.477, 0.874], items=1500), draws=99)[0]
    assert (one.verdict, one.leading) == ("undecided", "step")
    assert "non_monotone" in codes(one)
    assert "outlier" not in codes(one)


def test_a_wobble_at_the_ceiling_is_no_turn():
    one = detect(table([0.285, 0.544, 0.756, 0.906, 0.972, 0.99, 0.982, 0.984]), draws=99)[0]
    assert one.leading != "non_monotone"


def test_real_seeds_are_never_set_aside():
    frame = pandas.concat([table(SMOOTH, seed=j) for j in range(2)])
    frame.loc[(frame["seed"] == 1) & (frame["params"] == frame["params"].max()), "correct"] = 16
    assert "outlier" not in codes(detect(frame, draws=99)[0])


def test_sizes_that_differ_by_more_than_their_seeds_make_no_break():
    """Two runs a size that agree to 0.02 logits, and sizes that scatter by 0.12 about a slowing curve."""
    off = np.array([0.14, -0.16, 0.12, -0.02, 0.08, -0.12, 0.1, -0.1])
    level = 0.75 * expit(1.3 * np.linspace(-1, 3, 8) + off)
    frame = pandas.concat([table(level, items=20000, seed=0), table(level + 0.002, items=20000, seed=1)])
    one = detect(frame, draws=99)[0]
    assert one.verdict != "emergent"


def test_what_is_learnt_at_a_constant_rate_is_smooth_in_tokens():
    tokens = np.linspace(0.5e11, 3e11, 8)
    scores = expit(-4 + 5 * tokens / 3e11)
    frame = table(scores, sizes=np.full(8, 1e9), tokens=tokens)
    one = detect(frame, axis="tokens", draws=99)[0]
    assert one.leading == "smooth"
    assert "one_run" in codes(one)
    given = detect(frame, axis="tokens", seed_sd=0.05, draws=99)[0]
    assert given.p_value > 0.2
    assert given.verdict != "emergent"
