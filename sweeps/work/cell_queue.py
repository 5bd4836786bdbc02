"""Which cell a worker takes next, at a cost that grows neither with what is over nor with what is far off.

A cell is looked at when its turn comes, and never again once it is over; what others hold, or what waits for
a trunk, is left alone for a second. So a worker reads each folder of a study a few times in all, however
often it claims.

Order: shapes whose program is compiled here, then shapes that fewest others are at, then trunks before
branches and the longest first.
"""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator

from lab.runs import claims
from lab.runs.fence import Lost
from lab.runs.folder import RESULT
from sweeps.plan.cells import Plan
from sweeps.plan.pricing import Prices
from sweeps.plan.study_parts import Part
from sweeps.store.store import Node, Store

_LOOK_AGAIN_SECONDS = 1.0
Claimed = tuple[Node, claims.Claim]


class Frontier:
    """What is left of a plan, as one worker knows it.

    Attributes:
        open: ids of nodes not known to be over.
        failed: ids of cells that were given up.
        compiled: programs this worker has compiled; the worker adds to it.
    """

    def __init__(self, plan: Plan, store: Store, owner: claims.Owner, part: Part | None = None):
        self.plan, self.store, self.owner = plan, store, owner
        self.watch = claims.Watch()
        found = [*plan.trunks, *plan.cells]
        nodes = [store.node(of) for of in (part.of(found) if part else found)]
        prices = Prices(plan)
        nodes.sort(key=lambda node: (not node.is_trunk, -prices.seconds(node.of)))
        self.nodes = {node.run_id: node for node in nodes}
        self.open = set(self.nodes)
        self.failed: set[str] = set()
        self.compiled: set = set()
        self._branches: dict[str, list[Node]] = defaultdict(list)
        self._queues: dict[object, deque[Node]] = defaultdict(deque)
        self._peers: dict[object, deque[Node]] = defaultdict(deque)
        for node in nodes:
            self._queues[program_of(node)].append(node)
            self._peers[_lockstep_of(node)].append(node)
            if not node.is_trunk and node.of.trunk:
                self._branches[node.of.trunk].append(node)
        self._later: dict[str, float] = {}  # run id -> not before
        self._held: dict[str, object] = {}  # run id -> program, of what others were seen to hold

    def claim(self, most: int) -> list[Claimed]:
        """Claims of up to ``most`` nodes that can go in lockstep; none where nothing can be done now."""
        first = self._first()
        if first is None:
            return []
        pack = [first]
        if most > 1:
            for node in self._live(self._peers[_lockstep_of(first[0])]):
                if len(pack) == most:
                    break
                if node is not first[0] and (claim := self._try(node)):
                    pack.append((node, claim))
        return pack

    def close(self, node: Node) -> None:
        """This node is over: it has its result, or was given up."""
        self.open.discard(node.run_id)
        self._held.pop(node.run_id, None)

    def spent_trunks(self, nodes: Iterable[Node]) -> set[str]:
        """Trunks of these branches whose branches in the plan are all done, also by others."""
        trunks = {node.of.trunk for node in nodes if not node.is_trunk and node.of.trunk}
        return {t for t in trunks if all(self.store.is_done(branch) for branch in self._branches[t])}

    def leave(self, node: Node) -> None:
        """Nothing can be done for this node now; others come first for a second."""
        self._leave(node, held=False)

    def _first(self) -> Claimed | None:
        for program in [p for p in self._queues if p in self.compiled]:
            if (claimed := self._first_of(program)) is not None:
                return claimed
        for run_id in list(self._held):  # how busy the others are, by now
            self._later.pop(run_id, None)
            self._is_free(self.nodes[run_id])
        tried: set = set()
        while True:
            left = [p for p in self._queues if p not in self.compiled and p not in tried]
            if not left:
                return None
            busy = Counter(self._held.values())
            program = min(left, key=lambda p: busy[p])  # queues are in the order of their longest node
            before = busy[program]
            node = next(self._free(program), None)
            if node is None:
                tried.add(program)
            elif Counter(self._held.values())[program] > before:
                continue  # others are here, it turned out: there may be a better place
            elif (claim := self._take(node)) is not None:
                return node, claim

    def _first_of(self, program) -> Claimed | None:
        for node in self._free(program):
            if (claim := self._take(node)) is not None:
                return node, claim
        return None

    def _free(self, program) -> Iterator[Node]:
        return (node for node in self._live(self._queues[program]) if self._is_free(node))

    def _live(self, queue: deque[Node]) -> Iterator[Node]:
        while queue and queue[0].run_id not in self.open:
            queue.popleft()
        return (node for node in list(queue) if node.run_id in self.open)

    def _try(self, node: Node) -> claims.Claim | None:
        return self._take(node) if self._is_free(node) else None

    def _take(self, node: Node) -> claims.Claim | None:
        done = node.job.folder.steps()
        claim = self.store.claim(node.run_id, self.owner, done[-1] if done else 0, self.watch.is_stale)
        if claim is None:
            self._leave(node, held=True)
            return None
        try:
            node.job.folder.withdraw(lambda: claims.check(claim, node.run_id))
        except Lost:
            return None
        if self._is_over(node):  # finished between our look and our claim
            node.job.folder.leave()
            claim.release()
            return None
        self._held.pop(node.run_id, None)
        return claim

    def _is_free(self, node: Node) -> bool:
        if node.run_id not in self.open or self._later.get(node.run_id, 0.0) > time.monotonic():
            return False
        if not node.job.folder.is_there():
            if node.job.trunk is None:
                return not node.is_trunk or not self._is_over(node)
        elif self._is_over(node):
            return False
        held = self.store.held(node.run_id)
        if held is not None and not self.watch.is_stale(held):
            self._leave(node, held=True)
            return False
        self._held.pop(node.run_id, None)
        if not self.store.is_ready(node):
            if self.store.failure(node.of.trunk):
                self.failed.add(node.run_id)
                self.close(node)
            else:
                self._leave(node, held=False)
                self._reopen(node.of.trunk)
            return False
        return True

    def _leave(self, node: Node, held: bool) -> None:
        self._later[node.run_id] = time.monotonic() + _LOOK_AGAIN_SECONDS
        if held:
            self._held[node.run_id] = program_of(node)

    def _reopen(self, trunk_id: str) -> None:
        """A branch waits for a trunk that was over: its checkpoint must have been deleted or damaged."""
        trunk = self.nodes.get(trunk_id)
        if trunk is not None and trunk_id not in self.open and not self.store.is_done(trunk):
            self.open.add(trunk_id)
            self._queues[program_of(trunk)].appendleft(trunk)
            self._peers[_lockstep_of(trunk)].appendleft(trunk)

    def _is_over(self, node: Node) -> bool:
        if self.store.is_done(node):
            self.close(node)
        elif self.store.failure(node.run_id):
            self.close(node)
            if not node.is_trunk:
                self.failed.add(node.run_id)
        elif not node.is_trunk and node.job.folder.read(RESULT).state == "unread":
            self.close(node)
            self.failed.add(node.run_id)  # it may be whole: nothing is trained in its place
        elif node.is_trunk:  # nobody needs it any more
            for branch in self._branches[node.run_id]:
                if branch.run_id in self.open and self.store.is_done(branch):
                    self.close(branch)
            if all(branch.run_id not in self.open for branch in self._branches[node.run_id]):
                self.close(node)
        return node.run_id not in self.open


def program_of(node: Node):
    """What fixes the compiled program."""
    config = node.of.config
    algorithm = config.optimizer.algorithm  # its state has another structure
    return config.model, config.batch, config.data.context, config.precision, algorithm


def _lockstep_of(node: Node):
    """What runs of one pack have in common."""
    job = node.job
    return program_of(node), job.start, job.end, job.branch_steps, repr(node.of.config.data)
