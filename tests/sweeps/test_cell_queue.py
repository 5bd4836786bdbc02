"""What a worker takes next, and what looking for it costs.

``python tests/sweeps/test_cell_queue.py`` prints the cost for the first claims of a study of 100,000 runs.
"""

import json
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.config import ModelConfig, RunConfig
from lab.data import DataConfig
from lab.errors import InputError
from lab.runs import claims
from sweeps.plan.cells import Cell, Trunk
from sweeps.plan.study_parts import Part
from sweeps.store.store import Store
from sweeps.work import cell_queue
from sweeps.work.cell_queue import Frontier, program_of


class MadeUpPrices(SimpleNamespace):
    """The seconds that a made-up plan states for its cells: real ones would be those of this machine."""

    def __init__(self, plan):
        super().__init__(seconds=plan.seconds)


@pytest.fixture(autouse=True)
def _prices(monkeypatch):
    monkeypatch.setattr(cell_queue, "Prices", MadeUpPrices)


def study(widths=(8, 16), budgets=(1_000, 2_000, 4_000), seeds=(0, 1), trunks=True):
    """A plan of made-up cells: what a frontier reads of a plan, and nothing that needs jax."""
    cells, roots, seconds = [], [], {}
    for width in widths:
        model = ModelConfig(width=width, layers=1, heads=1)
        for seed in seeds:
            configs = [
                RunConfig(
                    tokens=t, model=model, data=DataConfig(source="synthetic", context=8), batch=2, seed=seed
                )
                for t in budgets
            ]
            trunk = f"trunk-{width}-{seed}" if trunks else None
            if trunks:
                roots.append(Trunk(trunk, configs[-1], tuple(c.hold_steps for c in configs)))
                seconds[trunk] = width * budgets[-1]
            for config in configs:
                run_id = f"{width}-{seed}-{config.tokens}"
                flops = {"flops_6nd": float(width * config.tokens)}
                cells.append(Cell(run_id, "grid", config, trunk, False, None, flops))
                seconds[run_id] = width * config.tokens
    return SimpleNamespace(cells=cells, trunks=roots, seconds=lambda of: seconds[of.run_id])


def frontier(plan, root, **owner):
    return Frontier(plan, Store(root), replace(claims.Owner.me(), **owner))


def finish(claimed) -> None:
    (node, claim) = claimed
    if node.is_trunk:
        for step in node.job.branch_steps:
            (node.job.folder.checkpoints / str(step)).mkdir(parents=True)
    else:
        node.job.folder.commit({"row": {"status": "ok", "loss_nats": 2.0}})
    claim.release()


def test_trunks_come_before_branches_and_the_longest_first(tmp_path):
    mine, order = frontier(study(), tmp_path), []
    while claimed := mine.claim(1):
        node = claimed[0][0]
        order.append(node.run_id)
        mine.compiled.add(program_of(node))
        finish(claimed[0])
    assert not mine.open
    assert order[:5] == ["trunk-16-0", "trunk-16-1", "16-0-4000", "16-1-4000", "16-0-2000"]
    assert [name for name in order if name.endswith("trunk-8-0")] == ["trunk-8-0"]
    assert sorted(order) == sorted([c.run_id for c in study().cells] + [t.run_id for t in study().trunks])


def test_a_second_worker_starts_with_a_shape_that_nobody_is_at(tmp_path):
    first, second = frontier(study(), tmp_path), frontier(study(), tmp_path, host="elsewhere")
    assert first.claim(1)[0][0].run_id == "trunk-16-0"
    assert second.claim(1)[0][0].run_id == "trunk-8-0"


def test_a_pack_is_of_one_shape_and_horizon(tmp_path):
    mine = frontier(study(trunks=False), tmp_path)
    assert [node.run_id for node, _ in mine.claim(4)] == ["16-0-4000", "16-1-4000"]
    assert [node.run_id for node, _ in mine.claim(1)] == ["8-0-4000"]


def test_nothing_is_claimed_twice_and_branches_wait_for_their_trunk(tmp_path):
    plan = study(widths=(8,), seeds=(0,))
    mine, other = frontier(plan, tmp_path), frontier(plan, tmp_path, host="elsewhere")
    trunk = mine.claim(1)
    assert other.claim(1) == []
    assert len(other.open) == 4
    finish(trunk[0])
    other._later.clear()  # a second later
    assert [node.run_id for node, _ in other.claim(1)] == ["8-0-4000"]


