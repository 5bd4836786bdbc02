"""Fits kept beside a store: the same numbers, never older than the rows, and never believed over them."""

import json
import shutil
import warnings

import numpy as np
import pytest

import analysis as sl
from analysis.audits.leading import leading_fit
from analysis.fits import fitting, kept
from analysis.intervals.bootstrap import interval


@pytest.fixture
def store(planted_store, tmp_path):
    return shutil.copytree(planted_store, tmp_path / "store", ignore=shutil.ignore_patterns("cache"))


@pytest.fixture
def counted(monkeypatch):
    """How many fits were computed."""
    made, real = [], fitting._fitted

    def fitted(rows, law, source, settings):
        made.append(law.name)
        return real(rows, law, source, settings)

    monkeypatch.setattr(fitting, "_fitted", fitted)
    return made


def plainly(fit):
    return json.dumps(fit.to_dict(), default=str)


def test_what_one_verb_fitted_is_not_fitted_again(store, counted):
    first = sl.fit(store, law="kaplan", bootstrap=20)
    again = sl.fit(store, law="kaplan", bootstrap=20)
    assert counted == ["kaplan"]
    assert plainly(again) == plainly(first)
    assert again.exponents == first.exponents
    where = {"params": np.array([1e6]), "tokens": np.array([1e8])}
    assert again.predict_interval(**where) == first.predict_interval(**where)
    for name, values in first.data.items():
        assert np.array_equal(again.data[name], values)
    # Other settings, other rows, other text of the program: another fit.
    sl.fit(store, law="kaplan", bootstrap=30)
    assert len(counted) == 2
    # The folder may go at any time.
    shutil.rmtree(store / kept.FOLDER)
    assert plainly(sl.fit(store, law="kaplan", bootstrap=20)) == plainly(first)
    assert len(counted) == 3


def test_a_changed_run_is_fitted_anew_and_part_of_a_table_knows_its_rows(store, counted):
    first = sl.fit(store, law="kaplan", bootstrap=0)
    part = sl.read(store).where(grid="language")
    alike = sl.fit(part, law="kaplan", bootstrap=0)
    assert len(counted) == 1
    assert dict(alike.params) == dict(first.params)
    ids = [part.columns["run_id"][row] for row in alike.data["row"]]
    assert ids == [sl.read(store).columns["run_id"][row] for row in first.data["row"]]
    path = store / "runs" / str(ids[0]) / "result.json"
    result = json.loads(path.read_text())
    result["row"]["loss_nats"] *= 1.01
    path.write_text(json.dumps(result))
    assert dict(sl.fit(store, law="kaplan", bootstrap=0).params) != dict(first.params)
    assert len(counted) == 2


NONE = ("", "{", "[]", "null", '{"class": "Fit", "fields": {}}', '{"class": "Popen", "fields": {}}')


@pytest.mark.parametrize(
    "content", [*NONE, '{"law": "x"}', '{"array": ["|O", [1], "gASVAA=="]}', "[" * 100_000]
)
def test_a_file_that_holds_no_fit_is_passed_over(store, counted, content):
    first = sl.fit(store, law="kaplan", bootstrap=0)
    (path,) = (store / kept.FOLDER).iterdir()
    path.write_text(content)
    assert plainly(sl.fit(store, law="kaplan", bootstrap=0)) == plainly(first)
    assert counted == ["kaplan", "kaplan"]


def test_a_kept_fit_whose_numbers_are_not_those_of_the_rows_is_passed_over(store, counted):
    first = sl.fit(store, law="kaplan", bootstrap=0)
    (path,) = (store / kept.FOLDER).iterdir()
    path.write_text(path.read_text().replace(repr(first.params["alpha_N"]), "0.5"))
    assert dict(sl.fit(store, law="kaplan", bootstrap=0).params) == dict(first.params)
    assert counted == ["kaplan", "kaplan"]


def test_a_store_that_cannot_be_written_to_and_a_plain_table_are_fitted_all_the_same(store, tmp_path):
    (store / kept.FOLDER).write_text("in the way")
    assert leading_fit(store, bootstrap=0).points
    frame = sl.read(store).frame
    assert sl.fit(frame, law="kaplan", bootstrap=0).points
    assert not (tmp_path / kept.FOLDER).exists()


def test_an_end_without_bound_is_kept_and_shown(store, counted, monkeypatch, capsys):
    """Few noisy rows, spread by few degrees of freedom, leave the range of numbers: that end is infinite."""
    from analysis.verbs.fit import fit as verb

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = interval(1.0, np.geomspace(1e-90, 1e90, 101), 0.95, 12.7, positive=True)
    assert (low, high) == (0.0, np.inf)
    endless = {"alpha": (0.1, np.inf), "beta": (-np.inf, 0.3)}
    assert kept.decoded(json.loads(json.dumps(kept.encoded(endless), allow_nan=False))) == endless
    monkeypatch.setattr(fitting, "interval", lambda *_, **__: (0.0, np.inf))
    for _ in range(2):
        made = sl.fit(store, law="kaplan", bootstrap=20)
        assert made.intervals["alpha_N"][1] == np.inf
    assert counted == ["kaplan"]
    verb([str(store), "--law", "kaplan", "--bootstrap", "20", "--json"])
    assert json.loads(capsys.readouterr().out)["intervals"]["alpha_N"] == [0.0, None]
    verb([str(store), "--law", "kaplan", "--bootstrap", "20"])
    shown = capsys.readouterr().out
    assert "nan" not in shown
