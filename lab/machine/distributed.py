"""One run over several processes or hosts, by ``jax.distributed``.

Every process draws the same batches and holds its part of the mesh. Process 0 alone writes the run folder;
the others read it, so it must lie where all of them see it. What depends on a clock or a signal (when to
save, whether to stop) is agreed upon, because a process that goes another way would leave the rest waiting.
"""

import os
import re
from dataclasses import dataclass

from lab.errors import InputError
from lab.strict import said

_KEYS = ("coordinator", "processes", "process")


@dataclass(frozen=True)
class Cluster:
    """How the processes of a run find each other; all None: jax asks Slurm, the TPU pod, or MPI."""

    coordinator: str | None = None  # host:port of process 0
    processes: int | None = None
    process: int | None = None

    @property
    def is_primary(self) -> bool:
        return not self.process


def parse(text: str, environment=os.environ) -> Cluster | None:
    """What ``--distributed`` says, or the environment where it says nothing.

    ``off``: this process alone. ``auto``: found by jax. ``coordinator=HOST:PORT,processes=N,process=I``: as
    said; the same three as LAB_COORDINATOR, LAB_PROCESSES, LAB_PROCESS. Empty: those variables if they are
    set, ``auto`` in a Slurm step of several tasks, else ``off``.

    Raises:
        InputError: one line for each thing that is missing or wrong.
    """
    if text == "off":
        return None
    if text == "auto":
        return Cluster()
    if not text:
        given = {k: environment[f"LAB_{k.upper()}"] for k in _KEYS if f"LAB_{k.upper()}" in environment}
        if not given:
            tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
            if not tasks.isascii() or not tasks.isdigit():
                raise InputError(
                    f"SLURM_STEP_NUM_TASKS: should be a whole number, is {said(tasks)}; "
                    "--distributed off does not ask for it"
                )
            return Cluster(processes=int(tasks)) if int(tasks) > 1 else None
        where = "LAB_"
    else:
        given = dict(part.strip().partition("=")[::2] for part in text.split(","))
        where = "--distributed: "
    problems = [f"{where}{key}: no such key; valid: {', '.join(_KEYS)}" for key in given if key not in _KEYS]
    problems += [f"{where}{_name(where, key)} is missing" for key in _KEYS if key not in given]
    for key in _KEYS[1:]:
        if key in given and not (given[key].isascii() and given[key].isdigit() and len(given[key]) < 10):
            problems.append(f"{where}{_name(where, key)} should be a whole number, is {said(given[key])}")
    if problems:
        raise InputError(*problems)
    processes, process = int(given["processes"]), int(given["process"])
    if not process < processes:
        raise InputError(
            f"{where}{_name(where, 'process')} should lie between 0 and {processes - 1}, is {process}"
        )
    return Cluster(given["coordinator"], processes, process)


def _name(where: str, key: str) -> str:
    return key.upper() if where == "LAB_" else key


def local_devices(environment=os.environ) -> tuple[int, ...]:
    """Positions, among the devices that are visible, of those that are this process's own; none: all are.

    jax by itself gives a Slurm task the one whose position is its number on the node, so a task that was
    given a whole node of eight would use one.

    Raises:
        InputError: where the visible devices cannot be divided among the tasks of the node.
    """
    tasks = _tasks_on_node(environment)
    if tasks == 1:
        return ()
    told = environment.get("SLURM_LOCALID", "0")
    if not (told.isascii() and told.isdigit()):
        raise InputError(f"SLURM_LOCALID: should be a whole number, is {said(told)}")
    me = int(told)
    variables = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
    visible = next((environment[name].split(",") for name in variables if environment.get(name)), None)
    if visible is None:
        return (me,)
    if len(visible) == 1:  # Slurm bound a device to each task
        return ()
    if len(visible) % tasks:
        raise InputError(
            f"--distributed: {len(visible)} visible devices cannot be divided among {tasks} tasks of a node; "
            "give Slurm one task a node, or one a device (--gpus-per-task=1)"
        )
    each = len(visible) // tasks
    return tuple(range(me * each, (me + 1) * each))


def _tasks_on_node(environment) -> int:
    """From SLURM_STEP_TASKS_PER_NODE, as 2(x3),1: of the node with SLURM_NODEID."""
    counts: list[int] = []
    for part in environment.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        counts += [int(found[1])] * int(found[2] or 1) if found else [1]
    node = environment.get("SLURM_NODEID", "0")
    return counts[int(node)] if node.isdigit() and int(node) < len(counts) else counts[0]


def start(cluster: Cluster | None) -> None:
    """Join the others; before anything asks jax for devices. Returns when all have come.

    Raises:
        InputError: if they cannot be found.
    """
    if cluster is None:
        return
    mine = local_devices()
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        # without an address of its own process 0 would listen on every network of its machine
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.processes,
            cluster.process,
            mine,  # said, also where it is empty: jax would ask Slurm
            coordinator_bind_address=cluster.coordinator,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(f"--distributed: {str(error).splitlines()[0]}") from error


def count() -> int:
    import jax

    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_primary() -> bool:
    import jax

    return count() == 1 or jax.process_index() == 0


def agree(*flags: bool) -> tuple[bool, ...]:
    """Each flag as True where any process says so. All processes must call it together."""
    if count() == 1:
        return flags
    import numpy as np
    from jax.experimental import multihost_utils

    said = np.asarray(multihost_utils.process_allgather(np.array(flags, np.int32)))
    return tuple(bool(flag) for flag in said.reshape(-1, len(flags)).max(0))


def from_primary(number: int) -> int:
    """What process 0 passed."""
    if count() == 1:
        return number
    import numpy as np
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def wait(name: str) -> None:
    """Until all processes have come here."""
    if count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
