"""Figures: the numbers they draw are the results' own, and equal input gives equal bytes."""

import json
import os
import re
import time
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

import analysis as sl
from analysis import plots
from analysis.audits.results import Cell
from analysis.isoflops.results import Curve, IsoFlop
from analysis.plots import compute, learning
from analysis.plots.style import count, log_ticks, plain, power
from analysis.report.abilities import by_task
from analysis.report.figures import drawings
from analysis.report.study import subset
from analysis.second_process import Second


@pytest.fixture(scope="module")
def group(planted_study):
    return planted_study.law


@pytest.fixture(scope="module")
def drawn(planted_study):
    return {plot.name: plot for plot in (draw() for _, draw in drawings(planted_study))}


def test_a_study_has_all_figures(drawn):
    wanted = {"loss_compute", "law_contour", "holdout", "isoflop", "frontier", "cost", "sobriety"}
    assert wanted | {"ability_copy", "ability_coin"} == set(drawn)


def test_every_figure_has_words_labels_and_finite_numbers(drawn):
    for plot in drawn.values():
        assert plot.caption.endswith(".")
        assert plot.alt.endswith(".")
        numbers = plot.data.select_dtypes("number")
        assert len(numbers) > 1
        assert np.isfinite(numbers.to_numpy(float)).any(axis=0).all(), plot.name
        for axis in plot.figure.axes:
            if axis.axison:
                # What an axis shows is said on it, above it, or by the axis that it shares.
                shared = axis.get_shared_y_axes().get_siblings(axis)
                assert any(a.get_ylabel() or a.get_title(loc="left") for a in shared), plot.name
                below = axis.get_shared_x_axes().get_siblings(axis)
                assert any(a.get_xlabel() or a.get_title(loc="left") for a in below), plot.name
                assert np.isfinite([*axis.get_xlim(), *axis.get_ylim()]).all()


@pytest.mark.parametrize("kind", plots.plot.FORMATS)
def test_equal_input_gives_equal_bytes(kind, group, tmp_path):
    for turn in ("first", "second"):
        plots.save(plots.law_contour(group.fit, group.forecast), tmp_path / turn, (kind,))
    name = f"law_contour.{kind}"
    content = (tmp_path / "first" / name).read_bytes()
    assert content == (tmp_path / "second" / name).read_bytes()
    assert len(content) > 500


def test_figures_that_take_fits_of_their_own_are_drawn_when_asked(planted_study, tmp_path):
    kinds = ("deviation", "rollout")
    asked = {kind: draw for kind, draw in drawings(planted_study, kinds) if kind in kinds}
    assert set(asked) == set(kinds)
    assert not set(kinds) & {kind for kind, _ in drawings(planted_study)}
    for draw in asked.values():
        first, second = draw(), draw()
        assert first.caption.endswith(".")
        assert len(first.data) > 10
        for turn, plot in (("first", first), ("second", second)):
            plots.save(plot, tmp_path / turn, ("svg", "csv"))
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_the_price_of_another_size_is_zero_at_the_optimum(group):
    plot = plots.deviation(group.fit, group.allocation.flops)
    middle = plot.data["factor"].sub(1).abs().idxmin()
    assert plot.data["extra_loss"][middle] == pytest.approx(0, abs=1e-9)
    twice = next(one for one in group.allocation.deviations if one.factor == 2.0)
    log_factor = np.log(plot.data["factor"])
    extra = np.interp(np.log(2), log_factor, plot.data["extra_loss"])
    assert extra == pytest.approx(twice.extra_loss, rel=0.1)
    assert plot.data["wasted_percent"].between(0, 100).all()


def test_a_second_process_serves_call_after_call_and_gives_back_what_it_has_not_begun(tmp_path):
    def begun(second, folder):
        wait = second.call(os.getpid)
        second.call(os.mkdir, folder)  # begins when the call before it has its answer
        while not folder.is_dir():
            time.sleep(0.01)
        return wait()

    with Second() as second:
        assert begun(second, tmp_path / "a") == begun(second, tmp_path / "b") != os.getpid()
        second.call(time.sleep, 60)
        assert second.call(os.getpid)() == os.getpid()
    # Left in the middle of a call, it is gone.
    assert second._process.poll() is not None


def test_what_cannot_be_sent_or_falls_is_computed_here():
    with Second() as second:
        assert second.call(lambda: 42)() == 42
        assert second.call(int, "42")() == 42
        with pytest.raises(ValueError, match="invalid literal"):
            second.call(int, "no number")()
        assert second.call(int, "43")() == 43


