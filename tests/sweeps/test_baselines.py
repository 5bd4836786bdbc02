"""`lab run` leaves the n-grams of its texts beside the runs, once, and nothing for sources without end."""

import json
from types import SimpleNamespace

import pytest

from lab.config import RunConfig
from lab.data import DataConfig, load
from lab.evaluation.ngram import baseline
from sweeps.store import baselines
from sweeps.store.store import Store


@pytest.fixture
def text(tmp_path):
    lines = [f"line {i}: the sum of {i} and {i * 7 % 13} is {i + i * 7 % 13}\n\n" for i in range(3000)]
    (tmp_path / "own.txt").write_text("".join(lines))
    return load(DataConfig(source=str(tmp_path / "own.txt"), context=32, val_windows=16))


def plan(dataset, tokens):
    cells = [SimpleNamespace(config=RunConfig(tokens=n, data=dataset.config, batch=8)) for n in tokens]
    return SimpleNamespace(cells=cells, dataset=lambda config: dataset, datasets={"": dataset})


def test_they_are_those_of_lab_data_ngram_and_counted_once(text, tmp_path):
    store = Store(tmp_path / "store")
    assert baselines.write(store, plan(text, [2560, 10_240])) == []
    (path,) = (store.root / "baselines").iterdir()
    found = json.loads(path.read_text())
    assert found["loss_nats"] == baseline(text, 5, 10_240)["loss_nats"]
    assert (found["order"], found["tokens"], found["source"]) == (5, 10_240, text.config.label)
    assert found["cpu_seconds"] > 0
    before = path.stat().st_mtime_ns
    baselines.write(store, plan(text, [2560]))
    assert path.stat().st_mtime_ns == before
    baselines.write(store, plan(text, [20_480]))
    assert json.loads(path.read_text())["tokens"] == 20_480, "a longer run sees more, and so do they"


def test_a_source_without_end_has_none(tmp_path):
    endless = load(DataConfig(source="synthetic", context=32, val_windows=16))
    store = Store(tmp_path / "store")
    assert baselines.write(store, plan(endless, [2560])) == []
    assert not (store.root / "baselines").exists()
