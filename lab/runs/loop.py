"""From a configuration to a finished run folder: restore, train, evaluate, commit.

What is resumed is decided in this order:
1. a result that is there ends the matter;
2. else the newest sound checkpoint of the run itself, in a pack that of a step that all have;
3. else, for a branch, the trunk's checkpoint at the step where the cooldown starts;
4. else the initial state.
The data need no state of their own: a batch is a function of the step.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from lab.config import RunConfig
from lab.data import Dataset
from lab.evaluation import evaluate, item_files, progress_measures
from lab.execution import Execution
from lab.machine import devices, distributed
from lab.model import memory
from lab.runs import checkpoint, divergence, live, resume, rows, spent, trackers
from lab.runs.checkpoint import Checkpoints
from lab.runs.fence import Lost
from lab.runs.folder import DIVERGED, ITEMS
from lab.runs.hooks import Hooks, Interrupted, Progress
from lab.runs.job import SCHEMA, Job
from lab.runs.window import Window, is_full, last_loss
from lab.training import optimizer, pack_timing, train
from lab.training.pack import STEPS_PER_CALL, Mode, Pack

_PLAIN = Execution()
_SAVING_SHARE = 20  # training lasts this many times longer than the save before it: a large state costs 5 %


def run(
    jobs: list[Job],
    dataset: Dataset,
    mode: Mode | Literal["auto"] = "serial",
    hooks: Hooks | None = None,
    how: Execution = _PLAIN,
) -> float | None:
    """Bring R jobs of one shape and horizon to their end, in lockstep. Finished ones must not be passed.

    Args:
        mode: of :class:`~lab.training.pack.Pack`; ``auto`` is what ``pack_timing`` finds fastest, and
            where that holds fewer runs at once, one part of the jobs after the other.
        how: of a single run: mesh, parts of a batch, layers computed again.

    Returns:
        device-seconds a step of one run, compilation aside; None where too few steps were left to tell.

    Raises:
        Interrupted: when ``hooks.should_stop`` said so; call again to go on.
        Lost: from ``hooks.check``.
        DamagedTrunk: when the trunk's checkpoint is missing or damaged (:mod:`lab.runs.resume`).
        InputError: when the run cannot fit the memory of its devices, or ``how`` does not divide its shape.
    """
    hooks = hooks or Hooks()
    config, vocab = jobs[0].config, dataset.vocab_size
    devices.check_precision(config.precision)
    if mode == "auto":
        memory.check(config, vocab, "serial", 1, how)
        choice = pack_timing.choose(config, vocab, len(jobs), jobs[0].end)
        hooks = replace(hooks, provenance={**hooks.provenance, "pack": asdict(choice)})
        size = choice.at_once(len(jobs), jax.local_device_count())
        parts = [jobs[i : i + size] for i in range(0, len(jobs), size)]
        return [run(part, dataset, choice.mode, hooks, how) for part in parts][-1]
    how.check(config)
    memory.check(config, vocab, mode, len(jobs), how)
    pack = Pack(config, vocab, mode, len(jobs), how=how)
    return _Lockstep(jobs, dataset, pack, hooks).run()


class _Lockstep:
    """The loop, for R jobs on one pack."""

    def __init__(self, jobs: list[Job], dataset: Dataset, pack: Pack, hooks: Hooks):
        horizons = {(job.start, job.end, job.config.batch, job.branch_steps) for job in jobs}
        if len(horizons) > 1:
            raise ValueError(f"runs in lockstep need one start and horizon, these have {sorted(horizons)}")
        self.jobs, self.dataset, self.pack, self.hooks = jobs, dataset, pack, hooks
        in_parts = pack.mode == "mesh" and _bytes(pack) >= checkpoint.SHARDED_BYTES
        self.place = pack.place if in_parts and jobs[0].folder.takes_parts else None
        self.stores = [self._checkpoints(job, job.folder.checkpoints) for job in jobs]
        self.alive = set(range(len(jobs)))
        self.end, self.marks, self.batch = jobs[0].end, jobs[0].branch_steps, jobs[0].config.batch
        self.probes = progress_measures.steps(dataset.config.progress, STEPS_PER_CALL, self.end)
        self.validations = _validations(pack.how.evaluate_every, self.end)
        self.saving = 0.0
        self.clock = spent.Clock(jobs, pack.devices)
        self.live = live.Live(jobs, hooks.track, hooks.warn)

    def _checkpoints(self, job: Job, folder: Path) -> Checkpoints:
        return Checkpoints(folder, job.folder.writes, self.place, job.folder.fence)

    def run(self) -> float | None:
        self.step = 0
        try:
            return self._run()
        except Lost:
            raise
        except Exception:
            self.hooks.check()
            self.clock.book(self.step, self.alive)
            raise
        finally:
            self.live.leave()

    def _run(self) -> float | None:
        for job in self.jobs:
            job.folder.write_spec(job.spec(self.dataset, self.hooks.provenance))
        compiled = replace(devices.compilations())
        step, states = self._start()
        self.hooks.check()
        distributed.wait("read")
        for job, store in zip(self.jobs, self.stores, strict=True):
            resume.forget_beyond(step, job, store)
        distributed.wait("started")
        placed = self.pack.put(states)
        for r, at in enumerate(self.pack.steps(placed)):
            self._expect(r, at, step)
        placed = self._train(step, placed)
        now = devices.compilations()
        self.cache_hits, self.cache_misses = now.hits - compiled.hits, now.misses - compiled.misses
        ended = [r for r in sorted(self.alive) if not self.jobs[r].is_trunk]
        for r, measured in zip(ended, self._evaluate(placed, ended), strict=True):
            in_parts = self.place is not None
            params = self.pack.in_parts(placed.params) if in_parts else self.pack.get(placed, r).params
            self._finish(r, params, *measured)
        distributed.wait("finished")
        steps = self.end - step
        if steps <= 4 * STEPS_PER_CALL:
            return None
        return self.clock.seconds * len(self.pack.devices) / self.pack.runs / steps

    def _start(self) -> tuple[int, list[train.State | RunConfig]]:
        vocab = self.dataset.vocab_size
        if distributed.count() == 1:
            return resume.start(self.jobs, self.stores, vocab, self.hooks.warn)
        # process 0 looks first, since it sets damaged checkpoints aside; the others read what it found
        primary = distributed.is_primary()
        found = resume.start(self.jobs, self.stores, vocab, self.hooks.warn) if primary else None
        step = distributed.from_primary(found[0] if found else 0)
        states = [resume.state_at(step, *one, vocab) for one in zip(self.jobs, self.stores, strict=True)]
        return found or (step, states)

    def _train(self, step: int, placed):
        hypers = [optimizer.hyper(job.config, trunk=job.is_trunk) for job in self.jobs]
        self.fine = [self._last_fine(job) for job in self.jobs]
        self.windows = [Window(job, step) for job in self.jobs]
        if step == self.end:  # a budget without a cooldown trains no step of its own, but has its record
            for job, window in zip(self.jobs, self.windows, strict=True):
                if not window.is_empty and step not in [m["step"] for m in job.folder.metrics()]:
                    self._append(self.jobs.index(job), [window.line(step)])
        saved = time.monotonic()
        self.clock.restart()
        pending = None
        first = True
        batches = self._batches(step)
        while step < self.end and self.alive:
            # calls end at multiples of K and at marks, so that records do not depend on where a run resumed
            n = min(
                m - step
                for m in (step - step % STEPS_PER_CALL + STEPS_PER_CALL, self.end, *self.marks)
                if m > step
            )
            if first:
                self.hooks.progress(Progress("compile", step, self.end))
            placed, metrics = self.pack.advance(placed, *batches, n, hypers)
            if first:  # the program was compiled inside the call; its steps are still under way
                first = False
                self.clock.book(step, self.alive, compiled=True)
            step += n
            self.step = step
            batches = self._batches(step)  # drawn while the devices work
            if pending:
                self._record(*pending)
            pending = (step, n, metrics, time.monotonic())
            if step in self.probes:
                self._probe(step, placed)
            if step in self.validations:
                self._record(*pending)  # before, so that validation does not count as training
                pending = None
                self._validate(step, placed)
            due = time.monotonic() - saved > max(self.hooks.checkpoint_seconds, _SAVING_SHARE * self.saving)
            stop, due = distributed.agree(self.hooks.should_stop() and step < self.end, due)
            if step in self.marks or stop or due:
                if pending:
                    self._record(*pending)
                pending = None
                if step in self.marks:
                    for r in self.alive:
                        self.jobs[r].folder.append_metrics([self.windows[r].branch(step)])
                before = time.monotonic()
                self._save(step, placed, lasting=stop or step in self.marks)
                saved = time.monotonic()
                self.saving = saved - before
                self.clock.book(step, self.alive)
            if stop:
                raise Interrupted
        if pending:
            self._record(*pending)
        for store in self.stores:
            store.wait()
        self.clock.book(step, self.alive)
        return placed

    def _last_fine(self, job: Job) -> int:
        lines = job.folder.metrics()
        if job.trunk is not None:
            lines += [line for line in job.trunk.metrics() if line["step"] <= job.config.hold_steps]
        lines = [line for line in lines if "kind" not in line]  # validated or not, the rule finds the same
        return divergence.last_fine(lines, self.dataset.vocab_size)

    def _batches(self, step: int):
        return self.dataset.batches(step, STEPS_PER_CALL, self.batch) if step < self.end else None

    def _record(self, step: int, n: int, metrics, dispatched: float) -> None:
        tokens = self.jobs[0].config.batch_tokens
        self.hooks.check()
        for r in sorted(self.alive):
            losses = np.asarray(metrics[r].loss_nats, np.float64)[:n]
            norms = np.asarray(metrics[r].grad_norm, np.float64)[:n]
            bad = divergence.first_not_finite(losses, norms)
            if bad is not None:
                at = step - n + 1 + bad
                self._diverged(r, at, f"loss or gradient not finite at step {at}")
                continue
            window = self.windows[r]
            about = {"update_ratio": metrics[r].update_ratio, "max_logit": metrics[r].max_logit}
            window.add(losses, norms, **{name: _number(value) for name, value in about.items()})
            last = window.loss_nats
        seconds = max(time.monotonic() - dispatched, 1e-9)
        speed = self.pack.runs * n * tokens / seconds
        there = self.pack.devices
        config, kind = self.jobs[0].config, there[0].device_kind
        share = live.share_of_peak(config, self.dataset.vocab_size, speed, kind, len(there))
        if is_full(step) or (step == self.end and not self.jobs[0].is_trunk):
            self._close_windows(step, {"tokens_per_s": speed / self.pack.runs, "share_of_peak": share})
        if self.alive:
            left = (self.end - step) * seconds / n
            self.hooks.progress(Progress("train", step, self.end, last, speed, left, share))
            if self.clock.is_due():
                self.clock.book(step, self.alive)

    def _append(self, r: int, lines: list[dict], **more: float | None) -> None:
        """Records of a run: into its folder, and out to who looks on."""
        self.jobs[r].folder.append_metrics(lines)
        if self.jobs[r].folder.writes:
            self.live.log(r, lines, more)

    def _close_windows(self, step: int, speeds: dict[str, float | None]) -> None:
        for r in sorted(self.alive):
            line = self.windows[r].line(step)
            self._append(r, [line], **speeds)
            self.fine[r] = max(self.fine[r], divergence.last_fine([line], self.dataset.vocab_size))
            if reason := divergence.blown_up(step, self.fine[r]):
                self._diverged(r, step, reason)

    def _probe(self, step: int, placed) -> None:
        for r in sorted(self.alive):
            job = self.jobs[r]
            about = {"step": step, "tokens": step * job.config.batch_tokens, "kind": "progress"}
            values = progress_measures.measure(self.pack.trained(placed, r), job.config, self.dataset)
            self.hooks.check()
            job.folder.append_metrics([about | value for value in values])

    def _validate(self, step: int, placed) -> None:
        self.clock.book(step, self.alive)
        runs, config = sorted(self.alive), self.jobs[0].config
        losses = self.pack.each(placed, runs, lambda params: evaluate.validate(params, config, self.dataset))
        self.hooks.check()
        for r, loss in zip(runs, losses, strict=True):
            about = {"step": step, "tokens": step * config.batch_tokens, "kind": "val"}
            if np.isfinite(loss.nats):  # where it is not, the record of these steps says so
                self._append(r, [about | {"loss_nats": loss.nats, "loss_se": loss.se}])
        self.clock.book(step, self.alive, "evaluate")

    def _save(self, step: int, placed, lasting: bool) -> None:
        self.hooks.check()
        for r in sorted(self.alive):
            if self.place is not None:
                self._expect(r, self.pack.steps(placed)[r], step)
                self.stores[r].save(step, self.pack.in_parts(placed))
                if lasting:
                    self.stores[r].wait()
                continue
            state = self.pack.get(placed, r)  # every process helps to gather
            self._expect(r, int(state.step), step)
            self.stores[r].save(step, state)
        for r in sorted(self.alive):  # a pack goes back to a step that all have: only now may older ones go
            there = self.stores[r].steps()  # what is written in the background is not there yet
            for older in there[:-1]:
                if older not in self.marks:
                    self.stores[r].delete(older)
            self.jobs[r].folder.push(self.hooks.check)

    def _expect(self, r: int, at: int, step: int) -> None:
        """The data of a step may only meet the state of that step."""
        if at != step:
            name = self.jobs[r].run_id
            raise RuntimeError(f"{name}: its state is at step {at}, its data at step {step}")

    def _diverged(self, r: int, step: int, reason: str) -> None:
        self.clock.book(step, self.alive)
        self.alive.discard(r)
        job = self.jobs[r]
        self.hooks.warn(f"{job.run_id}: diverged: {reason}")
        if job.is_trunk:
            job.folder.write(DIVERGED, {"step": step, "reason": reason})
        else:
            rows.commit_diverged(job, self.dataset, step, reason, self.hooks.check)
        if job.folder.writes:
            self.live.close(r, (job.folder.result() or {}).get("row", {"status": "diverged"}), {})

    def _evaluate(self, placed, runs: list[int]) -> list[tuple]:
        """Of each run its loss; where it did not diverge, its scores, and losses by source."""
        if not runs:
            return []
        config, dataset = self.jobs[0].config, self.dataset  # alike in all that evaluation reads
        self.hooks.progress(Progress("evaluate", self.end, self.end))
        self.clock.restart()

        def one(params):
            loss = evaluate.validate(params, config, dataset)
            if divergence.ends_above(loss.nats, dataset.vocab_size):
                return loss, None, {}
            measured = evaluate.everything(params, config, dataset)
            return loss, measured, evaluate.of_sources(params, config, dataset)

        found = self.pack.each(placed, runs, one)
        self.hooks.check()
        self.clock.book(self.end, runs, "evaluate")
        return found

    def _finish(self, r: int, params, loss, measured, sources) -> None:
        job = self.jobs[r]
        if reason := divergence.ends_above(loss.nats, self.dataset.vocab_size):
            self._diverged(r, job.end, reason)
            return
        self.hooks.check()
        if measured.items and job.folder.writes:
            with job.folder.replacing(ITEMS) as staged:
                item_files.write(staged, measured.items, job.folder.root)
        final = self._checkpoints(job, job.folder.final)
        for step in final.steps():  # of an attempt that committed no result: a save replaces nothing
            final.delete(step)
        distributed.wait("removed what was final")
        final.save(job.end, params)
        final.wait()
        row = {
            **rows.before(job, self.dataset),
            **spent.columns(job),
            "status": "ok",
            "loss_nats": loss.nats,
            "loss_se": loss.se,
            "bits_per_byte": loss.bits_per_byte,
            **sources,
            "train_loss_nats": last_loss(job),
            "pack": self.pack.mode,
            "device": self.pack.devices[0].device_kind,
            "cache_hits": self.cache_hits,
            "cache_misses": self.cache_misses,
        }
        about = {
            "run_id": job.run_id,
            "params": row["params_total"],
            "tokens": row["tokens"],
            "flops": row["flops_exact"],
        }
        about |= {"loss_nats": loss.nats, "seed": job.config.seed, "cluster": None}
        result = {"schema": SCHEMA, "row": row, "abilities": [about | score for score in measured.rows]}
        job.folder.commit(result, self.hooks.check)
        if job.folder.writes:
            scores = {f"{s['task']}/{s['metric']}": s["score"] for s in measured.rows}
            self.live.close(r, row, trackers.numbers(scores))
        for step in self.stores[r].steps():  # the trained parameters are in final/
            self.stores[r].delete(step)
        job.folder.push(self.hooks.check)


def _bytes(pack: Pack) -> int:
    leaves = jax.tree.leaves(train.state_shapes(pack.config, pack.vocab))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def _validations(every: int, end: int) -> range:
    """Steps at which a run is validated on the way: at ends of calls, so that nothing else changes."""
    each = -(-every // STEPS_PER_CALL) * STEPS_PER_CALL
    return range(each, end, each) if each else range(0)


def _number(scalar) -> float | None:
    value = float(np.asarray(scalar))
    return value if np.isfinite(value) else None  # JSON has no NaN