def test_figures_leave_matplotlibs_settings_alone(group):
    before = dict(matplotlib.rcParams)
    plots.cost(group.runs).svg()
    assert dict(matplotlib.rcParams) == before


def test_runs_that_are_not_ok_are_no_points_of_the_loss(group, drawn):
    points = drawn["loss_compute"].data.query("kind == 'run'")
    good = np.asarray(group.runs.columns["status"]) == "ok"
    assert sorted(points["run_id"]) == sorted(group.runs.columns["run_id"][good].tolist())
    assert points["held_out"].sum() == 4


def test_learning_curves_come_with_their_trunks_despite_a_torn_line(group):
    curves = plots.learning_curves(group.runs)
    assert sum(curve.trunk for curve in curves) == 10
    # The unfinished and the failed run have curves too.
    assert len(curves) == 10 + len(group.runs)
    for curve in curves:
        assert np.isfinite(curve.loss).all()
        assert (np.diff(curve.tokens) > 0).all()


def test_a_run_that_was_validated_on_the_way_has_a_curve_of_validation(tmp_path):
    lines = [{"step": i, "tokens": 10 * i, "loss_nats": 4.0 - i} for i in (1, 2, 3)]
    lines += [{"step": i, "tokens": 10 * i, "kind": "val", "loss_nats": 5.0 - i} for i in (1, 3)]
    for name, kept in {"seen": lines, "unseen": lines[:4]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    curves = [learning._curve(tmp_path, name, 1e3, False) for name in ("seen", "unseen")]
    assert [curve.validated for curve in curves] == [True, False]
    assert curves[0].loss.tolist() == [4.0, 2.0]
    assert curves[1].loss.tolist() == [3.0, 2.0, 1.0]
    assert compute._losses(curves) == "losses of training, or of validation for 1 runs,"
    assert compute._losses(curves[1:]) == "training losses"


def test_the_frontier_is_the_closed_form_of_the_law(group, drawn):
    line = drawn["frontier"].data.query("approach == 'law'")
    p = {"beta": group.fit.params["alpha"], **group.fit.params}  # one exponent, where the tied law was chosen
    a = p["beta"] / (p["alpha"] + p["beta"])
    gain = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    expected = gain * (line["flops"] / 6) ** a
    np.testing.assert_allclose(line["params"], expected, rtol=1e-6)
    np.testing.assert_allclose(6 * line["params"] * line["tokens"], line["flops"], rtol=1e-9)
    assert (line["params_low"] <= line["params"]).all()
    assert (line["params"] <= line["params_high"]).all()


def test_a_run_worse_than_the_law_lies_above_zero(group):
    cell = Cell(0, "r", 1e5, 2e6, 1.2e12, 2.0, 1.9, 2.1, 2.2, -0.2, -9.1, False)
    plot = plots.holdout(replace(group.forecast, cells=(cell,)))
    right = plot.figure.axes[1]
    marks = next(artist for artist in right.collections if artist.get_gid() == "held-out-cells")
    assert marks.get_offsets()[0][1] == pytest.approx(10.0)
    assert "OUTSIDE" in plot.hints["held-out-cells"][0]


def test_a_refused_minimum_is_no_minimum():
    params = np.array([1e4, 2e4, 4e4])
    loss = np.array([3.2, 3.1, 3.05])
    nothing = {"minimum": None, "parabola": None, "refusal": "the lowest point is the largest size"}
    curve = Curve(1e12, params, 1e12 / 6 / params, loss, np.arange(3), 2e4, **nothing)
    iso = IsoFlop((curve,), None, None, "parabola", False, 0.95, "nothing", 0, 3, (), ())
    plot = plots.isoflop_curves(iso)
    assert set(plot.data["kind"]) == {"run"}
    assert "the lowest point is the largest size" in plot.caption
    assert "1 do not" in plot.alt


def test_marks_carry_their_values_and_text_is_escaped(group, planted_study):
    plot = plots.loss_compute(group.runs, group.fit)
    svg = plot.svg()
    lines = [line for hints in plot.hints.values() for line in hints]
    assert len(re.findall("<title>", svg)) == 1 + len(lines)
    assert lines[0] in svg
    series = [replace(one, task="<b>&copy</b>") for one in by_task(planted_study)["copy"]]
    svg = plots.ability(series).svg()
    assert "<b>" not in svg
    assert "&lt;b&gt;&amp;copy" in svg


def test_an_ability_shows_a_jumping_and_a_continuous_metric(planted_study):
    plot = plots.ability(by_task(planted_study)["copy"])
    titles = [axis.get_title(loc="left").split("\n")[0] for axis in plot.figure.axes]
    assert titles == ["exact match", "nats per answer token"] * 2
    runs = plot.data.query("kind == 'run' and metric == 'exact_match' and axis == 'params'")
    assert len(runs) == 18
    with pytest.raises(ValueError, match="one task"):
        plots.ability(planted_study.thresholds)


def test_a_law_of_one_input_is_drawn_along_it(group):
    fit = sl.fit(group.runs, law="power-flops-offset", bootstrap=0)
    plot = fit.plot()
    assert plot.figure.axes[0].get_xlabel() == "training compute (FLOPs)"
    assert set(plot.data["kind"]) == {"fitted run", "law"}


def test_colours_are_told_apart_by_lightness_alone():
    colours = plots.palette([1e3, 1e6])
    rgb = np.array([colours(size)[:3] for size in np.geomspace(1e3, 1e6, 6)])
    lightness = rgb @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0.04).all()


