"""Death at any file operation of runs in lockstep: what is resumed, in whatever packing, ends the same.

A process need not die for it: the operation raises, and so does every one after it. What had begun stays as
it was: a file opened for writing is left empty, a line half appended, a folder half removed.

``python -m benchmarks.deaths --deaths 120`` prints a table by packing.
"""

import argparse
import builtins
import io
import logging
import os
import random
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from unittest import mock

if __name__ == "__main__":
    from lab.machine import devices

    devices.configure(cpu_devices=4)

import jax
import numpy as np

from lab.config import ModelConfig, OptimizerConfig, RunConfig
from lab.data import DataConfig, load
from lab.execution import Execution, MeshShape
from lab.runs import loop
from lab.runs.checkpoint import Checkpoints
from lab.runs.folder import RunFolder
from lab.runs.job import Job
from lab.training import train


class Death(BaseException):
    """Not an Exception: nothing that handles errors may outlive it."""


class Reaper:
    """Counts the file operations below ``root`` and kills at number ``at`` (from 0); None: counts only."""

    def __init__(self, root: Path, at: int | None = None):
        self.root, self.at = str(root), at
        self.done: list[str] = []  # what was done, in order
        self.dead = False

    def meets(self, operation: str, path, *more) -> None:
        """Called before an operation."""
        path = os.fspath(path) if not isinstance(path, int) else ""
        if not isinstance(path, str) or not path.startswith(self.root):
            return
        if not self.dead and len(self.done) == self.at:
            self.dead = True
            self._half_done(operation, path, *more)
        if self.dead:
            raise Death(f"{operation} {path}")
        self.done.append(f"{operation} {path[len(self.root) + 1 :]}")

    def _half_done(self, operation: str, path: str, mode: str = "") -> None:
        if operation == "open" and (mode or path.endswith(".jsonl")):
            with _OPEN(path, mode or "ab") as file:
                if file.mode.startswith("a"):
                    file.write(b'{"step": 2' if "b" in file.mode else '{"step": 2')
        elif operation == "rmtree":
            files = sorted(p for p in Path(path).rglob("*") if p.is_file())
            for file in files[: len(files) // 2]:
                _UNLINK(file)


_OPEN, _UNLINK, _RMDIR, _RMTREE = builtins.open, os.unlink, os.rmdir, shutil.rmtree


def _whole(path, kwargs: dict) -> str:
    """The path, also where it is given from an open folder, or as an open file."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    folder = kwargs.get("dir_fd", kwargs.get("src_dir_fd"))
    return path if folder is None else os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)


@contextmanager
def death(root: Path, at: int | None = None, kind: type[Reaper] = Reaper):
    """Within, file operations below ``root`` go through the :class:`Reaper` that is yielded."""
    reaper = kind(root, at)

    def watched(name: str, real):
        def call(path, *args, **kwargs):
            flags = args[0] if args and name == "open" else os.O_CREAT
            if flags & (os.O_CREAT | os.O_APPEND):
                reaper.meets(name, _whole(path, kwargs))
            return real(path, *args, **kwargs)

        return call

    def opened(file, mode="r", *args, **kwargs):
        if set(mode) & set("wax+"):
            reaper.meets("open", file, mode)
        return _OPEN(file, mode, *args, **kwargs)

    def rmtree(path, *args, **kwargs):
        reaper.meets("rmtree", path)
        with mock.patch.multiple(os, unlink=_UNLINK, rmdir=_RMDIR):  # it is one operation here
            return _RMTREE(path, *args, **kwargs)

    names = ("open", "write", "replace", "rename", "link", "unlink", "mkdir", "rmdir")
    patched = {name: watched(name, getattr(os, name)) for name in names}
    with (
        mock.patch.multiple(os, **patched),
        mock.patch.object(builtins, "open", opened),
        mock.patch.object(io, "open", opened),
        mock.patch.object(shutil, "rmtree", rmtree),
    ):
        yield reaper


DATA = load(DataConfig(source="synthetic", context=16, val_windows=8))
CONFIG = RunConfig(
    tokens=50 * 4 * 16,
    model=ModelConfig(width=8, layers=1, heads=1),
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_tokens=10 * 64),
    data=DATA.config,
    batch=4,
)
VOCAB = DATA.vocab_size
EXACT = ("serial", "devices")  # the bits of the solo run, however they alternate
Packing = tuple[tuple[str, tuple[int, ...]], ...]  # of each group: the mode, and the seeds in lockstep


def together(mode: str, runs: int) -> Packing:
    return ((mode, tuple(range(runs))),)


def alone(runs: int) -> Packing:
    return tuple(("serial", (seed,)) for seed in range(runs))


@dataclass(frozen=True)
class Ended:
    params: list
    records: list  # step, loss, gradient norm
    losses: tuple


def jobs(root: Path, seeds) -> list[Job]:
    return [Job(replace(CONFIG, seed=s), str(s), RunFolder(root / str(s))) for s in seeds]


def go_on(root: Path, packing: Packing, tell=lambda text: None) -> None:
    """What a worker does: the unfinished runs of each group, with a checkpoint after every call."""
    for mode, seeds in packing:
        left = [job for job in jobs(root, seeds) if not (job.folder.path / "result.json").exists()]
        how = Execution(MeshShape.parse("fsdp=2")) if mode == "mesh" else Execution()
        hooks = loop.Hooks(warn=tell, checkpoint_seconds=0.0)
        with mock.patch.object(loop, "_SAVING_SHARE", 0):
            if left:
                for job in left:  # as whoever has won the claim does
                    job.folder.path.mkdir(parents=True, exist_ok=True)
                    job.folder.withdraw()
                loop.run(left, DATA, "serial" if len(left) < len(seeds) == 2 else mode, hooks, how)
                for job in left:
                    job.folder.leave()


def ended(root: Path, seed: int) -> Ended:
    (job,) = jobs(root, [seed])
    shapes = train.state_shapes(job.config, VOCAB).params
    params = jax.tree.leaves(Checkpoints(job.folder.final).restore(50, shapes))
    records = [(m["step"], m["loss_nats"], m["grad_norm"]) for m in job.folder.metrics() if "loss_nats" in m]
    row = job.folder.result()["row"]
    return Ended(params, records, (row["loss_nats"], row["train_loss_nats"]))


@cache
def solo(seed: int) -> Ended:
    with tempfile.TemporaryDirectory() as name:
        go_on(Path(name), (("serial", (seed,)),))
        return ended(Path(name), seed)


@cache
def operations(packing: Packing) -> tuple[str, ...]:
    """The file operations of runs that nothing disturbs."""
    with tempfile.TemporaryDirectory() as name, death(Path(name)) as reaper:
        go_on(Path(name), packing)
        return tuple(reaper.done)


def differs(root: Path, packings: list[Packing]) -> list[str]:
    """What is not as in the solo runs: to the bit where all packings promise that, else by 1e-5."""
    groups = [group for packing in packings for group in packing]
    within = 0.0 if all(mode in EXACT for mode, _ in groups) else 1e-5
    found = []
    for seed in sorted({seed for _, seeds in groups for seed in seeds}):
        got, expected = ended(root, seed), solo(seed)
        apart = max(float(np.abs(a - b).max()) for a, b in zip(got.params, expected.params, strict=True))
        if apart > within:
            found.append(f"run {seed}: parameters {apart:.1e} apart")
        if [r[0] for r in got.records] != [r[0] for r in expected.records]:
            found.append(f"run {seed}: records of steps {[r[0] for r in got.records]}")
        elif np.abs(np.subtract(got.records, expected.records)).max() > 10 * within:
            found.append(f"run {seed}: other records")
        if np.abs(np.subtract(got.losses, expected.losses)).max() > within:
            found.append(f"run {seed}: losses {got.losses}, not {expected.losses}")
    return found


def suffer(root: Path, packings: list[Packing], at: list[int]) -> tuple[int, list[str]]:
    """Die at operation ``at[i]`` of ``packings[i]``, go on in the next; the last lives to the end.

    Returns how many died, and what was told or differs.
    """
    told, died = [], 0
    for packing, where in zip(packings, [*at, None], strict=True):
        try:
            with death(root, where):
                go_on(root, packing, told.append)
        except Death:
            died += 1
    return died, told + differs(root, packings)


CASES = [("serial", 1), ("devices", 2), ("pmap", 2), ("vmap", 2), ("vmap", 4), ("mesh", 1)]


def draw(rng: random.Random, modes, runs: int) -> Packing:
    """Some way to pack the runs: groups drawn anew, each in a mode drawn anew."""
    seeds = rng.sample(range(runs), runs)
    size = rng.choice([n for n in (1, 2, 4) if n <= runs])
    groups = [tuple(sorted(seeds[i : i + size])) for i in range(0, runs, size)]
    return tuple((rng.choice(modes) if size > 1 else "serial", group) for group in groups)


def main(deaths: int, seed: int, only: str) -> None:
    logging.disable()  # what orbax says of the threads that die
    rng = random.Random(seed)
    cases = {f"{mode}, {runs} runs": ([mode], runs, False) for mode, runs in CASES}
    cases |= {f"{mode}, 4 runs": ([mode], 4, False) for mode in ("devices", "pmap")}
    cases |= {f"packed anew, {runs} runs": (["devices", "pmap", "vmap"], runs, True) for runs in (2, 4)}
    cases = {name: case for name, case in cases.items() if only in name}
    each, total, wrong = -(-deaths // len(cases)), 0, 0
    print(f"{'packing':<22}{'deaths':>8}{'stores':>8}{'wrong':>7}")
    for name, (modes, runs, anew) in cases.items():
        died = stores = bad = 0
        while died < each:
            with tempfile.TemporaryDirectory() as folder:
                n = 3 if anew else 2
                packings = [draw(rng, modes, runs) if anew else together(modes[0], runs) for _ in range(n)]
                at = [rng.randrange(len(operations(packing))) for packing in packings[:-1]]
                more, problems = suffer(Path(folder), packings, at)
            died, stores, bad = died + more, stores + 1, bad + bool(problems)
            for problem in problems:
                print(f"  {problem}  after {at} of {packings}")
        print(f"{name:<22}{died:>8}{stores:>8}{bad:>7}", flush=True)
        total, wrong = total + died, wrong + bad
    print(f"{total} deaths, {wrong} stores wrong")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deaths", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="packings whose name has this in it")
    main(**vars(parser.parse_args()))
