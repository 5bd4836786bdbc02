"""A run is the same through its trunk and straight, whatever its warmup and cooldown: to the last bit."""

import random

import jax
import numpy as np
import pytest

from lab.data import load
from lab.runs import loop
from lab.runs.checkpoint import Checkpoints
from lab.runs.folder import RunFolder
from lab.runs.job import Job
from lab.training import train
from sweeps.plan.cells import make
from sweeps.store.store import Store
from sweeps.study import loader as studies

STUDY = """
name = "trunks"
batch = 4
model = {{ layers = 1, heads = 1 }}
optimizer = {{ warmup_tokens = {warmup}, cooldown = {cooldown}, cooldown_shape = "{shape}" }}
data = {{ source = "synthetic", context = 16, val_windows = 8 }}
[[grids]]
name = "budgets"
tokens = {tokens}
sizes = [{{ width = 8, learning_rate = 0.02 }}]
"""


def plan(path, warmup, budgets, cooldown=0.2, shape="sqrt"):
    """In steps of 64 tokens."""
    tokens = [64 * steps for steps in budgets]
    path.write_text(STUDY.format(warmup=64 * warmup, cooldown=cooldown, shape=shape, tokens=tokens))
    return make(studies.load(path), load)


def ended(folder, config, vocab):
    row = folder.result()["row"]
    shapes = train.state_shapes(config, vocab).params
    params = Checkpoints(folder.final).restore(config.steps, shapes)
    records = [m for m in folder.metrics() if m.get("kind") != "branch"]
    return jax.tree.leaves(params), [row["loss_nats"], row["loss_se"], row["train_loss_nats"]], records


def held_to_the_straight_runs(tmp_path, made) -> int:
    """Trains the plan, and each cell without its trunk; returns how many cells have one."""
    store = Store(tmp_path / "store")
    for of in (*made.trunks, *made.cells):
        loop.run([store.node(of).job], made.dataset(of.config))
    for cell in made.cells if made.trunks else ():
        dataset, folder = made.dataset(cell.config), RunFolder(tmp_path / "straight" / cell.run_id)
        loop.run([Job(cell.config, cell.run_id, folder)], dataset)
        straight = ended(folder, cell.config, dataset.vocab_size)
        got = ended(store.run(cell.run_id), cell.config, dataset.vocab_size)
        assert all(np.array_equal(a, b) for a, b in zip(straight[0], got[0], strict=True)), cell
        assert straight[1] == got[1], cell
        assert None not in got[1]
        assert got[2] == straight[2][len(straight[2]) - len(got[2]) :], cell
    return sum(cell.trunk is not None for cell in made.cells)


def test_a_budget_shorter_than_the_warmup_is_a_run_of_its_own(tmp_path):
    made = plan(tmp_path / "s.toml", warmup=39, budgets=[20, 45, 78, 100])
    assert [cell.trunk is None for cell in made.cells] == [True, False, False, False]
    assert held_to_the_straight_runs(tmp_path, made) == 3


@pytest.mark.parametrize(
    ("held", "least"), [((0, 5), 6), pytest.param(range(6), 10, marks=pytest.mark.weekly)], ids=str
)
def test_runs_through_trunks_are_the_straight_runs(tmp_path, held, least):
    rng, branches = random.Random(1), 0
    for draw in range(6):  # budgets below, at and above the warmup; cooldowns of nothing, some and all
        warmup = rng.choice([0, 3, 20, 33])
        budgets = sorted({max(1, warmup - rng.randint(1, 9)), max(1, warmup), *rng.sample(range(30, 70), 2)})
        cooldown, shape = rng.choice([0, 0.05, 0.2, 0.6, 1]), rng.choice(["sqrt", "linear"])
        if draw not in held:
            continue
        made = plan(tmp_path / f"{draw}.toml", warmup, budgets, cooldown, shape)
        branches += held_to_the_straight_runs(tmp_path / str(draw), made)
    assert branches >= least


@pytest.mark.parametrize("budgets", [[41, 67], [40, 60]])
def test_a_budget_without_a_cooldown_has_its_training_loss(tmp_path, budgets):
    assert held_to_the_straight_runs(tmp_path, plan(tmp_path / "s.toml", 5, budgets, cooldown=0)) == 2
