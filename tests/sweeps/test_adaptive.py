"""`lab run --adaptive`: rounds that rest on each other, killed anywhere and gone on with. Nothing is trained
here: a stand-in for the engine writes the results of a planted law."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sweeps import running
from sweeps.plan import next_runs
from sweeps.store.remote import opened
from sweeps.verbs.adaptive import Aim, adapt
from tests.sweeps.test_next import STUDY

AIM = Aim("loss", "10x", 44.0)


class Killed(BaseException):
    """What a kill leaves: nothing after it is run."""


class Engine:
    """Writes what training would have, a run at a time, and dies before its run number `dies`."""

    def __init__(self, store, dies: int = -1, seconds: float = 2.0):
        self.store, self.dies, self.seconds, self.trained = store, dies, seconds, Counter()

    def __call__(self, plan, text: str) -> running.Outcome:
        self.store.write_study(plan, text)
        for cell in plan.cells:
            folder = self.store.run(cell.run_id)
            if (folder.path / "result.json").is_file():
                continue
            if sum(self.trained.values()) == self.dies:
                raise Killed
            self.trained[cell.run_id] += 1
            n, d = cell.params.total - cell.params.embedding, cell.steps * cell.config.batch_tokens
            noise = 0.004 * np.random.default_rng(int(cell.run_id, 16) % 2**32).standard_normal()
            row = {"run_id": cell.run_id, "status": "ok", "seed": cell.config.seed, "tokens": d}
            row |= {"params_total": cell.params.total, "params_embedding": cell.params.embedding}
            row |= {"flops_6nd": 6 * n * d, "source": "synthetic"}
            row |= {"loss_nats": (1.2 + 40 / n**0.5 + 900 / d**0.5) * float(np.exp(noise))}
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.append_costs({"device_seconds": self.seconds, "phase": "train", "step": cell.steps})
            (folder.path / "result.json").write_text(json.dumps({"schema": 1, "row": row, "abilities": []}))
        return running.Outcome(plan.study.name, str(self.store.root), {c.run_id: "done" for c in plan.cells})


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "planted.toml").write_text(STUDY)
    return tmp_path


def by_prior(runs, expected, include_held_out=False) -> next_runs.Known:
    """`of_runs` without a fit, where only the rounds are looked at."""
    from analysis.tables.sample import sample

    rows = sample(runs, ("params", "tokens"))
    n, d = rows.inputs["params"], rows.inputs["tokens"]
    seeds = np.array([float(runs.columns["seed"][row]) for row in rows.rows.tolist()])
    ids = frozenset(str(runs.columns["run_id"][row]) for row in rows.rows.tolist())
    known = next_runs.of_prior(expected)
    return replace(
        known,
        params=n,
        tokens=d,
        seeds=seeds,
        log_loss=np.log(rows.loss),
        trained=np.stack([n, d, seeds]),
        ids=ids,
    )


def rounds(store) -> list[dict]:
    names = sorted(
        (store.root / "choices").glob("*.json"), key=lambda path: int(path.stem.rpartition("-")[2])
    )
    return [json.loads(path.read_text()) for path in names]


def test_rounds_rest_on_each_other_and_end_with_the_budget(place):
    store, told = opened(place / "store"), []
    engine = Engine(store)
    done = adapt(place / "planted.toml", (), store, AIM, engine, told.append)
    assert done.exit_code == 0
    kept = rounds(store)
    assert len(kept) >= 3
    assert kept[0]["choice"] is None
    assert "a first grid" in kept[0]["why"]
    for one in kept[1:-1]:
        assert "these take" in one["why"]
        assert one["choice"]["steps"]
    assert kept[-1]["study"] is None
    assert "stop" in kept[-1]["why"]
    assert [one["spent"] for one in kept] == sorted(one["spent"] for one in kept)
    assert set(engine.trained.values()) == {1}
    # the same command again trains nothing, and says the same
    again = Engine(store)
    adapt(place / "planted.toml", (), store, AIM, again, told.append)
    assert not again.trained
    # with more budget it goes on
    more = Engine(store)
    adapt(place / "planted.toml", (), store, Aim("loss", "10x", 60.0), more, told.append)
    assert more.trained
    assert not set(more.trained) & set(engine.trained)


@pytest.mark.parametrize("dies", [0, 5, 13])
def test_a_kill_changes_nothing_of_what_is_chosen(place, dies, monkeypatch):
    monkeypatch.setattr(next_runs, "of_runs", by_prior)
    straight, broken = opened(place / "straight"), opened(place / "broken")
    adapt(place / "planted.toml", (), straight, AIM, Engine(straight), lambda _: None)
    with pytest.raises(Killed):
        adapt(place / "planted.toml", (), broken, AIM, Engine(broken, dies), lambda _: None)
    adapt(place / "planted.toml", (), broken, AIM, Engine(broken), lambda _: None)
    one, other = ([r["study"] for r in rounds(store)] for store in (straight, broken))
    assert one == other
    assert straight.names() == broken.names()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--adaptive"], "--budget: '' is no time: 90s, 30min, 2h"),
        (["--adaptive", "--budget", "soon"], "is no time"),
        (["--adaptive", "--budget", "1h", "--set", "batch=4"], "goes without --set"),
        (["--budget", "1h"], "are of --adaptive"),
    ],
)
def test_what_is_wrong_is_one_line(here, place, args, words):
    done = here("run", place / "planted.toml", "--out", place / "store", *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (place / "store").exists()
