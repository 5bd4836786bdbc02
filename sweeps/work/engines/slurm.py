"""Workers as a Slurm array, through submitit.

The array holds workers, not cells: the store says what is left, so a task that is requeued (preempted, out
of time, on a node that failed) just goes on. Who is at work is asked of `squeue`, never of `sacct`, which not
every cluster has; what was done is asked of the store.
"""

import contextlib
import os
import re
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import python
from lab.errors import InputError
from lab.files import Refused, read_json, write_json
from lab.private import changed_by_others, make_private
from lab.strict import said
from sweeps.work.engines.child import Child, WorkerDied
from sweeps.work.engines.launch import CREW_BROKEN, INTERRUPTED, NO_SHARED_FOLDER, SOME_FAILED, Launch
from sweeps.work.engines.watch import StoreWatch

SIGNAL_SECONDS = 120  # USR2 comes this long before the time limit: a compilation and a save must fit
_LOOK_SECONDS = 2.0
_ASK_SECONDS = 5.0
_CREW_RESTARTS = 20  # those of preemption count too
_FIRST_PORT, _PORTS = 61440, 4096  # of coordinators: by job, so that two on one node do not meet
_REQUEUES = 1_000_000  # submitit gives up after so many; here the store decides


@dataclass(frozen=True)
class SlurmOptions:
    """What a task of the array asks of Slurm.

    Attributes:
        workers: tasks of the array, each a worker.
        at_once: most tasks that run at one time.
        minutes: time limit of a task; it is requeued, and goes on, as often as it takes.
        nodes: nodes of one worker: each run is spread over all of them.
        parameters: any other sbatch parameter, as in ``account=me``.
        jobs: folder of job files, which the nodes unpickle; ``slurm`` in the store where None.
    """

    workers: int = 1
    at_once: int | None = None
    partition: str | None = None
    minutes: int = 60
    nodes: int = 1
    cpus: int = 1
    gpus: int = 0
    memory_gb: float | None = None
    signal_seconds: int = SIGNAL_SECONDS
    parameters: tuple[tuple[str, str], ...] = ()
    jobs: Path | None = None


class Task:
    """What submitit calls in each task of the array, and what it asks to save when Slurm wants the node."""

    def __init__(self, command: list[str], cpus: int):
        self.command, self.cpus = command, cpus
        self._child: Child | None = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_child": None}  # a requeued task starts its own

    def __call__(self) -> tuple[int, str]:
        crew = _crew()
        self._child = Child([*self.command, *crew], self.cpus, restarts=0 if crew else 3)
        try:
            code, last = self._child.wait()
        except WorkerDied as death:
            if not crew:
                raise
            code, last = CREW_BROKEN, str(death)
        if code == CREW_BROKEN and int(os.environ.get("SLURM_RESTART_COUNT", 0)) > _CREW_RESTARTS:
            raise WorkerDied(last)
        if code in (INTERRUPTED, CREW_BROKEN) and _state_of_this_task() == "RUNNING":
            # SIGTERM without the signal that submitit answers: preempted. A cancelled task is not RUNNING.
            # A crew that broke is started again as a whole.
            subprocess.run(["scontrol", "requeue", _this_task()], check=False, capture_output=True)
        return code, last

    def checkpoint(self):
        """Called by submitit in its signal handler; what it returns is requeued."""
        from submitit.helpers import DelayedSubmission

        if self._child is not None:
            self._child.stop()
        return DelayedSubmission(self)


def run(
    launch: Launch, options: SlurmOptions, watch: StoreWatch, tell: Callable[[dict], None], detach: bool
) -> int:
    """Submit the array, or find the one that still runs, and tell what happens in the store until it ends.

    Ctrl-C ends the watching, not the workers.

    Raises:
        InputError: where there is no Slurm, or where it refuses the array; with its own words.
    """
    record = launch.out / "slurm" / f"{launch.study.stem}.json"
    jobs = [job for job in _recorded(record, launch.out) if _states([job])]
    if jobs:
        tell({"kind": "note", "text": f"array {', '.join(jobs)} is at work on it already: watching it"})
    else:
        jobs = submit(launch, options)
        write_json(record, {"schema": 1, "jobs": jobs}, launch.out)
        workers = "1 worker" if options.workers == 1 else f"{options.workers} workers"
        tell({"kind": "note", "text": f"submitted {workers} as array {', '.join(jobs)}"})
    if detach:
        return 0
    return _follow(launch, options, jobs, watch, tell)


def _recorded(record: Path, root: Path) -> list[str]:
    """Ids of the arrays submitted before; none where the record is torn: another array does no harm."""
    try:
        found = read_json(record, root)
    except Refused:
        return []
    jobs = found.get("jobs") if isinstance(found, dict) else None
    return [job for job in jobs or () if isinstance(job, str) and job.replace("_", "").isdigit()]


