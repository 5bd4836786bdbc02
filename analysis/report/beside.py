"""A second process for work that needs nothing from the first: most machines have a core to spare."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any


def beside(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Start function(*arguments) in a process of its own; the function returned waits for its value.

    With one core, or where such a process cannot work (an interpreter that does not find this package), it is
    computed here, when it is waited for. `function` must be importable by name. What goes through the pipes
    is written and read by these two processes alone.
    """
    if (os.cpu_count() or 1) < 2:
        return lambda: function(*arguments)
    code = "from analysis.report.beside import serve; serve()"
    try:
        asked = pickle.dumps((function, arguments))
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except (OSError, AttributeError, TypeError, pickle.PicklingError):
        return lambda: function(*arguments)
    answer: list[bytes] = []

    def talk() -> None:
        try:
            answer.append(process.communicate(asked)[0])
        except (OSError, ValueError):
            process.kill()

    # A pipe holds 64 kB: without a thread either side could wait for the other for ever.
    thread = threading.Thread(target=talk, daemon=True)
    thread.start()

    def wait() -> Any:
        thread.join()
        if process.returncode == 0 and answer and answer[0]:
            return pickle.loads(answer[0])
        return function(*arguments)

    return wait


def serve() -> None:
    """The other side: one call from stdin, its value to stdout."""
    function, arguments = pickle.load(sys.stdin.buffer)
    value = pickle.dumps(function(*arguments))
    sys.stdout.buffer.write(value)
