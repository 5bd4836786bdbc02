"""A worker: claim what is ready, train it, commit, repeat, until nothing is left.

Any number of workers on any machines may share a store; an engine only has to start them.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.errors import InputError
from lab.machine import speed
from lab.runs import claims
from lab.runs.fence import Lost
from lab.runs.hooks import Hooks, Interrupted, Progress
from lab.runs.live import Open
from lab.runs.loop import run
from lab.runs.resume import DamagedTrunk, mend_trunk
from lab.runs.rows import commit_diverged
from sweeps.plan.cells import Plan
from sweeps.plan.study_parts import Part
from sweeps.store import trunks
from sweeps.store.disk import store_fault
from sweeps.store.store import Node, Store
from sweeps.work.cell_queue import Claimed, Frontier, program_of
from sweeps.work.multihost import Crew, alone, how

_IDLE_SECONDS = 0.3
# What the same call raises again: of the machine are OSError, MemoryError and what libraries make of them
# (RuntimeError, ValueError).
_PROGRAM_FAULTS = (
    InputError,
    TypeError,
    AttributeError,
    NameError,
    LookupError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RecursionError,
)


@dataclass(frozen=True)
class Event:
    """What a worker tells: start, progress, done, failed, warning."""

    kind: str
    run_id: str
    text: str = ""
    progress: Progress | None = None


class CrewBroken(Exception):
    """A process of a crew failed, so that the others wait for it: all must end, and be started again."""


@dataclass
class Worker:
    """One worker on the devices of this process, or of the crew that it leads.

    Args:
        tell: receives every :class:`Event`.
        should_stop: asked between calls; when true, the run is checkpointed, its claim released, and
            :class:`lab.runs.hooks.Interrupted` raised.
        part: train this share of the study only.
        crew: the other processes of each run.
        track: opens what the records of a run go to while it trains.
    """

    plan: Plan
    store: Store
    tell: Callable[[Event], None]
    should_stop: Callable[[], bool] = lambda: False
    provenance: dict = field(default_factory=dict)
    part: Part | None = None
    crew: Crew | None = None
    track: Open = lambda job: None

    def __post_init__(self):
        self.heart = claims.Heartbeat()
        self.frontier = Frontier(self.plan, self.store, claims.Owner.me(), self.part)

    def work(self) -> int:
        """Until every cell of the plan has a result or was given up. Returns the number given up.

        Raises:
            Interrupted: when ``should_stop`` said so; what was done is saved, and the claims are released.
            CrewBroken: where a run of a crew failed. Its claim is left behind, and counts the deaths, unless
                the program was at fault: then the cell is given up, with its traceback.
            sweeps.store.disk.StoreFault: when the store takes no more files; what was committed is there.
        """
        try:
            while True:
                if self.should_stop():
                    self._tell_crew(over=True)
                    raise Interrupted
                pack = self.frontier.claim(self._pack_size())
                if pack:
                    self._train(pack)
                elif not self.frontier.open:
                    self._tell_crew(over=True)
                    return len(self.frontier.failed)
                else:
                    self._tell_crew(over=False)
                    time.sleep(_IDLE_SECONDS)  # the rest is with other workers, or waits for their trunks
        except OSError as error:
            if fault := store_fault(error, self.store.root):
                raise fault from error
            raise
        finally:
            self.heart.stop()

    def _tell_crew(self, over: bool) -> None:
        if self.crew:
            self.crew.end() if over else self.crew.idle()

    def _pack_size(self) -> int:
        if self.crew:
            return 1
        from lab.training import pack_timing

        return pack_timing.pack_size(self.plan.study.run.pack)

    def _train(self, pack: list[Claimed]) -> None:
        self.heart.hold([claim for _, claim in pack])
        left_behind = False
        try:
            able = []
            for node, claim in pack:
                node.job.folder.fetch()
                if claim.attempt > 1:
                    self.tell(Event("warning", node.run_id, f"taken over, attempt {claim.attempt}"))
                if claim.deaths > self.plan.study.run.retries:
                    self._give_up(node, claim.deaths, "its worker died each time it was tried", "")
                elif diverged := self.store.trunk_diverged(node):
                    dataset, one = self.plan.dataset(node.of.config), [(node, claim)]
                    step, reason = diverged["step"], diverged["reason"]
                    commit_diverged(node.job, dataset, step, reason, lambda one=one: _check(one))
                    self._tell_done(node, "diverged with its trunk")
                else:
                    able.append((node, claim))
                    self.tell(Event("start", node.run_id))
            if able:
                self._attempt(able)
        except Lost:
            pass  # another worker has it; whatever the rest of a pack had saved is there
        except CrewBroken:
            left_behind = not self.store.failure(pack[0][0].run_id)
            raise
        finally:
            self.heart.hold([])
            for node, claim in pack if not left_behind else ():
                node.job.folder.leave()
                claim.release()
        if not self.plan.study.run.keep_trunks:
            for trunk in self.frontier.spent_trunks(node for node, _ in pack):
                trunks.collect(self.store, trunk, self.frontier.owner)

    def _attempt(self, pack: list[Claimed]) -> None:
        node = pack[0][0]
        dataset = self.plan.dataset(node.of.config)
        options = self.plan.study.run
        hooks = Hooks(
            progress=lambda progress: self.tell(Event("progress", node.run_id, progress=progress)),
            warn=lambda text: self.tell(Event("warning", node.run_id, text)),
            should_stop=self.should_stop,
            check=lambda: _check(pack),
            checkpoint_seconds=options.checkpoint_seconds,
            provenance=self.provenance,
            track=self.track,
        )
        for attempt in range(1, 2 + options.retries):
            try:
                seconds_per_step = self._run(pack, dataset, hooks)
                if seconds_per_step:
                    speed.record(node.of.config, dataset.vocab_size, seconds_per_step)
                self.frontier.compiled.add(program_of(node))
                for one, _ in pack:
                    self._tell_done(one, one.job.outcome())
                return
            except Interrupted:
                raise
            except Exception as error:
                if fault := store_fault(error, self.store.root):
                    raise fault from error
                if self.crew and not isinstance(error, InputError):
                    if isinstance(error, _PROGRAM_FAULTS):  # the next crew would end here again
                        _check(pack)
                        self._give_up(node, attempt, _line(error), traceback.format_exc())
                    raise CrewBroken(f"{node.run_id}: {_line(error)}") from error
                _check(pack)  # what failed may have failed because another worker is at it
                if isinstance(error, Lost):
                    raise
                if isinstance(error, DamagedTrunk) and not self._mend_trunks(pack, dataset.vocab_size):
                    self.tell(Event("warning", node.run_id, f"waits for who has its trunk: {_line(error)}"))
                    return
                if not all(self.store.is_ready(one) for one, _ in pack):
                    text = f"its trunk's checkpoint is gone: {_line(error)}"
                    self.tell(Event("warning", node.run_id, text))
                    return  # the trunk will be trained again
                # one bad cell must not end the study; what it raised is kept with it
                last, trace = _line(error), traceback.format_exc()
                self.tell(Event("warning", node.run_id, f"attempt {attempt} failed: {last}"))
                if len(pack) > 1 or isinstance(error, _PROGRAM_FAULTS):
                    break
        if len(pack) > 1:  # one of them is at fault; each is tried alone
            for one in pack:
                if not self.store.is_done(one[0]):
                    self._attempt([one])
        else:
            _check(pack)
            self._give_up(node, attempt, last, trace)

    def _mend_trunks(self, pack: list[Claimed], vocab: int) -> bool:
        """Set damaged checkpoints of trunks aside; False where another worker has the trunk."""
        for node in {node.of.trunk: node for node, _ in pack if node.of.trunk}.values():
            claim = self.store.claim(node.of.trunk, self.frontier.owner, 0, self.frontier.watch.is_stale)
            if claim is None:
                for one, _ in pack:
                    self.frontier.leave(one)
                return False
            try:
                self.heart.hold([*(mine for _, mine in pack), claim])
                node.job.trunk.withdraw(lambda claim=claim, of=node.of.trunk: claims.check(claim, of))
                mend_trunk(node.job, vocab)
            finally:
                self.heart.hold([mine for _, mine in pack])
                node.job.trunk.leave()
                claim.release()
        return True

    def _run(self, pack: list[Claimed], dataset, hooks: Hooks) -> float | None:
        jobs, options = [node.job for node, _ in pack], self.plan.study.run
        for job in jobs:
            if job.trunk is not None:
                job.trunk.fetch(job.config.hold_steps)
        if self.crew:
            self.crew.start(pack[0][0])
            return run(jobs, dataset, "mesh", hooks, how(options))
        mode = options.pack if len(jobs) > 1 else "serial"
        return run(jobs, dataset, mode, hooks, alone(options))

    def _tell_done(self, node: Node, text: str) -> None:
        self.frontier.close(node)
        self.tell(Event("done", node.run_id, text))

    def _give_up(self, node: Node, attempts: int, error: str, trace: str) -> None:
        self.store.fail(node.job.folder, attempts, error, trace)
        if not node.is_trunk:
            self.frontier.failed.add(node.run_id)
        self.frontier.close(node)
        self.tell(Event("failed", node.run_id, error))


def _check(pack: list[Claimed]) -> None:
    for node, claim in pack:
        claims.check(claim, node.run_id)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
