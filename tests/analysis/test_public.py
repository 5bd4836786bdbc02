"""What `import analysis as sl` gives: every name, results as frames, the methods that need floors above."""

from importlib.resources import files

import numpy as np
import pytest
from matplotlib.figure import Figure

import analysis as sl
from analysis import api


@pytest.fixture(scope="module")
def law():
    params, tokens = np.meshgrid(np.geomspace(1e6, 1e8, 5), np.geomspace(1e8, 1e10, 5))
    table = {"params": params.ravel(), "tokens": tokens.ravel()}
    loss = sl.LAWS["chinchilla"].loss({"E": 1.7, "A": 400, "B": 1500, "alpha": 0.34, "beta": 0.37}, table)
    table["loss"] = loss * np.exp(0.004 * np.random.default_rng(0).standard_normal(25))
    return sl.fit(table, bootstrap=40)


def test_every_name_is_there_and_typed():
    assert dir(sl) == sorted(api.__all__)
    assert all(getattr(sl, name) is getattr(api, name) for name in api.__all__)
    assert files("analysis").joinpath("py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = sl.fitt


def test_a_fit_has_the_methods_of_floors_above(law):
    low, high = law.predict_interval(params=1e7, tokens=1e9)
    assert low < law.predict(params=1e7, tokens=1e9) < high
    assert law.profile_interval("alpha")[0] < law.params["alpha"] < law.profile_interval("alpha")[1]
    assert "alpha" in law._repr_html_()


def test_results_are_frames(law):
    frame = law.to_frame().set_index("parameter")
    assert frame["estimate"].to_dict() == law.params
    assert (frame["low"] < frame["high"]).all()
    best = sl.allocate(law, 1e20)
    assert sl.allocate(law, 1e20).to_frame()["optimum"].tolist() == [best.params, best.tokens, best.loss]
    bounded = sl.plan(law, flops=1e20).to_frame()
    assert bounded["quantity"].tolist() == ["params", "tokens", "loss", "flops"]
    runs = law.data
    table = {name: runs[name] for name in ("params", "tokens", "loss")}
    found = sl.forecast(table, law="chinchilla", bootstrap=0, holdout_factor=3)
    assert found.to_frame()["predicted"].tolist() == [cell.predicted for cell in found.cells]
    rolled = sl.rollout(table, windows=2)
    assert len(rolled.to_frame()) == len(rolled.misses)
    levels = sl.isoflop(table, bootstrap=0)
    assert levels.to_frame()["flops"].tolist() == [curve.flops for curve in levels.curves]
    assert sl.envelope(table).to_frame()["row"].tolist() == sl.envelope(table).rows.tolist()


def test_figures_are_drawn_where_asked(law):
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    runs = {name: law.data[name] for name in ("params", "tokens", "loss")}
    assert law.plot(ax=left).figure is figure
    assert sl.isoflop(runs, bootstrap=0).plot(ax=right).axes == [left, right]
    assert left.has_data()
    assert right.has_data()
    assert law.plot().axes != [left, right]
