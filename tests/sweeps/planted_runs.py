"""A study whose runs are never trained: a stand-in for the engine writes the results of a planted law, at a
planted speed."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np

from lab.machine import speed
from sweeps import running
from sweeps.plan import next_cells, next_runs, pricing
from sweeps.plan.promised_intervals import Expected
from sweeps.plan.scatter import Scatter

STUDY = """
name = "planted"
batch = 8
model = { layers = 1, heads = 1 }
optimizer = { warmup_tokens = 2_000 }
data = { source = "synthetic", context = 32, val_windows = 64 }

[[grids]]
name = "language"
tokens = [20_000, 40_000, 80_000, 160_000]
sizes = [
  { width = 8, learning_rate = 0.02 }, { width = 16, learning_rate = 0.01 },
  { width = 32, learning_rate = 0.005 }, { width = 64, learning_rate = 0.0025 },
]
"""

LAW = Expected("chinchilla", {"E": 1.2, "A": 40, "alpha": 0.5, "B": 900, "beta": 0.5}, Scatter(run=0.004), "")
FLOPS_PER_S = 1e9


class Killed(BaseException):
    """What a kill leaves: nothing after it is run."""


class Engine:
    """Writes what training would have, a run at a time, and dies before its run number `dies`.

    start, again: seconds that the first run of a shape compiles in a call, when the store has none of the
    shape and when it has; the first evaluation takes half as much more."""

    def __init__(
        self,
        store,
        dies: int = -1,
        flops_per_s: float = FLOPS_PER_S,
        status: str = "ok",
        start: float = 0.0,
        again: float = 0.0,
    ):
        self.store, self.dies, self.flops_per_s, self.trained = store, dies, flops_per_s, Counter()
        self.status, self.start, self.again, self.steps = status, start, again, Counter()
        self.known: set[tuple[int, str]] = set()

    def __call__(self, plan, text: str) -> running.Outcome:
        self.store.write_study(plan, text)
        self.loaded: dict[tuple[int, str], None] = {}
        for trunk in plan.trunks:
            self.train(plan, trunk)
        for cell in plan.cells:
            folder = self.store.run(cell.run_id)
            if folder.read("result.json").value is not None:
                continue
            if sum(self.trained.values()) == self.dies:
                raise Killed
            self.trained[cell.run_id] += 1
            self.train(plan, cell)
            n, d = next_runs.params_of(cell), cell.steps * cell.config.batch_tokens
            noise = 0.004 * np.random.default_rng(int(cell.run_id, 16) % 2**32).standard_normal()
            row = {"run_id": cell.run_id, "status": self.status, "seed": cell.config.seed, "tokens": d}
            row |= {"params_total": cell.params.total, "params_embedding": cell.params.embedding}
            row |= {"flops_6nd": 6 * n * d, "source": "synthetic"}
            row |= {"loss_nats": (1.2 + 40 / n**0.5 + 900 / d**0.5) * float(np.exp(noise))}
            seconds = self.compiles(cell, "evaluate") / 2
            seconds += pricing.Prices(plan, self.seen(plan)).evaluation_seconds(cell)
            folder.append_costs(
                {
                    "attempt": "a",
                    "phase": "evaluate",
                    "device": "cpu",
                    "device_seconds": seconds,
                    "step": cell.steps,
                }
            )
            folder.commit({"schema": 1, "row": row, "abilities": []})
        return running.Outcome(plan.study.name, str(self.store.root), {c.run_id: "done" for c in plan.cells})

    def seen(self, plan) -> pricing.Seen:
        flops = [program.flops_per_step for program in pricing.programs(plan).values()]
        return pricing.Seen(tuple((one, one / self.flops_per_s) for one in flops), speed.device_kind())

    def compiles(self, node, what: str) -> float:
        """Seconds that a program takes to begin: nothing where this call has it."""
        key = node.config.model.width, what
        if key in self.loaded:
            return 0.0
        self.loaded[key] = None
        seconds = self.again if key in self.known else self.start
        self.known.add(key)
        return seconds

    def train(self, plan, node) -> None:
        """The steps that are missing, as cost lines; a trunk leaves checkpoints, as folders."""
        folder, dataset = self.store.run(node.run_id), plan.dataset(node.config)
        folder.write_spec(self.store.node(node).job.spec(dataset, {}))
        done = max([line["step"] for line in folder.costs()], default=0)
        marks = getattr(node, "branch_steps", ())
        there = folder.steps()
        if missing := [mark for mark in marks if mark not in there]:
            done = max([step for step in there if step < missing[0]], default=0)
        if node.own_steps > done:
            self.steps[node.run_id] += node.own_steps - done
            per_step = speed.flops_per_step(node.config, dataset.vocab_size) / self.flops_per_s
            about = {"attempt": "a", "phase": "train", "device": "cpu"}
            compiled = {"device_seconds": 0.0, "compile_seconds": self.compiles(node, "train")}
            folder.append_costs(about | compiled | {"step": done})
            folder.append_costs(
                about | {"device_seconds": per_step * (node.own_steps - done), "step": node.own_steps}
            )
        for mark in marks:
            (folder.checkpoints / str(mark)).mkdir(parents=True, exist_ok=True)


def of_runs(runs, expected, include_held_out=False) -> next_runs.Known:
    """What `next_runs.of_runs` would say if its fit were the law that was planted."""
    from analysis.tables.sample import sample

    rows = sample(runs, ("params", "tokens"))
    n, d = rows.inputs["params"], rows.inputs["tokens"]
    seeds, ids = (np.array([runs.columns[name][row] for row in rows.rows]) for name in ("seed", "run_id"))
    seeds = seeds.astype(float)
    known = replace(next_runs.of_prior(LAW), params=n, tokens=d, seeds=seeds, log_loss=np.log(rows.loss))
    return replace(known, trained=np.stack([n, d, seeds]), ids=frozenset(map(str, ids)))


def stated_speed(monkeypatch) -> None:
    """A machine of a stated speed: what this one measured is no price of a test."""
    monkeypatch.setattr(speed, "known", lambda config, vocab: None)
    monkeypatch.setattr(speed, "others", lambda: [(1e5, 1e5 / FLOPS_PER_S), (1e8, 1e8 / FLOPS_PER_S)])


def asked(here, *args) -> dict:
    """What `lab next` says to these arguments."""
    done = here("next", *args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def few_candidates(monkeypatch) -> None:
    for name, count in (("_WIDTHS", 4), ("_BUDGETS", 4), ("_SEEDS", 2)):
        monkeypatch.setattr(next_cells, name, count)
