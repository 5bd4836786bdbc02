"""One run over several processes or hosts, by ``jax.distributed``.

Every process draws the same batches and holds its part of the mesh. Process 0 alone writes the run folder;
the others read it, so it must lie where all of them see it. What depends on a clock or a signal (when to
save, whether to stop) is agreed upon, because a process that goes another way would leave the rest waiting.
"""

import os
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
            return Cluster() if int(tasks) > 1 else None
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


def start(cluster: Cluster | None) -> None:
    """Join the others; before anything asks jax for devices. Returns when all have come.

    Raises:
        InputError: if they cannot be found.
    """
    if cluster is None:
        return
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        # without an address of its own process 0 would listen on every network of its machine
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.processes,
            cluster.process,
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