def submit(launch: Launch, options: SlurmOptions) -> list[str]:
    """Ids of the arrays: one, or more where there are more workers than an array may have.

    Raises:
        InputError: where there is no Slurm, or where it refuses.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise InputError(
            "--engine slurm: submitit is not installed; pip install --require-hashes -r requirements-dev.lock"
        ) from None
    most = array_limit()
    command = launch.command(*(("--accelerators", options.gpus) if options.gpus else ()))
    jobs = []
    for first in range(0, options.workers, most):
        workers = min(most, options.workers - first)
        array = _executor(launch, options, workers)
        try:
            found = array.submit_array([Task(command, options.cpus) for _ in range(workers)])
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            raise InputError(f"--engine slurm: sbatch refused: {_words(error)}") from None
        jobs.append(found[0].job_id.split("_")[0])
    return jobs


def _executor(launch: Launch, options: SlurmOptions, workers: int):
    """What submits an array of so many workers; nothing in the folder of the submission is on its path."""
    import submitit

    folder = _jobs(launch, options)
    make_private(folder)
    if above := changed_by_others(folder):
        raise InputError(
            f"--jobs: others can change {above}, and so what your jobs in {folder} execute; name a folder "
            "that is yours alone and that all nodes see"
        )
    found = submitit.SlurmExecutor(folder, max_num_timeout=_REQUEUES, python=shlex.join(python.command()))
    found.update_parameters(**_parameters(launch, options, workers))
    return found


def _jobs(launch: Launch, options: SlurmOptions) -> Path:
    return (options.jobs or launch.out / "slurm").absolute() / launch.study.stem


def array_limit() -> int:
    """Most tasks of one array.

    Raises:
        InputError: where there is no Slurm that answers.
    """
    text = _ask("scontrol", "show", "config")
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", text)
    return max(1, int(found.group(1))) if found else 1000


def _parameters(launch: Launch, options: SlurmOptions, workers: int) -> dict:
    found = {
        "job_name": f"lab-{launch.study.stem}",
        "time": options.minutes,
        "nodes": options.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": options.cpus,
        "array_parallelism": min(options.at_once or workers, workers),
        "signal_delay_s": options.signal_seconds,
        "stderr_to_stdout": True,
        "srun_args": ["--kill-on-bad-exit=1"],
        "setup": ["export PYTHONSAFEPATH=1"],
        "additional_parameters": {"requeue": True, **dict(options.parameters)},
    }
    if options.partition:
        found["partition"] = options.partition
    if options.gpus:
        found["gpus_per_node"] = options.gpus
    if options.memory_gb:
        found["mem"] = f"{int(options.memory_gb * 1024)}MB"
    return found


def _follow(
    launch: Launch, options: SlurmOptions, jobs: list[str], watch: StoreWatch, tell: Callable[[dict], None]
) -> int:
    asked, states = float("-inf"), Counter({"PENDING": 1})
    try:
        while states:
            for event in watch.events():
                tell(event)
            pause = _ASK_SECONDS if watch.cells_open() else _LOOK_SECONDS  # the workers are about to leave
            if time.monotonic() - asked >= pause:
                asked = time.monotonic()
                with contextlib.suppress(InputError):  # a controller that restarts is asked again
                    states = _states(jobs)
                tell({"kind": "queue", "text": ", ".join(f"{n} {s.lower()}" for s, n in states.items())})
            if states:
                time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        where = ", ".join(jobs)
        tell({"kind": "note", "text": f"array {where} goes on without this; to stop it: scancel {where}"})
        return INTERRUPTED
    for event in watch.events():
        tell(event)
    if not watch.cells_open():
        return 0
    lines = _last_words(_jobs(launch, options), jobs) or ["the workers ended without a word"]
    for line in lines:
        tell({"kind": "fault", "text": line})
    if any("does not see the store" in line or "without a word" in line for line in lines):
        tell({"kind": "fault", "text": NO_SHARED_FOLDER})
    return SOME_FAILED


def _states(jobs: list[str]) -> Counter:
    """Tasks of the arrays by state, without those that have ended."""
    try:
        text = _ask("squeue", "--noheader", "--array", "--format=%T", "--jobs", ",".join(jobs))
    except InputError as error:
        if "Invalid job id" in str(error):
            return Counter()
        raise
    return Counter(text.split())


def _last_words(folder: Path, jobs: list[str]) -> list[str]:
    """The error lines in the logs of the workers, each once."""
    lines: dict[str, None] = {}
    for job in jobs:
        for log in sorted(folder.glob(f"{job}_*.out")):
            found = [line for line in log.read_text(errors="replace").splitlines() if "error: " in line]
            lines |= dict.fromkeys(found[-1:])
    return list(lines)


def _crew() -> list[str]:
    """Where this task is one of several processes of a worker: how they find each other.

    The address of the first node is the one that Slurm itself uses; its name need not resolve.
    """
    told = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if not told.isascii() or not told.isdigit():
        raise InputError(f"SLURM_STEP_NUM_TASKS: should be a whole number, is {said(told)}")
    processes = int(told)
    if processes < 2:
        return []
    first = _ask("scontrol", "show", "hostnames", os.environ["SLURM_STEP_NODELIST"]).split()[0]
    address = re.search(r"NodeAddr=(\S+)", _ask("scontrol", "show", "node", first, "--oneliner"))[1]
    port = _FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % _PORTS
    process = os.environ["SLURM_PROCID"]
    return ["--distributed", f"coordinator={address}:{port},processes={processes},process={process}"]


def _this_task() -> str:
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array else os.environ["SLURM_JOB_ID"]


def _state_of_this_task() -> str:
    with contextlib.suppress(InputError):
        return _ask("squeue", "--noheader", "--format=%T", "--jobs", _this_task()).strip()
    return ""


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except FileNotFoundError:
        raise InputError(f"--engine slurm: {command[0]} is not here; run this on a login node") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise InputError(f"--engine slurm: {command[0]}: {_words(error)}") from None
    return done.stdout


def _words(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    said = said.decode(errors="replace") if isinstance(said, bytes) else said
    return next((line for line in reversed(said.splitlines()) if line.strip()), type(error).__name__)
