"""One run over several processes or hosts, by ``jax.distributed``.

Every process draws the same batches and holds its part of the mesh. Process 0 alone writes the run folder;
the others read it, so it must lie where all of them see it. What depends on a clock or a signal (when to
save, whether to stop) is agreed upon, because a process that goes another way would leave the rest waiting.

Who waits says for whom. One that never comes ends the others after :attr:`Cluster.wait` seconds. One that
dies later ends them at their next step in common (:func:`ending_together`); where its whole machine falls
silent, after the 100 s that jax allows between two signs of life.
"""

import contextlib
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.errors import InputError
from lab.strict import said

_KEYS = ("coordinator", "processes", "process")
_WAIT = "wait"
_GONE = re.compile("gloo|nccl|peer|connection|heartbeat|unavailable", re.I)  # of what jax says of a failure
_FIRST_WORD, _NEXT_WORD = 5.0, 30.0  # seconds of silence before it is said what is waited for, and then again
_LAST_WORD = 2.0  # seconds that process 0 lives on after a failure: with it jax ends the others in the middle


@dataclass(frozen=True)
class Cluster:
    """How the processes of a run find each other; all None: jax asks Slurm, the TPU pod, or MPI."""

    coordinator: str | None = None  # host:port of process 0
    processes: int | None = None
    process: int | None = None
    wait: int = 300  # seconds for all to come

    @property
    def is_primary(self) -> bool:
        return not self.process


def parse(text: str, environment=os.environ) -> Cluster | None:
    """What ``--distributed`` says, or the environment where it says nothing.

    ``off``: this process alone. ``auto``: found by jax. ``coordinator=HOST:PORT,processes=N,process=I``: as
    said; the same three as LAB_COORDINATOR, LAB_PROCESSES, LAB_PROCESS. Empty: those variables if they are
    set, ``auto`` in a Slurm step of several tasks, else ``off``. With ``wait=SECONDS`` or LAB_WAIT, another
    time for all to come.

    Raises:
        InputError: one line for each thing that is missing or wrong.
    """
    if text == "off":
        return None
    wait = _seconds("LAB_WAIT", environment.get("LAB_WAIT", str(Cluster.wait)))
    if text == "auto":
        return Cluster(wait=wait)
    if not text:
        given = {k: environment[f"LAB_{k.upper()}"] for k in _KEYS if f"LAB_{k.upper()}" in environment}
        if not given:
            tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
            if not tasks.isascii() or not tasks.isdigit():
                raise InputError(
                    f"SLURM_STEP_NUM_TASKS: should be a whole number, is {said(tasks)}; "
                    "--distributed off does not ask for it"
                )
            return Cluster(processes=int(tasks), wait=wait) if int(tasks) > 1 else None
        where = "LAB_"
    else:
        given = dict(part.strip().partition("=")[::2] for part in text.split(","))
        where = "--distributed: "
        wait = _seconds(f"{where}{_WAIT}", given.pop(_WAIT, str(wait)))
    valid = ", ".join((*_KEYS, _WAIT))
    problems = [f"{where}{key}: no such key; valid: {valid}" for key in given if key not in _KEYS]
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
    return Cluster(given["coordinator"], processes, process, wait)


def _seconds(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise InputError(f"{name} should be a number of seconds, is {said(text)}")
    return int(text)


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


def start(cluster: Cluster | None, tell: Callable[[str], None] = lambda text: None) -> None:
    """Join the others; before anything asks jax for devices. Returns when all have come.

    Args:
        tell: receives what is waited for, and for whom, where that takes more than a few seconds.

    Raises:
        InputError: if they cannot be found, or have not come after ``cluster.wait`` seconds.
    """
    if cluster is None:
        return
    mine = local_devices()
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    failed: list[Exception] = []

    def join() -> None:
        try:
            # without an address of its own process 0 would listen on every network of its machine
            jax.distributed.initialize(
                cluster.coordinator,
                cluster.processes,
                cluster.process,
                mine,  # said, also where it is empty: jax would ask Slurm
                coordinator_bind_address=cluster.coordinator,
                initialization_timeout=cluster.wait + 3600,  # jax would end this process in the middle
            )
        except Exception as error:
            failed.append(error)

    # in a thread, since it can be neither interrupted nor asked what it waits for
    joining = threading.Thread(target=join, daemon=True)
    joining.start()
    begun, word = time.monotonic(), _FIRST_WORD
    while joining.is_alive():
        joining.join(min(word, cluster.wait) - (time.monotonic() - begun))
        waited = time.monotonic() - begun
        if joining.is_alive() and waited >= cluster.wait:
            raise InputError(
                f"--distributed: {_missing(cluster)}, after {cluster.wait} s; "
                "wait=SECONDS or LAB_WAIT allows more"
            )
        if joining.is_alive() and waited >= word:
            tell(f"--distributed: {_missing(cluster)}; waiting, {waited:.0f} s of at most {cluster.wait}")
            word += _NEXT_WORD
    for error in failed:
        if not isinstance(error, ValueError | RuntimeError):
            raise error
        raise InputError(f"--distributed: {str(error).splitlines()[0]}") from error


def _missing(cluster: Cluster) -> str:
    """Who is waited for, as far as it can be told."""
    from jax._src import distributed as joined  # what jax found where nothing was said

    state = joined.global_state
    address = cluster.coordinator or getattr(state, "coordinator_address", None)
    processes = cluster.processes or getattr(state, "num_processes", None)
    me = cluster.process if cluster.process is not None else getattr(state, "process_id", None)
    if address is None:
        return "jax has not found the other processes"
    if me == 0:
        others = "process 1 has not" if processes == 2 else f"not all of processes 1 to {processes - 1} have"
        return f"process 0 listens at {address}, and {others} come"
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
    except (OSError, ValueError) as error:
        return f"process 0 does not answer at {address} ({getattr(error, 'strerror', None) or error})"
    return f"process 0 answers at {address}, and not all of {processes} processes have come"


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Where this process fails, it ends at once: jax would first wait for the others, who may be gone.

    That another is gone is told in a line. Errors of input are raised: all processes come to the same.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if count() == 1:
            raise
        import jax

        reason = str(error).splitlines()[0] if str(error) else "no message"
        if isinstance(error, jax.errors.JaxRuntimeError) and _GONE.search(reason):
            me = f"process {jax.process_index()} of {count()}"
            print(
                f"error: --distributed: {me} lost another one ({reason}); "
                "give the same commands again: the run goes on from its last checkpoint",
                file=sys.stderr,
            )
        else:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        if is_primary():
            time.sleep(_LAST_WORD)
        os._exit(1)


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
