"""What can go wrong while a study runs, on purpose: always the same final bits, no row lost or doubled."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.kills import TINY, kill_at_random
from lab.data import load
from lab.runs import claims
from lab.runs.fence import Lost
from sweeps.plan.cells import make
from sweeps.plan.study_parts import Part
from sweeps.store import digest, trunks
from sweeps.store.disk import StoreFault
from sweeps.store.store import Store
from sweeps.study import loader as studies

# A worker that finds silence after seconds instead of a minute.
HASTY = """
import sys
from lab.runs import claims
claims.STALE_SECONDS, claims.BEAT_SECONDS = 2.0, 0.2
from lab.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A study of four runs and two trunks, as a plan."""
    from lab.machine import devices

    devices.enable_compilation_cache()
    path = tmp_path_factory.mktemp("tiny") / "tiny.toml"
    path.write_text(TINY)
    return make(studies.load(path), load)


@pytest.fixture(scope="module")
def calm(tiny, tmp_path_factory):
    """The digests of the runs of an undisturbed study."""
    root = tmp_path_factory.mktemp("calm")
    assert work(tiny, root) == 0
    found = digest.runs(root)
    assert len(found) == 4
    return found


def work(plan, root, tell=lambda event: None, part=None) -> int:
    from sweeps.work.worker import Worker

    return Worker(plan, Store(root), tell, part=part).work()


def files(folder: Path) -> dict:
    """Everything in a run folder but the claim, and but what a process stopped in the middle of a write left
    there: that may go when the process wakes, and can become nothing else."""
    kept = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("claim"))
    return {p: p.read_bytes() for p in kept if not (p.name.startswith(".") and p.name.endswith(".tmp"))}


def test_a_worker_that_slept_while_its_cell_was_taken_over_writes_nothing_more(tiny, calm, tmp_path):
    store, stolen, before, after = Store(tmp_path), {}, {}, {}
    other = replace(claims.Owner.me(), host="elsewhere")
    phases = {"train": 1, "evaluate": 1}  # once in the middle, once just before the commit

    def tell(event):
        for run_id in [r for r in stolen if r not in after]:
            if event.run_id != run_id:  # it went on to another cell
                after[run_id] = files(store.run(run_id).path)
                stolen[run_id].release()
        if event.kind != "progress" or event.run_id in stolen or not phases.get(event.progress.phase):
            return
        phases[event.progress.phase] -= 1
        path = store.claim_path(event.run_id)
        os.utime(path, (0, 0))
        stolen[event.run_id] = claims.take(path, other)
        assert stolen[event.run_id].attempt == 2
        before[event.run_id] = files(path.parent)

    assert work(tiny, tmp_path, tell) == 0
    assert len(stolen) == 2
    assert after == before, "the worker that lost them wrote into their folders"
    assert digest.runs(tmp_path) == calm
    print(f"{len(stolen)} take-overs while the owner slept, {len(calm)} of {len(calm)} digests equal")


@pytest.mark.parametrize("fault", [TypeError, KeyError, ZeroDivisionError, NotImplementedError])
def test_a_fault_of_the_program_is_not_tried_again(fault, tiny, tmp_path, monkeypatch):
    """Before: once for each of the retries, each with a write to the disk; it would be the same again."""
    from sweeps.work import worker

    calls = []

    def stub(jobs, dataset, mode, hooks, how):
        calls.append(jobs[0].run_id)
        raise (fault if jobs[0].config.seed else OSError)("made to fail")

    monkeypatch.setattr(worker, "run", stub)
    plan = replace(tiny, study=replace(tiny.study, run=replace(tiny.study.run, retries=3)))
    assert work(plan, tmp_path) == len(tiny.cells)
    tried = {node.run_id: (node.config.seed, calls.count(node.run_id)) for node in tiny.trunks}
    assert sorted(tried.values()) == [(0, 4), (1, 1)]
    failures = [Store(tmp_path).failure(run_id) for run_id in tried]
    assert sorted(found["attempts"] for found in failures) == [1, 4]


def test_a_crew_that_a_fault_of_the_program_broke_is_not_broken_by_it_again(tiny, tmp_path, monkeypatch):
    """Before: each crew began with the cell whose claim the last had left behind, up to its restarts."""
    from sweeps.work import worker

    class Alone:
        start = idle = end = lambda self, *of: None

    tried = []

    def stub(jobs, dataset, mode, hooks, how):
        tried.append(jobs[0].run_id)
        raise (TypeError if len(tried) == 1 else RuntimeError)("made to fail")

    monkeypatch.setattr(worker, "run", stub)
    store = Store(tmp_path)
    for _ in range(2):
        with pytest.raises(worker.CrewBroken):
            worker.Worker(tiny, store, lambda event: None, crew=Alone()).work()
    assert tried[0] != tried[1]
    failure = store.failure(tried[0])
    assert failure["error"] == "TypeError: made to fail"
    assert "Traceback" in failure["traceback"]
    assert not store.held(tried[0])
    assert store.failure(tried[1]) is None
    assert store.held(tried[1]), "what machines do to a crew is counted by the claim"


def test_a_commit_staged_before_a_take_over_cannot_be_made_after_it(tmp_path):
    folder, other = Store(tmp_path).run("a"), Store(tmp_path).run("a")

    def row(by: str) -> dict:
        return {"row": {"status": "diverged", "reason": by}}

    def take_over_in_the_gap():  # after the zombie looked at its claim
        other.withdraw()

    with pytest.raises(Lost):
        folder.commit(row("zombie"), take_over_in_the_gap)
    assert folder.result() is None
    other.commit(row("owner"))
    other.leave()
    folder.commit(row("late"))
    assert folder.result() == row("owner")
    assert [p.name for p in folder.path.iterdir()] == ["result.json"]


@pytest.mark.slow
def test_a_stopped_process_wakes_to_find_its_work_done_by_another(tiny, calm, tmp_path, monkeypatch):
    root = tmp_path / "store"
    (tmp_path / "tiny.toml").write_text(TINY)
    words = ["worker", str(tmp_path / "tiny.toml"), "--out", str(root)]
    sleeper = subprocess.Popen([sys.executable, "-c", HASTY, *words], stderr=subprocess.DEVNULL)
    wait_for(lambda: list(root.glob("runs/*/claim")), sleeper)
    sleeper.send_signal(signal.SIGSTOP)
    told = []
    monkeypatch.setattr(claims, "STALE_SECONDS", 2.0)
    assert work(tiny, root, told.append) == 0
    assert "taken over, attempt 2" in [event.text for event in told]
    before = files(root)
    assert digest.runs(root) == calm
    sleeper.send_signal(signal.SIGCONT)
    assert sleeper.wait(timeout=60) == 0
    assert files(root) == before
    assert not list(root.glob("runs/*/claim"))


RACE = """
import os, random, sys, time
study, root, log, skew = sys.argv[1:]
real = time.time
time.time = lambda: real() + float(skew)  # a host whose clock is off
from pathlib import Path
from lab.data import load
from lab.runs import claims
from lab.runs.fence import Lost
from sweeps.plan import cells
from sweeps.work import worker
from sweeps.store.store import Store
from sweeps.study.loader import load as load_study
claims.STALE_SECONDS, claims.BEAT_SECONDS = 1.0, 0.1
rng = random.Random(os.getpid())

