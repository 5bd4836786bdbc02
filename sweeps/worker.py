"""A worker: claim what is ready, train it, commit, repeat, until nothing is left.

Any number of workers on any machines may share a store; an engine only has to start them. Order of claims:
shapes whose program is already compiled here, then shapes nobody else is at, then the longest first.
"""

import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from lab import speed
from lab.job import Job
from lab.run import Hooks, Interrupted, Progress, commit_diverged, run
from sweeps import claim as claims
from sweeps.plan import Plan
from sweeps.store import Node, Store

_IDLE_SECONDS = 0.3
Claimed = tuple[Node, claims.Claim]


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
    """

    plan: Plan
    store: Store
    tell: Callable[[Event], None]
    should_stop: Callable[[], bool] = lambda: False
    provenance: dict = field(default_factory=dict)

    def __post_init__(self):
        self.owner = claims.Owner.me()
        self.heart = claims.Heartbeat()
        self.nodes = [self.store.node(of) for of in (*self.plan.trunks, *self.plan.cells)]
        self.compiled: set = set()

    def work(self) -> int:
        """Until every cell of the plan has a result or was given up. Returns the number given up."""
        try:
            while True:
                if self.should_stop():
                    raise Interrupted
                open_nodes = [n for n in self.nodes if not self._is_over(n)]
                if not open_nodes:
                    return sum(not n.is_trunk and not self.store.is_done(n) for n in self.nodes)
                pack = self._claim_next(open_nodes)
                if pack:
                    self._train(pack)
                else:
                    time.sleep(_IDLE_SECONDS)  # the rest is with other workers, or waits for their trunks
        finally:
            self.heart.stop()

    def _is_over(self, node: Node) -> bool:
        if self.store.is_done(node) or self.store.failure(node.run_id):
            return True
        if node.is_trunk:  # nobody needs it any more
            return all(self._is_over(n) for n in self.nodes if not n.is_trunk and n.of.trunk == node.run_id)
        return bool(node.of.trunk and self.store.failure(node.of.trunk) and not self.store.is_ready(node))

    def _claim_next(self, open_nodes: list[Node]) -> list[Claimed]:
        taken = [n for n in open_nodes if self.store.is_claimed(n)]
        busy = Counter(_program_of(n) for n in taken)
        names = {n.run_id for n in taken}
        ready = [n for n in open_nodes if n.run_id not in names and self.store.is_ready(n)]
        ready.sort(
            key=lambda n: (
                _program_of(n) not in self.compiled,
                busy[_program_of(n)],
                not n.is_trunk,
                -self.plan.seconds(n.of),
            )
        )
        pack: list[Claimed] = []
        for node in ready:
            if pack and _lockstep_of(node) != _lockstep_of(pack[0][0]):
                continue
            claim = self.store.claim(node, self.owner)
            if claim is None:
                continue
            if self._is_over(node):  # finished between our look and our claim
                claim.release()
                continue
            pack.append((node, claim))
            if len(pack) == self._pack_size():
                break
        return pack

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
                if claim.attempt > 1 + self.plan.study.run.retries:
                    self._give_up(node, claim.attempt - 1, "its worker died each time it was tried", "")
                elif diverged := self.store.trunk_diverged(node):
                    dataset = self.plan.dataset(node.of.config)
                    commit_diverged(node.job, dataset, diverged["step"], diverged["reason"])
                    self.tell(Event("done", node.run_id, "diverged with its trunk"))
                else:
                    able.append((node, claim))
                    self.tell(Event("start", node.run_id))
            if able:
                self._attempt(able)
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
            should_stop=lambda: self.should_stop() or not all(claim.is_mine() for _, claim in pack),
            checkpoint_seconds=options.checkpoint_seconds,
            provenance=self.provenance,
        )
        for attempt in range(1, 2 + options.retries):
            try:
                seconds_per_step = run(jobs, dataset, options.pack if len(jobs) > 1 else "serial", hooks)
                if seconds_per_step:
                    speed.record(node.of.config, dataset.vocab_size, seconds_per_step)
                self.compiled.add(_program_of(node))
                for job in jobs:
                    self.tell(Event("done", job.run_id, self._outcome(job)))
                return
            except Interrupted:
                if self.should_stop():
                    raise
                return  # the claim went to another worker
            except Exception as error:
                # one bad cell must not end the study; what it raised is kept with it
                last = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
                trace = traceback.format_exc()
                self.tell(Event("warning", node.run_id, f"attempt {attempt} failed: {last}"))
                if len(pack) > 1:
                    break
        if len(pack) > 1:  # one of them is at fault; each is tried alone
            for one in pack:
                if not self.store.is_done(one[0]):
                    self._attempt([one])
        else:
            self._give_up(node, attempt, last, trace)

    def _outcome(self, job: Job) -> str:
        row = (job.folder.result() or {}).get("row", {})
        return (
            "trunk"
            if job.is_trunk
            else "diverged"
            if row.get("status") == "diverged"
            else f"{row['loss_nats']:.4f}"
        )

    def _give_up(self, node: Node, attempts: int, error: str, trace: str) -> None:
        self.store.fail(node.run_id, attempts, error, trace)
        self.tell(Event("failed", node.run_id, error))


def _program_of(node: Node):
    """What fixes the compiled program."""
    config = node.of.config
    return config.model, config.batch, config.data.context, config.precision


def _lockstep_of(node: Node):
    """What runs of one pack have in common."""
    return _program_of(node), node.job.end, node.job.branch_steps, node.of.config.data
