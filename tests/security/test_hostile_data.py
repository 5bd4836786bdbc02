"""Values that crashed what read them, or that misled it: claims, tasks' names, nesting."""

import io
import json
import os
import time
import warnings

import matplotlib
import pytest

from lab.runs import claims
from sweeps.exchange import wandb_files

TASK = r"e $\frac{$ \undefined"


def test_names_are_no_formulas_in_figures(tmp_path):
    """Before: a task of this name ended `lab report` and `lab plot` by a ParseException of matplotlib."""
    from analysis.plots.style import axes, look

    with look():
        figure, axis = axes()
        axis.set_title(TASK)
        axis.plot([1, 2], [1, 2], label=TASK)
        axis.legend()
        for kind in ("svg", "pdf", "png"):
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind)
            if kind == "svg":
                assert drawn.getvalue().decode().count("\\frac{$") == 2, "the text as it is written"


def test_a_matplotlibrc_of_the_working_folder_says_nothing():
    """Before: a file beside a foreign table set what the figures do not, such as LaTeX for every text."""
    from analysis.plots.style import RC, look

    hostile = {"text.usetex": True, "text.parse_math": True, "savefig.dpi": 13, "axes.xmargin": 0.4}
    with matplotlib.rc_context(hostile), warnings.catch_warnings():
        warnings.simplefilter("error")
        with look():
            for name in hostile:
                assert matplotlib.rcParams[name] == RC.get(name, matplotlib.rcParamsDefault[name])


WHOLE = {
    "owner": {"host": "h", "boot": "b", "space": "s", "pid": 1, "started": "1"},
    "attempt": 1,
    "deaths": 0,
    "progress": 0,
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempt": "x"},
        {"attempt": None},
        {"attempt": 10**400},
        {"deaths": [1]},
        {"progress": -1},
        {"progress": True},
        {"owner": {**WHOLE["owner"], "pid": "1"}},
        {"owner": {**WHOLE["owner"], "host": ["h"]}},
        {"owner": {**WHOLE["owner"], "more": 1}},
        {"owner": []},
    ],
)
def test_a_claim_of_wrong_types_goes_stale_like_any_other(tmp_path, wrong):
    """Before: `"attempt": "x"` was read, and the worker that took it over died of a TypeError; for good."""
    path = tmp_path / "claim"
    path.write_text(json.dumps({**WHOLE, **wrong}))
    held = claims.read(path)
    assert held.owner.host == ""
    os.utime(path, (time.time() - 1000,) * 2)
    taken = claims.take(path, claims.Owner.me())
    assert taken is not None
    assert (taken.attempt, taken.is_mine()) == (2, True)


def test_a_claim_of_ten_thousand_brackets_is_read(tmp_path):
    """Before: RecursionError."""
    path = tmp_path / "claim"
    path.write_text("[" * 100_000)
    assert claims.read(path).owner.host == ""


def test_who_may_not_write_can_tell_a_silent_claim(tmp_path, monkeypatch):
    """Before: `lab status` of another user, who cannot ask the file system, called each dead run alive."""
    path = tmp_path / "claim"
    path.write_text(json.dumps(WHOLE))

    def refused(self, *_, **__):
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.touch", refused)
    assert not claims.read(path).is_stale()
    os.utime(path, (time.time() - 1000,) * 2)
    assert claims.read(path).is_stale()


def test_values_of_other_tools_that_are_too_deep_are_left_out():
    """Before: RecursionError in `lab import` of an offline run."""

    class Item:
        key, nested_key, value_json = "a", (), "[" * 100_000

    values: dict = {}
    wandb_files._update(values, [Item])
    assert values == {}
