"""Where runs in lockstep go on: the newest step at which every one of them has a sound state.

A kill can fall between the saves of a pack, and runs at different steps can be packed together. So a step
counts only where all members have it, and what lies beyond it is removed: a checkpoint without the records
that lead to it would leave a gap in them.
"""

from collections.abc import Callable

from lab.config import RunConfig
from lab.runs.checkpoint import Checkpoints, DamagedCheckpoint
from lab.runs.job import Job
from lab.training import train


class DamagedTrunk(DamagedCheckpoint):
    """The trunk's checkpoint that a branch starts from is missing or damaged: it must be trained again.

    It is left where it is: only who holds the trunk may set it aside (:func:`mend_trunk`).
    """


def start(
    jobs: list[Job], stores: list[Checkpoints], vocab: int, warn: Callable[[str], None]
) -> tuple[int, list[train.State | RunConfig]]:
    """The common step, and of each job the state there (a configuration stands for its initial state).

    A damaged checkpoint of a job itself is told through ``warn`` and set aside.

    Raises:
        DamagedTrunk: where a branch finds no sound state of its trunk.
    """
    while True:
        step = max(set.intersection(*(_steps(*one) for one in zip(jobs, stores, strict=True))), default=None)
        if step is None:  # a branch whose trunk has no checkpoint for it
            job = next(j for j in jobs if j.trunk is not None)
            raise DamagedTrunk(f"{job.trunk.checkpoints / str(job.config.hold_steps)}: is missing")
        found = []
        for job, store in zip(jobs, stores, strict=True):
            try:
                found.append(state_at(step, job, store, vocab))
            except DamagedTrunk:
                raise
            except DamagedCheckpoint as damage:
                aside = store.set_aside(step)
                warn(f"{damage}; set aside as {aside}, going back to the checkpoint before")
                break
        else:
            return step, found


def forget_beyond(step: int, job: Job, store: Checkpoints) -> None:
    """Remove what lies beyond ``step``, before training goes on from there: checkpoints, then records."""
    for later in reversed(store.steps()):
        if later > step:
            store.delete(later)
    job.folder.cut_metrics(step)


def state_at(step: int, job: Job, store: Checkpoints, vocab: int) -> train.State | RunConfig:
    """The state of a job at a step that it has (see :func:`start`)."""
    shapes = train.state_shapes(job.config, vocab)
    if step in store.steps():
        return _checked(step, store.restore(step, shapes), store)
    if job.trunk is not None and step == job.config.hold_steps:
        trunk = Checkpoints(job.trunk.checkpoints, writes=False)
        try:
            return _checked(step, trunk.restore(step, shapes), trunk)
        except DamagedCheckpoint as damage:
            raise DamagedTrunk(str(damage)) from damage
    if step or job.trunk is not None:
        raise DamagedCheckpoint(f"{store.folder / str(step)}: is missing")
    return job.config


def mend_trunk(job: Job, vocab: int) -> None:
    """Set the trunk's checkpoint of a branch aside if it is damaged. The caller holds the trunk's claim.

    It is read once more: another worker may have trained the trunk again in the meantime.
    """
    trunk, hold = Checkpoints(job.trunk.checkpoints, fence=job.trunk.fence), job.config.hold_steps
    if hold not in trunk.steps():
        return
    try:
        _checked(hold, trunk.restore(hold, train.state_shapes(job.config, vocab)), trunk)
    except DamagedCheckpoint:
        trunk.set_aside(hold)
        job.trunk.forget(hold)


def _steps(job: Job, store: Checkpoints) -> set[int]:
    own = set(store.steps())
    missing = [mark for mark in job.branch_steps if mark not in own]
    if missing:  # a trunk may lack a branch point that lies before its newest checkpoint
        own = {step for step in own if step < missing[0]}
    if job.trunk is None:
        return own | {0}
    hold = job.config.hold_steps
    return own | ({hold} & set(Checkpoints(job.trunk.checkpoints, writes=False).steps()))


def _checked(step: int, state: train.State, store: Checkpoints) -> train.State:
    if int(state.step) != step:
        raise DamagedCheckpoint(f"{store.folder / str(step)}: holds step {int(state.step)}")
    return state
