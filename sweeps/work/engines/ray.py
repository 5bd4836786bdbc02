"""Workers as tasks of Ray core, on a cluster that is there or on this machine.

Ray starts the tasks again whose node failed; the store decides what is left. Tasks start `lab worker` as a
child, since a process that Ray reuses may have started jax.
"""

import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import python
from lab.errors import InputError
from sweeps.work.engines.child import Child
from sweeps.work.engines.launch import DONE, INTERRUPTED, NO_SHARED_FOLDER, NO_STORE, SOME_FAILED, Launch
from sweeps.work.engines.watch import StoreWatch

_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 10.0
_RETRIES = -1  # a node that fails costs nothing but time; a worker that dies by itself is the cells' affair


@dataclass(frozen=True)
class RayOptions:
    """What each task asks of Ray.

    Attributes:
        address: of a cluster (``auto``, ``HOST:6379``, ``ray://HOST:10001``); a local one where None.
        workers: tasks; None: as many as the cluster has room for now.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    gpus: int = 0


def run(launch: Launch, options: RayOptions, watch: StoreWatch, tell: Callable[[dict], None]) -> int:
    """Start the workers and tell what happens in the store until all have ended.

    SIGINT and SIGTERM are passed to the workers, which save and release what they hold.

    Raises:
        InputError: where Ray is missing or does not answer, or the cluster has no room for a worker.
    """
    # Ray tells of dead nodes on stdout, where results belong
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        ray = _connect(options.address)
        try:
            workers = options.workers or _room(ray, options)
            work = ray.remote(num_cpus=options.cpus, num_gpus=options.gpus, max_retries=_RETRIES)(_work)
            tell({"kind": "note", "text": f"{workers} workers on Ray, {len(_alive(ray))} nodes"})
            tasks = [work.remote(launch.arguments(), options.cpus) for _ in range(workers)]
            return _follow(ray, tasks, watch, tell)
        finally:
            ray.shutdown()


def _work(arguments: list[str], cpus: int) -> tuple[int, str]:
    child = Child(python.command(*arguments), cpus)  # the interpreter of this node
    try:
        return child.wait()
    except KeyboardInterrupt:  # how Ray cancels a task
        child.stop()
        return INTERRUPTED, ""


def _follow(ray, tasks: list, watch: StoreWatch, tell: Callable[[dict], None]) -> int:
    stopped: list[int] = []

    def stop(*_) -> None:
        stopped.append(1)
        if len(stopped) == 1:
            tell({"kind": "stopping"})
        for task in tasks:
            ray.cancel(task, force=len(stopped) > 1)

    heard = threading.current_thread() is threading.main_thread()  # no other may set what signals do
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM) if heard}
    codes, faults, left = set(), {}, list(tasks)
    try:
        while left:
            ended, left = ray.wait(left, num_returns=1, timeout=_LOOK_SECONDS)
            for event in watch.events():
                tell(event)
            if not ended:
                tell({"kind": "tick"})
            for task in ended:
                code, last = _result_of(ray, task)
                codes.add(code)
                if code not in (DONE, SOME_FAILED, INTERRUPTED):
                    faults[f"{last}; {NO_SHARED_FOLDER}" if code == NO_STORE else last] = None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for event in watch.events():
        tell(event)
    for text in faults:
        tell({"kind": "fault", "text": text})
    if stopped:
        return INTERRUPTED
    return SOME_FAILED if codes - {DONE} else DONE


def _result_of(ray, task) -> tuple[int, str]:
    try:
        return ray.get(task)
    except (ray.exceptions.TaskCancelledError, KeyboardInterrupt):
        return INTERRUPTED, ""
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        lines = [line for line in str(cause).splitlines() if line.strip()]
        return -1, f"a worker on Ray ended: {lines[-1] if lines else type(error).__name__}"


def _connect(address: str | None):
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.update(python.environment())  # a local cluster inherits it
    # by default ray hides the accelerators from tasks that asked for none, which is right here too
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    _authenticate(address)
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError(
            "--engine ray: ray is not installed; pip install --require-hashes -r requirements-dev.lock"
        ) from None
    _check_answers(address)
    try:
        # Ray puts the folder in which it is asked first on the path of its tasks: ours, not the user's
        with contextlib.chdir(python.ROOT):
            ray.init(
                address=address or "local",
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level="ERROR",
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--address: no Ray cluster answers at {address or 'local'}: {_line(error)}"
        ) from None
    return ray


def _authenticate(address: str | None, home: Path | None = None) -> None:
    """Token authentication of Ray (2.52 and newer), before it is imported.

    Who reaches the ports of a head runs code on its nodes. What the user sets as RAY_AUTH_MODE holds. Else a
    cluster that is started here asks for a token, made where there is none; of one that runs already on
    anything but this machine's loopback, a token is demanded.

    Raises:
        InputError: where there is none.
    """
    if os.environ.get("RAY_AUTH_MODE"):
        return
    token = (home or Path.home()) / ".ray" / "auth_token"
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if address is None and not given and not token.exists():
        token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    if given or token.exists():
        os.environ["RAY_AUTH_MODE"] = "token"
    elif not _is_loopback(address):
        raise InputError(
            f"--address {address}: who reaches this cluster can run code on it, and there is no token; "
            "`ray get-auth-token --generate` makes one (start the cluster with it and RAY_AUTH_MODE=token), "
            "RAY_AUTH_MODE=disabled goes without"
        )


def _is_loopback(address: str) -> bool:
    host = address.removeprefix("ray://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_answers(address: str | None) -> None:
    """Ray itself would try for most of a minute, and end with a traceback.

    Raises:
        InputError: where nobody listens at HOST:PORT.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # auto, local: looked up by ray
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address: no Ray cluster answers at {address}: {_line(error)}") from None


def _room(ray, options: RayOptions) -> int:
    free = ray.cluster_resources()
    by = [free.get("CPU", 0) // options.cpus] + ([free.get("GPU", 0) // options.gpus] if options.gpus else [])
    room = int(min(by))
    if room < 1:
        raise InputError(
            f"--cpus, --gpus: the cluster has {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs "
            "in all, too few for one worker"
        )
    return room


def _alive(ray) -> list[dict]:
    return [node for node in ray.nodes() if node["Alive"]]


def _line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
