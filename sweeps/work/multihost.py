"""One worker over several processes or hosts: process 0 claims and writes, the others compute along.

Before each run, process 0 says which node of the plan it is; the rest is :mod:`lab.machine.distributed`. What
goes wrong in one leaves the others waiting, so a crew has no second try: it ends, the engine starts it
again, and the claim that was left behind counts the deaths.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace

from lab.errors import InputError
from lab.execution import Execution, MeshShape
from lab.machine import distributed
from lab.runs.hooks import Hooks
from lab.runs.loop import run
from lab.runs.spectator import folder_of_process
from sweeps.plan.cells import Plan
from sweeps.store.store import Node, Store
from sweeps.study.schema import RunOptions

_IDLE, _OVER = -1, -2


class Crew:
    """What process 0 tells the others. All methods are calls that every process makes together."""

    def __init__(self, plan: Plan):
        self._numbers = {of.run_id: i for i, of in enumerate((*plan.trunks, *plan.cells))}

    def start(self, node: Node) -> None:
        distributed.from_primary(self._numbers[node.run_id])

    def idle(self) -> None:
        distributed.from_primary(_IDLE)

    def end(self) -> None:
        distributed.from_primary(_OVER)


def how(options: RunOptions) -> Execution:
    """Each batch spread over the devices of all processes."""
    import jax

    return replace(alone(options), mesh=MeshShape(data=jax.device_count()))


def alone(options: RunOptions) -> Execution:
    """As a study says, on the devices of this process."""
    return Execution(memory=options.memory, evaluate_every=options.evaluate_every)


def follow(plan: Plan, store: Store, should_stop: Callable[[], bool]) -> None:
    """The work of every process but the first, until that one says that it is over.

    Raises:
        Interrupted: when the processes agreed to stop.
    """
    found = (*plan.trunks, *plan.cells)
    hooks = Hooks(should_stop=should_stop)
    while (number := distributed.from_primary(_IDLE)) != _OVER:
        if number != _IDLE:
            job = store.node(found[number]).job
            job = replace(job, folder=folder_of_process(job.folder.path, job.folder.root))
            with contextlib.suppress(InputError):  # found by each process alone; the first one records it
                run([job], plan.dataset(job.config), "mesh", hooks, how(plan.study.run))