def test_numbers_read_as_people_say_them():
    assert [count(v) for v in (950, 12_000, 999_999, 3_400_000, 1.2e9)] == [
        "950",
        "12k",
        "1M",
        "3.4M",
        "1.2B",
    ]
    assert [power(v) for v in (1e12, 3e12, 9.99e11, 2.5e-5)] == ["10¹²", "3×10¹²", "10¹²", "2.5×10⁻⁵"]
    assert [plain(v) for v in (1.23456, 0.0, 0.001, 1e-5)] == ["1.235", "0", "0.001", "10⁻⁵"]


@pytest.mark.parametrize("low", [1.0, 2.3e4, 7e11])
@pytest.mark.parametrize("factor", [1.3, 4, 30, 1e3, 1e9])
def test_log_axes_have_a_few_round_ticks_inside(low, factor):
    ticks = log_ticks(low, low * factor)
    assert 2 <= len(ticks) <= 7
    assert all(0.99 * low <= tick <= 1.01 * low * factor for tick in ticks)


def test_a_table_without_a_store_is_drawn_without_curves(group, tmp_path):
    good = np.asarray(group.runs.columns["status"]) == "ok"
    kept = subset(group.runs, good)
    path = tmp_path / "table.json"
    rows = [
        {name: float(kept.columns[name][row]) for name in ("params", "tokens", "loss")}
        for row in range(len(kept))
    ]
    path.write_text(json.dumps(rows))
    runs = sl.read(path)
    assert plots.learning_curves(runs) == ()
    assert len(plots.loss_compute(runs).data) == len(rows)
    assert plots.cost(runs).data["runs"].sum() == len(rows)


def test_labels_of_contours_stand_off_the_runs_and_whole_within_the_axes(planted_study):
    plot = plots.law_contour(planted_study.law.fit)
    (axis,) = plot.figure.axes
    named = [text for text in axis.texts if re.fullmatch(r"[\d.]+", text.get_text())]
    to_axes = lambda points: axis.transAxes.inverted().transform(axis.transData.transform(points))
    places = to_axes([text.get_position() for text in named])
    runs = plot.data[plot.data["kind"] == "fitted run"]
    dots = to_axes(runs[["flops", "params"]].to_numpy(float))
    nearest = [np.hypot(*(dots - place).T).min() for place in places]
    assert len(named) >= 3
    assert min(nearest) > 0.04
    assert places.min() > 0.05
    assert places.max() < 0.95


def test_a_run_that_diverges_leaves_the_axis_to_the_others(group):
    """Before any run has ended, the axis is made for the curves."""
    some = {name: values[:0] for name, values in group.runs.columns.items()}
    way = lambda name, losses: learning.LearningCurve(
        name, 4e4, np.array([1e5, 2e5, 4e5]), np.array(losses), False
    )
    curves = [way("good", [5.0, 3.0, 2.5]), way("lost", [5.0, 900.0, 3e7])]
    plot = plots.loss_compute(replace(group.runs, columns=some), None, curves)
    (axis,) = plot.figure.axes
    low, top = axis.get_ylim()
    assert low < 2.5
    assert 5.0 < top < 10


def test_an_exponent_that_a_law_assumes_has_no_interval():
    from analysis.plots.frontier import _exponent

    assert _exponent(0.5, (0.5, 0.5)) == "0.50 by assumption"
    assert _exponent(0.46, (0.44, 0.48)) == "0.46 (0.44 to 0.48)"
