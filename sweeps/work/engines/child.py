"""A worker as the child of a cluster's task: a fresh process, because jax must not have started in it."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass

from lab import python
from sweeps.work.engines.launch import crashed

_POLL_SECONDS = 0.2
_WORDS = 4000  # of what a dying worker wrote


class WorkerDied(RuntimeError):
    """A worker ended as none should; the text is the last it said."""


@dataclass
class Child:
    """Runs one worker.

    Args:
        command: of :meth:`sweeps.work.engines.launch.Launch.command`.
        threads: of XLA's pool; nodes need not pin tasks to the cores they gave them.
    """

    command: list[str]
    threads: int
    restarts: int = 3  # a worker that dies is replaced, as on the local engine

    def __post_init__(self):
        self.stopped = False
        self._start()

    def _start(self) -> None:
        environment = python.environment()
        environment["NPROC"] = str(self.threads)  # what XLA's CPU client takes for the number of cores
        command = [*self.command, "--parent", str(os.getpid())]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        os.set_blocking(self.process.stderr.fileno(), False)
        self.said = ""

    def wait(self) -> tuple[int, str]:
        """Its exit code and the last line it wrote.

        Polls, so that a signal handler of the same thread may wait for the same child.

        Raises:
            WorkerDied: for a signal or an exit code that no worker should have.
        """
        while True:
            while self.process.poll() is None:
                self._listen()
                time.sleep(_POLL_SECONDS)
            self._listen()
            code, last = self.process.returncode, (self.said.strip().splitlines() or [""])[-1]
            if not crashed(code, self.said):
                return code, last
            why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            if self.stopped or not self.restarts:
                raise WorkerDied(f"{why}: {last}")
            print(f"worker died ({why}); starting another", flush=True)
            self.restarts -= 1
            self._start()

    def stop(self) -> None:
        """Tell it to save and release what it holds, and wait until it has."""
        self.stopped = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            # leaves the exit code for `wait`, which may be the frame below this one
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def _listen(self) -> None:
        try:
            text = self.process.stderr.read()
        except (BlockingIOError, TypeError):
            return
        if text:
            print(text, end="", flush=True)  # the log of the task
            self.said = (self.said + text)[-_WORDS:]
