"""A worker: claim what is ready, train it, commit, repeat, until nothing is left.

Any number of workers on any machines may share a store; an engine only has to start them.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from lab import speed
from lab.job import Job
from lab.run import Hooks, Interrupted, Lost, Progress, commit_diverged, run
from sweeps import claim as claims
from sweeps.disk import store_fault
from sweeps.frontier import Claimed, Frontier, program_of
from sweeps.parts import Part
from sweeps.plan import Plan
from sweeps.store import Node, Store

_IDLE_SECONDS = 0.3


@dataclass(frozen=True)
class Event:
    """What a worker tells: start, progress, done, failed, warning."""

    kind: str
    run_id: str
    text: str = ""
    progress: Progress | None = None


@dataclass
class Worker:
    """One worker on the devices of this process.

    Args:
        tell: receives every :class:`Event`.
        should_stop: asked between calls; when true, the run is checkpointed, its claim released, and
            :class:`lab.run.Interrupted` raised.
        part: train this share of the study only.
    """

    plan: Plan
    store: Store
    tell: Callable[[Event], None]
    should_stop: Callable[[], bool] = lambda: False
    provenance: dict = field(default_factory=dict)
    part: Part | None = None

    def __post_init__(self):
        self.heart = claims.Heartbeat()
        self.frontier = Frontier(self.plan, self.store, claims.Owner.me(), self.part)

    def work(self) -> int:
        """Until every cell of the plan has a result or was given up. Returns the number given up.

        Raises:
            Interrupted: when ``should_stop`` said so; what was done is saved, and the claims are released.
            sweeps.disk.StoreFault: when the store takes no more files; what was committed or saved is there.
        """
        try:
            while True:
                if self.should_stop():
                    raise Interrupted
                pack = self.frontier.claim(self._pack_size())
                if pack:
                    self._train(pack)
                elif not self.frontier.open:
                    return len(self.frontier.failed)
                else:
                    time.sleep(_IDLE_SECONDS)  # the rest is with other workers, or waits for their trunks
        except OSError as error:
            if fault := store_fault(error, self.store.root):
                raise fault from error
            raise
        finally:
            self.heart.stop()

    def _pack_size(self) -> int:
        if self.plan.study.run.pack == "serial":
            return 1
        import jax

        return jax.local_device_count()

    def _train(self, pack: list[Claimed]) -> None:
        self.heart.hold([claim for _, claim in pack])
        try:
            able = []
            for node, claim in pack:
                if claim.attempt > 1:
                    self.tell(Event("warning", node.run_id, f"taken over, attempt {claim.attempt}"))
                if claim.deaths > self.plan.study.run.retries:
                    self._give_up(node, claim.deaths, "its worker died each time it was tried", "")
                elif diverged := self.store.trunk_diverged(node):
                    dataset = self.plan.dataset(node.of.config)
                    commit_diverged(node.job, dataset, diverged["step"], diverged["reason"])
                    self._tell_done(node, "diverged with its trunk")
                else:
                    able.append((node, claim))
                    self.tell(Event("start", node.run_id))
            if able:
                self._attempt(able)
        except Lost:
            pass  # another worker has it; whatever the rest of a pack had saved is there
        finally:
            self.heart.hold([])
            for _, claim in pack:
                claim.release()

    def _attempt(self, pack: list[Claimed]) -> None:
        jobs, node = [n.job for n, _ in pack], pack[0][0]
        dataset = self.plan.dataset(node.of.config)
        options = self.plan.study.run
        hooks = Hooks(
            progress=lambda progress: self.tell(Event("progress", node.run_id, progress=progress)),
            warn=lambda text: self.tell(Event("warning", node.run_id, text)),
            should_stop=self.should_stop,
            check=lambda: _check(pack),
            checkpoint_seconds=options.checkpoint_seconds,
            provenance=self.provenance,
        )
        for attempt in range(1, 2 + options.retries):
            try:
                seconds_per_step = run(jobs, dataset, options.pack if len(jobs) > 1 else "serial", hooks)
                if seconds_per_step:
                    speed.record(node.of.config, dataset.vocab_size, seconds_per_step)
                self.frontier.compiled.add(program_of(node))
                for one, _ in pack:
                    self._tell_done(one, _outcome(one.job))
                return
            except (Interrupted, Lost):
                raise
            except Exception as error:
                if fault := store_fault(error, self.store.root):
                    raise fault from error
                if not all(self.store.is_ready(one) for one, _ in pack):
                    text = f"its trunk's checkpoint is gone: {_line(error)}"
                    self.tell(Event("warning", node.run_id, text))
                    return  # the trunk will be trained again
                # one bad cell must not end the study; what it raised is kept with it
                last, trace = _line(error), traceback.format_exc()
                self.tell(Event("warning", node.run_id, f"attempt {attempt} failed: {last}"))
                if len(pack) > 1:
                    break
        if len(pack) > 1:  # one of them is at fault; each is tried alone
            for one in pack:
                if not self.store.is_done(one[0]):
                    self._attempt([one])
        else:
            _check(pack)
            self._give_up(node, attempt, last, trace)

    def _tell_done(self, node: Node, text: str) -> None:
        self.frontier.close(node)
        self.tell(Event("done", node.run_id, text))

    def _give_up(self, node: Node, attempts: int, error: str, trace: str) -> None:
        self.store.fail(node.run_id, attempts, error, trace)
        if not node.is_trunk:
            self.frontier.failed.add(node.run_id)
        self.frontier.close(node)
        self.tell(Event("failed", node.run_id, error))


def _check(pack: list[Claimed]) -> None:
    for node, claim in pack:
        if not claim.is_mine():
            raise Lost(f"{node.run_id} was taken over from attempt {claim.attempt}")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"


def _outcome(job: Job) -> str:
    if job.is_trunk:
        return "trunk"
    row = (job.folder.result() or {}).get("row", {})
    return "diverged" if row.get("status") == "diverged" else f"{row['loss_nats']:.4f}"
