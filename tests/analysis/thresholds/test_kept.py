"""Verdicts kept beside a store: never older than the rows, shared by verb and report."""

import json
import pickle
import shutil
from dataclasses import replace

import pytest

import analysis as sl
from analysis.fits.kept import FOLDER
from analysis.report.study import thresholds
from analysis.thresholds import detector, kept


@pytest.fixture
def counted(monkeypatch):
    """The axes along which verdicts were computed."""
    made, real = [], kept.run

    def run(frame, axis, *arguments, **options):
        made.append(axis)
        return real(frame, axis, *arguments, **options)

    monkeypatch.setattr(kept, "run", run)
    return made


def test_what_the_verb_found_the_report_does_not_simulate_again(planted_store, tmp_path, counted):
    store = shutil.copytree(planted_store, tmp_path / "store", ignore=shutil.ignore_patterns("cache"))
    whole = sl.read(store)
    # One metric: the others would be simulated in the same way, and kept in the same file.
    rows = tuple(row for row in whole.ability_rows if row["metric"] == "exact_match")
    runs = replace(whole, ability_rows=rows)
    options = {"draws": 99, "progress": None}
    first = kept.detected(runs, runs.abilities, **options)
    planes = kept.detected_over_plane(runs, runs.abilities, draws=99)
    assert counted == ["params"]
    assert len(first.series) == 2
    again = kept.detected(runs, runs.abilities, **options)
    series, over, _ = thresholds(runs, 99, "params")
    assert counted == ["params"]
    for one in (again.series, series):
        assert [json.dumps(s.to_dict()) for s in one] == [json.dumps(s.to_dict()) for s in first.series]
    assert [s.x.tolist() for s in again.series] == [s.x.tolist() for s in first.series]
    told = {json.dumps([a.to_dict(), b.to_dict()]) for a, b in planes}
    assert {json.dumps([a.to_dict(), b.to_dict()]) for a, b in over} <= told
    # Other rows or options are another question; a file that holds something else is none.
    coin = runs.abilities[runs.abilities["task"] == "coin"]
    few = {**options, "calibrate": False}
    found = kept.detected(runs, coin, **few)
    kept.detected(runs, coin, **{**few, "seed": 1})
    assert len(counted) == 3
    for path in (store / FOLDER).glob("*.json"):
        path.write_text("[1, 2]")
    assert len(kept.detected(runs, coin, **few).series) == len(found.series) == 1
    assert len(counted) == 4


def test_a_table_keeps_nothing(planted_store, tmp_path, counted, monkeypatch):
    frame = sl.read(planted_store).abilities
    frame = frame[frame["metric"] == "exact_match"]
    frame.to_csv(tmp_path / "table.csv", index=False)
    runs = sl.read(tmp_path / "table.csv")
    for _ in range(2):
        kept.detected(runs, runs.frame, draws=99, calibrate=False)
    assert counted == ["params", "params"]
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


class Sent:
    """In place of the second process: what goes there and back is pickled."""

    def __init__(self):
        self.names = []

    def call(self, function, *arguments):
        self.names.append(function.__name__)
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        return lambda: pickle.loads(pickle.dumps(function(*arguments)))


def test_a_second_process_finds_the_same(planted_store, monkeypatch):
    frame = sl.read(planted_store).abilities
    frame = frame[(frame["task"] == "coin") & (frame["metric"] == "exact_match")]
    alone = detector.run(frame, "params", None, 0.05, 99, 0, True)
    monkeypatch.setattr(detector, "_WORTH_SHARING", 1)
    sent = Sent()
    shared = detector.run(frame, "params", None, 0.05, 99, 0, True, second=sent)
    assert sent.names == ["study", "measure"]
    assert json.dumps(shared.to_dict()) == json.dumps(alone.to_dict())