def test_what_was_given_up_is_over_and_takes_branches_along(tmp_path):
    plan = study(widths=(8,))
    store = Store(tmp_path)
    store.fail("trunk-8-0", 2, "out of memory", "")
    mine, order = frontier(plan, tmp_path), []
    while claimed := mine.claim(1):
        order.append(claimed[0][0].run_id)
        finish(claimed[0])
    assert order == ["trunk-8-1", "8-1-4000", "8-1-2000", "8-1-1000"]
    assert mine.failed == {"8-0-1000", "8-0-2000", "8-0-4000"}
    assert not mine.open


def test_a_finished_study_needs_no_trunks(tmp_path):
    plan = study()
    for cell in plan.cells:
        Store(tmp_path).run(cell.run_id).commit({"row": {"status": "ok", "loss_nats": 2.0}})
    mine = frontier(plan, tmp_path)
    assert mine.claim(1) == []
    assert not mine.open
    assert not list(tmp_path.glob("runs/trunk*"))


class CountingStore(Store):
    def __init__(self, root):
        super().__init__(root)
        self.looks = Counter()

    def is_done(self, node):
        self.looks[node.run_id] += 1
        return super().is_done(node)


def sweep(widths: int, seeds: int, root: Path, most: int | None = None) -> dict:
    """Two workers take turns at a study without training, until it is over or ``most`` was claimed."""
    plan = study(widths=range(8, 8 + widths), budgets=(1_000, 2_000), seeds=range(seeds))
    started = time.perf_counter()
    stores = [CountingStore(root), CountingStore(root)]
    workers = [
        Frontier(plan, store, replace(claims.Owner.me(), host=host))
        for store, host in zip(stores, ("a", "b"), strict=True)
    ]
    built = time.perf_counter() - started
    claimed = 0
    for worker in workers:
        worker.compiled |= {program_of(node) for node in worker.nodes.values()}
    while any(worker.open for worker in workers) and claimed < (most or claimed + 1):
        for worker in workers:
            worker._later.clear()
            if got := worker.claim(1):
                claimed += 1
                finish(got[0])
                worker.close(got[0][0])
    nodes = len(plan.cells) + len(plan.trunks)
    looks = sum(sum(store.looks.values()) for store in stores)
    return {
        "runs": len(plan.cells),
        "claims": claimed,
        "looks_per_node_and_worker": looks / (nodes if most is None else claimed) / 2,
        "most_looks_at_one": max(max(store.looks.values()) for store in stores),
        "seconds_to_start": built / 2,
        "milliseconds_a_claim": 1e3 * (time.perf_counter() - started - built) / claimed,
    }


def test_looking_costs_the_same_for_a_large_study(tmp_path):
    small, large = (sweep(2, seeds, tmp_path / str(seeds)) for seeds in (5, 40))
    assert small["claims"] == 30
    assert large["claims"] == 240
    assert large["looks_per_node_and_worker"] < 4
    assert large["looks_per_node_and_worker"] == pytest.approx(small["looks_per_node_and_worker"], rel=0.2)
    assert large["most_looks_at_one"] <= small["most_looks_at_one"] + 2


def test_parts_share_a_study_out_and_keep_families_together():
    plan = study(widths=range(8, 20))
    nodes = [*plan.trunks, *plan.cells]
    parts = [Part(i, 3).of(nodes) for i in (1, 2, 3)]
    assert sorted(n.run_id for part in parts for n in part) == sorted(n.run_id for n in nodes)
    for part in parts:
        ids = {node.run_id for node in part}
        assert {node.trunk for node in part if isinstance(node, Cell)} <= ids
    costs = [sum(n.flops["flops_6nd"] for n in part if isinstance(n, Cell)) for part in parts]
    assert max(costs) < 1.1 * min(costs)
    assert Part.parse("2/3") == Part(2, 3)
    for text in ("0/3", "4/3", "3", "a/b", "1/", "1/0"):
        with pytest.raises(InputError, match="--part: should be K/N"):
            Part.parse(text)


if __name__ == "__main__":
    cell_queue.Prices = MadeUpPrices
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(sweep(100, 500, Path(name), most=5_000)))
