"""A few deaths at file operations of runs in lockstep, and what resuming rests on."""

import random
import re
from dataclasses import replace
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

from benchmarks.deaths import (
    CASES,
    CONFIG,
    DATA,
    VOCAB,
    alone,
    differs,
    draw,
    go_on,
    jobs,
    operations,
    suffer,
    together,
)
from lab.runs import loop
from lab.runs.checkpoint import Checkpoints
from lab.runs.folder import RunFolder
from lab.training import mesh, optimizer, pack, train


@pytest.fixture(autouse=True, scope="module")
def _quick_steps():
    """Compiled in no time, but a step still depends on the state, the batch, the rate and the seed."""

    def chunk(state, inputs_KxBxT, targets_KxBxT, n, h, *, axis=None, **_):
        def one(i, carry):
            state, losses = carry
            pull = jnp.sin(inputs_KxBxT[i].astype(jnp.float32)).mean()
            pull = pull if axis is None else jax.lax.pmean(pull, axis)
            params = jax.tree.map(lambda p: p + h.learning_rate * (jnp.cos(pull + p) - p), state.params)
            moments = state.moments._replace(count=state.moments.count + 1)
            loss = 1 + sum(jnp.square(leaf).mean() for leaf in jax.tree.leaves(params))
            return train.State(params, moments), losses.at[i].set(loss)

        state, losses = jax.lax.fori_loop(0, n, one, (state, jnp.zeros(inputs_KxBxT.shape[0])))
        return state, train.Metrics(losses, losses, losses[0], losses[0])

    def forget_programs():
        pack.program.cache_clear()
        mesh.program.cache_clear()

    forget_programs()
    with mock.patch.object(train, "chunk", chunk):
        yield
    forget_programs()


# A pack's runs are saved by the same operations in each mode: one run by itself dies at all of them, a pack
# on devices of its own at every third, and every week each mode at all.
THIRDS = {"devices": slice(0, None, 3)}
WEEKLY = [pytest.param(*case, slice(None), marks=pytest.mark.weekly) for case in CASES[1:-2]]


@pytest.mark.parametrize(
    ("mode", "runs", "some"), [(*case, THIRDS.get(case[0], slice(None))) for case in CASES[:2]] + WEEKLY
)
def test_a_death_within_the_second_save_of_a_pack_changes_no_run(mode, runs, some, tmp_path):
    packing = together(mode, runs)
    done = operations(packing)
    first = next(i for i, text in enumerate(done) if re.search(r"checkpoints/\.40\.\w+\.saving", text))
    length = next(i for i, text in enumerate(done[first:]) if "metrics.jsonl" in text)
    save = [i for i in range(first, first + length) if done[i].startswith(("rename", "rmtree"))]
    wrong = {}
    for i in save[some]:
        died, problems = suffer(tmp_path / str(i), [packing, packing], [i])
        assert died == 1
        wrong |= {done[i]: problems} if problems else {}
    assert not wrong
    print(f"{mode}, {runs} runs: {len(save[some])} deaths, 0 wrong")


def test_runs_at_different_steps_are_packed_together(tmp_path):
    rng, died = random.Random(0), 0
    for i in range(3):  # two deaths each, so that what is packed anew has come unequally far
        packings = [draw(rng, ["devices", "vmap"], 2) for _ in range(2)] + [together("devices", 2)]
        renames = [[i for i, x in enumerate(operations(p)) if "rename" in x] for p in packings[:2]]
        at = [rng.choice(where) for where in renames]
        more, problems = suffer(tmp_path / str(i), packings, at)
        assert not problems, (packings, at)
        died += more
    assert died >= 3


def test_a_state_meets_only_the_data_of_its_step(tmp_path):
    (job,) = jobs(tmp_path, [0])
    stop = iter([False, True])
    with pytest.raises(loop.Interrupted):
        loop.run([job], DATA, hooks=loop.Hooks(should_stop=lambda: next(stop)))
    steps = Checkpoints(job.folder.checkpoints).steps()
    (job.folder.checkpoints / str(steps[-1])).rename(job.folder.checkpoints / "20")
    told = []
    go_on(tmp_path, alone(1), told.append)
    assert "holds step 40" in told[0]
    assert not differs(tmp_path, [alone(1)])
    with mock.patch.object(loop.resume, "start", return_value=(20, [job.config])):
        another = replace(job, folder=RunFolder(tmp_path / "another"))
        with pytest.raises(RuntimeError, match="state is at step 0, its data at step 20"):
            loop.run([another], DATA)


def test_parameters_are_those_of_the_row_whatever_an_earlier_attempt_left(tmp_path):
    """Before: what a death between the parameters and the result left there stayed, from whatever packing."""
    (job,) = jobs(tmp_path, [0])
    Checkpoints(job.folder.final).save(50, train.initial_state(replace(CONFIG, seed=9), VOCAB).params)
    go_on(tmp_path, alone(1))
    assert not differs(tmp_path, [alone(1)])


@pytest.mark.parametrize(("mode", "runs"), [("vmap", 1), ("vmap", 2)])
def test_the_second_call_of_a_pack_finds_the_program_of_the_first(mode, runs):
    pack.program.cache_clear()
    found = pack.Pack(CONFIG, VOCAB, mode, runs)
    placed, sizes = found.put([CONFIG] * runs), []
    for step in (0, 20):
        placed, _ = found.advance(placed, *DATA.batches(step, 20, 4), 20, [optimizer.hyper(CONFIG)] * runs)
        sizes.append(found._program._cache_size())
    assert sizes == [1, 1]
