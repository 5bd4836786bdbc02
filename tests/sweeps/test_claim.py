import json
import multiprocessing
import os
import subprocess
import sys
import threading
from dataclasses import replace

from lab.runs import claims
from lab.runs.claims import Owner, take


def test_one_of_many_threads_wins(tmp_path):
    me = Owner.me()
    for i in range(50):
        barrier, won = threading.Barrier(8), []

        def race(path=tmp_path / str(i) / "claim", barrier=barrier, won=won):
            barrier.wait()
            if take(path, me):
                won.append(1)

        threads = [threading.Thread(target=race) for _ in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert len(won) == 1


def _claim_all(root, names, out):
    me = Owner.me()
    out.put([name for name in names if take(root / name / "claim", me)])


def test_two_processes_race_for_200_cells_and_none_is_had_twice(tmp_path):
    names = [f"{i:03d}" for i in range(200)]
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    workers = [context.Process(target=_claim_all, args=(tmp_path, names, out)) for _ in range(2)]
    [w.start() for w in workers]
    got = [out.get(timeout=60) for _ in workers]
    [w.join() for w in workers]
    # the first process to end is dead, so its claims may be taken over; while both live they are exclusive
    first = {n for n in names if json.loads((tmp_path / n / "claim").read_text())["attempt"] == 1}
    assert set(got[0]) | set(got[1]) == set(names)
    taken_over = set(names) - first
    assert set(got[0]) & set(got[1]) == taken_over


def test_a_dead_owner_loses_its_claim_and_the_attempt_counts(tmp_path):
    path = tmp_path / "claim"
    code = f"import pathlib; from lab.runs.claims import *; take(pathlib.Path({str(path)!r}), Owner.me())"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    second = take(tmp_path / "claim", Owner.me())
    assert second.attempt == 2
    assert take(tmp_path / "claim", Owner.me()) is None
    second.release()
    assert take(tmp_path / "claim", Owner.me()).attempt == 1


def test_a_living_owner_keeps_it_and_another_host_only_by_beating(tmp_path):
    path = tmp_path / "claim"
    elsewhere = replace(Owner.me(), host="elsewhere", pid=1)
    assert take(path, elsewhere)
    assert take(path, Owner.me()) is None
    old = path.stat().st_mtime - 2 * claims.STALE_SECONDS
    os.utime(path, (old, old))
    assert take(path, Owner.me()).attempt == 2


def test_the_loser_of_a_claim_does_not_release_it(tmp_path):
    path = tmp_path / "claim"
    first = take(path, replace(Owner.me(), host="elsewhere"))
    os.utime(path, (0, 0))
    second = take(path, Owner.me())
    assert not first.is_mine()
    first.release()
    assert second.is_mine()


def test_a_claim_that_cannot_be_read_goes_stale(tmp_path):
    path = tmp_path / "claim"
    path.write_text("{half")
    os.utime(path, (0, 0))
    assert take(path, Owner.me()).attempt == 2


def test_the_dead_are_forgotten_and_the_living_are_not(tmp_path):
    path = tmp_path / "claim"
    take(path, replace(Owner.me(), started="another time"))
    assert take(path, Owner.me()).attempt == 2
    claims.forget_the_dead(path)
    assert claims.read(path).attempt == 2, "its owner lives"
    path.unlink()
    take(path, replace(Owner.me(), started="another time"))
    claims.forget_the_dead(path)
    assert take(path, Owner.me()).attempt == 1


def test_a_claim_taken_over_meanwhile_is_put_back(tmp_path):
    path = tmp_path / "claim"
    first = take(path, replace(Owner.me(), started="another time"))
    second = take(path, Owner.me())
    assert not claims._clear(first), "this is no longer the first one's claim"
    assert second.is_mine()
    assert [p.name for p in tmp_path.iterdir()] == ["claim"]


def test_silence_is_measured_by_the_watchers_own_clock_alone(tmp_path):
    path, now = tmp_path / "claim", [0.0]
    held = take(path, replace(Owner.me(), host="elsewhere"))
    watch = claims.Watch(clock=lambda: now[0])
    for skew in (-1e6, 0.0, 1e6):  # whatever clock set the file's times
        beat = path.stat().st_mtime + skew
        os.utime(path, (beat, beat))
        assert not watch.is_stale(held)
        now[0] += claims.STALE_SECONDS - 1
        assert not watch.is_stale(held)
        os.utime(path, (beat + 1, beat + 1))  # a beat
        now[0] += 2
        assert not watch.is_stale(held)
    now[0] += claims.STALE_SECONDS + 1
    assert watch.is_stale(held)
    assert take(path, Owner.me(), is_stale=watch.is_stale).attempt == 2


def test_an_owner_in_another_pid_namespace_or_boot_is_never_taken_for_dead():
    me = Owner.me()
    assert not me.is_gone()
    assert replace(me, started="before").is_gone()
    for other in ("space", "boot", "host"):
        assert not replace(me, started="before", **{other: "another"}).is_gone()


def test_deaths_count_only_where_the_cell_got_no_further(tmp_path):
    path, dead = tmp_path / "claim", replace(Owner.me(), started="before")
    counts = [take(path, dead, progress).deaths for progress in (0, 0, 20, 20, 20, 40)]
    assert counts == [0, 1, 0, 1, 2, 0]


def test_a_heart_keeps_its_own_claim_alive_and_not_its_successors(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.02)
    mine = take(tmp_path / "a" / "claim", Owner.me())
    lost = take(tmp_path / "b" / "claim", replace(Owner.me(), started="before"))
    for path in (mine.path, lost.path):
        os.utime(path, (0, 0))
    taken = take(lost.path, replace(Owner.me(), host="elsewhere"))
    os.utime(taken.path, (0, 0))
    heart = claims.Heartbeat()
    heart.hold([mine, lost])
    while mine.path.stat().st_mtime == 0:
        pass
    heart.stop()
    assert taken.path.stat().st_mtime == 0


def test_a_beat_that_is_yet_to_come_is_of_nobody(tmp_path, monkeypatch):
    """Before: where a clock had been ahead, the run of a host that died was "running" until that time came,
    and neither `lab train` nor `lab merge` could have it. (A worker watches for itself.)"""
    path, other = tmp_path / "claim", replace(Owner.me(), host="elsewhere")
    held = take(path, other)
    for ahead, stale in ((30.0, False), (3600.0, True)):
        beat = path.stat().st_mtime + ahead
        os.utime(path, (beat, beat))
        assert held.is_stale() == stale
    assert take(path, Owner.me()).attempt == 2
    beat = path.stat().st_mtime + 3600
    os.utime(path, (beat, beat))

    def refuse(probe, *of, **more):
        raise PermissionError

    monkeypatch.setattr(claims.Path, "touch", refuse)  # who may not write there has its own clock alone
    assert not held.is_stale()
