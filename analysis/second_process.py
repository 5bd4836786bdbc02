"""A second process for work that needs nothing from the first: most machines have a core to spare."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from analysis.second_python import command, environment


class Second:
    """Calls are computed one after the other in one process of its own, started at the first of them.

    A call not yet begun there when its value is wanted is computed here, so that neither waits while there is
    work. With one core, or where such a process cannot work (an interpreter that does not find this package),
    all are computed here. What goes through the pipes is written and read by these two processes alone.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        # A pipe holds 64 kB: without a thread either side could wait for the other for ever.
        self._thread = ThreadPoolExecutor(1)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        """Ask for function(*arguments); the function returned waits for its value, and raises what it raises.

        `function` must be importable by name.
        """
        if (os.cpu_count() or 1) < 2:
            return lambda: function(*arguments)
        try:
            asked = pickle.dumps((function, arguments))
            self._process = self._process or _start()
        except (OSError, AttributeError, TypeError, pickle.PicklingError):
            return lambda: function(*arguments)
        answer = self._thread.submit(_ask, self._process, asked)

        def wait() -> Any:
            if answer.cancel():
                return function(*arguments)
            try:
                return answer.result()
            except (OSError, EOFError, pickle.UnpicklingError):
                return function(*arguments)

        return wait

    def __enter__(self) -> Second:
        return self

    def __exit__(self, *failure: object) -> None:
        """Whatever is still asked for is given up."""
        if self._process is not None:
            self._process.kill()  # the thread, where it waits for an answer, then has none
        self._thread.shutdown(cancel_futures=True)
        if self._process is not None:
            with suppress(OSError):
                self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("-c", "from analysis.second_process import serve; serve()"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )


def _ask(process: subprocess.Popen[bytes], asked: bytes) -> Any:
    """One call there and back. Raises OSError or EOFError where the other side fell."""
    process.stdin.write(asked)
    process.stdin.flush()
    return pickle.load(process.stdout)


def serve() -> None:
    """The other side: calls from stdin, their values to stdout, until no more come."""
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        sys.stdout.buffer.write(pickle.dumps(function(*arguments)))
        sys.stdout.buffer.flush()