def stub(jobs, dataset, mode, hooks, how):
    (job,) = jobs
    with open(log, "a") as file:
        file.write(f"{job.run_id} {skew}\\n")
    time.sleep(1.5 if job.config.seed == 0 else rng.uniform(0, 0.004))  # longer than silence is borne
    row = {"run_id": job.run_id, "status": "ok", "loss_nats": 1.0}
    job.folder.commit({"schema": 1, "row": row, "abilities": []}, hooks.check)

worker.run = stub
made = cells.make(load_study(Path(study)), load)
print(len(made.cells), flush=True)
sys.stdin.readline()
sys.exit(worker.Worker(made, Store(Path(root)), lambda event: None).work())
"""


def test_two_workers_whose_clocks_differ_by_two_minutes_train_each_of_200_cells_once(tmp_path):
    study, root, log = tmp_path / "race.toml", tmp_path / "store", tmp_path / "log"
    text = TINY.replace("tokens = [10_000, 20_000]", "tokens = [10_000]")
    text = text.replace("seeds = [0, 1]", f"seeds = {list(range(100))}")
    study.write_text(text.replace("sizes = [", "sizes = [{ width = 16, learning_rate = 0.01 }, "))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, study, root, log, skew],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for skew in ("-60", "60")
    ]
    assert [worker.stdout.readline() for worker in workers] == ["200\n", "200\n"]
    for worker in workers:  # both are ready: a fair start
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    trained = [line.split() for line in log.read_text().splitlines()]
    shares = [sum(who == skew for _, who in trained) for skew in ("-60", "60")]
    assert len(trained) == len({run_id for run_id, _ in trained}) == 200
    assert len(list(root.glob("runs/*/result.json"))) == 200
    assert not list(root.glob("runs/*/claim"))
    assert min(shares) > 20
    print(f"200 cells, each trained once, {shares[0]} and {shares[1]}")


def test_a_claim_of_a_host_that_died_is_taken_over_after_silence(tiny, calm, tmp_path, monkeypatch):
    store, told = Store(tmp_path), []
    monkeypatch.setattr(claims, "STALE_SECONDS", 1.0)
    cell = tiny.trunks[0]
    assert claims.take(store.claim_path(cell.run_id), replace(claims.Owner.me(), host="dead"))
    assert work(tiny, tmp_path, told.append) == 0
    assert [e.text for e in told if "taken over" in e.text and e.run_id == cell.run_id] == [
        "taken over, attempt 2"
    ]
    assert digest.runs(tmp_path) == calm


@pytest.mark.parametrize("how", [pytest.param("deleted", marks=pytest.mark.weekly), "damaged"])
def test_a_branch_point_that_is_lost_is_trained_again(tiny, calm, tmp_path, how):
    store, lost = Store(tmp_path), []

    def tell(event):
        trunk = next((t for t in tiny.trunks if t.run_id == event.run_id), None)
        if event.kind == "done" and trunk and not lost:
            folder = store.run(trunk.run_id).checkpoints / str(trunk.branch_steps[0])
            lost.append(folder)
            if how == "deleted":
                shutil.rmtree(folder)
            else:
                for file in folder.rglob("*"):
                    if file.is_file():
                        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    assert work(tiny, tmp_path, tell) == 0
    assert lost
    assert digest.runs(tmp_path) == calm


def test_checkpoints_of_trunks_go_with_their_last_branch_and_stay_where_one_is_to_come(
    tiny, calm, tmp_path, monkeypatch
):
    kept = replace(tiny, study=replace(tiny.study, run=replace(tiny.study.run, keep_trunks=True)))
    assert work(kept, tmp_path) == 0
    store, me = Store(tmp_path), claims.Owner.me()
    steps = {trunk.run_id: list(trunk.branch_steps) for trunk in tiny.trunks}
    assert {name: store.run(name).steps() for name in steps} == steps
    store.write_study(tiny, "")
    cell = next(cell for cell in tiny.cells if cell.trunk)
    result = store.run(cell.run_id).path / "result.json"
    result.rename(result.with_name("aside"))
    assert not trunks.collect(store, cell.trunk, me), "a branch is to come"
    result.with_name("aside").rename(result)
    held = claims.take(store.claim_path(cell.trunk), replace(me, host="elsewhere"))
    assert not trunks.collect(store, cell.trunk, me), "another worker has it"
    assert store.run(cell.trunk).steps() == steps[cell.trunk]
    held.release()
    assert trunks.collect(store, cell.trunk, me)
    assert store.run(cell.trunk).steps() == []
    assert digest.runs(tmp_path) == calm
    assert work(tiny, tmp_path) == 0, "nothing is trained again for it"
    assert store.run(cell.trunk).steps() == []


def test_a_trunks_checkpoint_is_set_aside_only_by_who_holds_the_trunk(tiny, tmp_path):
    from sweeps.work.worker import Worker

    worker = Worker(tiny, Store(tmp_path), lambda event: None)
    cell = next(cell for cell in tiny.cells if cell.trunk)
    (node,) = (n for n in worker.frontier.nodes.values() if n.run_id == cell.run_id)
    damaged = node.job.trunk.checkpoints / str(cell.hold_steps)
    damaged.mkdir(parents=True)
    mine = claims.take(worker.store.claim_path(cell.run_id), claims.Owner.me())
    path = worker.store.claim_path(cell.trunk)
    other = claims.take(path, replace(claims.Owner.me(), host="elsewhere"))
    assert not worker._mend_trunks([(node, mine)], 16)
    assert damaged.is_dir(), "another worker may be writing it"
    other.release()
    assert worker._mend_trunks([(node, mine)], 16)
    assert [p.name for p in damaged.parent.iterdir()] == [f"{cell.hold_steps}.damaged"]
    assert not path.exists()
    worker.heart.stop()


@pytest.fixture
def disk(tmp_path):
    """A folder on a file system of 3 MB, and a function that fills it or makes room again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("a small file system can be mounted by root only")
    ballast = folder / "ballast"

    def fill(leave: int = 0) -> None:
        with open(ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        os.truncate(ballast, max(0, ballast.stat().st_size - leave))

    yield folder, fill, lambda: ballast.unlink()
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_stops_the_worker_and_loses_nothing(tiny, calm, disk):
    folder, fill, empty = disk
    faults = 0
    for phase in ("train", "evaluate"):  # the next write is a checkpoint, then the final one and the commit

        def tell(event, phase=phase):
            if event.kind == "progress" and event.progress.phase == phase:
                fill()

        with pytest.raises(StoreFault, match="No space left on device"):
            work(tiny, folder / "store", tell)
        faults += 1
        assert not list(folder.glob("store/runs/*/failure.json")), "no cell is at fault"
        empty()
    assert work(tiny, folder / "store") == 0
    assert digest.runs(folder / "store") == calm
    print(f"{faults} times full, {len(calm)} of {len(calm)} digests equal")


@pytest.mark.slow
def test_a_full_disk_is_one_line_of_the_command(tiny, calm, disk, here, tmp_path):
    folder, fill, empty = disk
    (tmp_path / "tiny.toml").write_text(TINY)
    command = ["run", tmp_path / "tiny.toml", "--out", folder / "store", "--workers", "1"]
    fill(leave=300_000)
    done = here(*command)
    assert done.returncode == 1
    assert done.stderr.count("No space left on device") == 1
    assert "make room, and give the same command again" in done.stderr
    assert not list(folder.glob("store/runs/*/failure.json"))
    empty()
    assert work(tiny, folder / "store") == 0
    assert digest.runs(folder / "store") == calm


@pytest.mark.slow
def test_a_study_edited_while_it_runs_keeps_the_old_runs_and_adds_new_ones(calm, here, worker_here, tmp_path):
    study, root = tmp_path / "tiny.toml", tmp_path / "store"
    study.write_text(TINY)

    def edit():
        wait_for(lambda: list(root.glob("runs/*/claim")))
        study.write_text(TINY.replace("learning_rate = 0.02", "learning_rate = 0.01"))

    with ThreadPoolExecutor() as beside:
        edited = beside.submit(edit)
        done = here("run", study, "--out", root, "--workers", "1")
    edited.result()
    assert done.returncode == 0, done.stderr
    assert digest.runs(root) == calm, "the edit reached a worker"
    assert work(make(studies.load(study), load), root) == 0
    both = digest.runs(root)
    assert len(both) == 8
    assert {run_id: both[run_id] for run_id in calm} == calm


@pytest.mark.slow
def test_machines_without_a_shared_folder_train_parts_that_are_copied_and_merged(tiny, calm, here, tmp_path):
    for part in ("1/2", "2/2"):
        assert work(tiny, tmp_path / part[0], part=Part.parse(part)) == 0
        assert len(digest.runs(tmp_path / part[0])) == 2, "each has one family: a trunk and its branches"
    shutil.copytree(tmp_path / "2", tmp_path / "copied")  # as rsync does
    assert here("merge", tmp_path / "all", tmp_path / "1", tmp_path / "copied").returncode == 0
    assert digest.runs(tmp_path / "all") == calm
    before = files(tmp_path / "all")
    assert work(tiny, tmp_path / "all") == 0
    assert files(tmp_path / "all") == before, "nothing was left to train"


def test_a_store_without_hard_links_ends_with_the_same_bits(tiny, calm, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    assert work(tiny, tmp_path) == 0
    assert digest.runs(tmp_path) == calm


def wait_for(sign, *processes) -> None:
    while not sign():
        assert all(process.poll() is None for process in processes), "it ended too early"
        time.sleep(0.02)


@pytest.mark.weekly  # one that is killed is followed by another in test_object_store.py and test_slurm.py
def test_workers_killed_at_random_moments_end_with_the_same_bits(calm, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    counts = kill_at_random(tmp_path / "tiny.toml", tmp_path / "store", kills=3, seed=0)
    print(f"{counts}, {len(calm)} runs")
    assert counts["kills"] == 3
    assert digest.runs(tmp_path / "store") == calm
    assert len(list(tmp_path.glob("store/runs/*/result.json"))) == len(calm)
