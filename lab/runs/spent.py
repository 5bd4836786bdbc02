"""What a run cost, over all attempts: ``costs.jsonl`` in its folder, appended and never cut.

One line a stretch of time: ``attempt`` (a name of this try), ``phase`` (train, evaluate), ``step`` it
led to, ``device_seconds``, ``compile_seconds``, ``device``, ``runs`` (in lockstep). A pack's time is shared
among the runs that are still in it, so that the sum over runs is what the devices were held for. Work that
a kill undid is counted, up to the second before it.
"""

import time
import uuid
from collections.abc import Iterable, Mapping

from lab.runs.job import Job

_EVERY_SECONDS = 1.0  # of training, at most, that a kill leaves uncounted


class Clock:
    """Books the time of one attempt on the runs of a pack."""

    def __init__(self, jobs: list[Job], devices: tuple):
        self._jobs, self._devices = jobs, devices
        self._attempt = uuid.uuid4().hex[:8]
        self._since = time.monotonic()
        self._begun: set[int] = set()
        self.seconds = 0.0  # of training, compilation aside

    def is_due(self) -> bool:
        return time.monotonic() - self._since > _EVERY_SECONDS

    def restart(self) -> None:
        """What went by is not a cost of devices."""
        self._since = time.monotonic()

    def book(self, step: int, of: Iterable[int], phase: str = "train", compiled: bool = False) -> None:
        """The time since the last line, on the runs ``of``; ``compiled``: as compilation."""
        now, runs = time.monotonic(), sorted(of)
        seconds, self._since = now - self._since, now
        if phase == "train" and not compiled:
            self.seconds += seconds
        for r in runs:
            line = {
                "attempt": self._attempt,
                "phase": phase,
                "step": step,
                "device_seconds": 0.0 if compiled else seconds * len(self._devices) / len(runs),
                "compile_seconds": seconds / len(runs) if compiled else 0.0,
                "device": self._devices[0].device_kind,
                "runs": len(runs),
            }
            # a kill may have torn the last line of the attempt before
            self._jobs[r].folder.append_costs(line, after="" if r in self._begun else "\n")
            self._begun.add(r)


def total(lines: Iterable[Mapping], what: str, above: int = -1, up_to: float = float("inf")) -> float:
    """Sum of ``device_seconds`` or ``compile_seconds`` over lines of ``above`` < step <= ``up_to``."""
    return sum(line.get(what, 0.0) for line in lines if above < line["step"] <= up_to)


def of_trunk(job: Job) -> float:
    """Device-seconds of the part of its trunk that this budget was the first to need."""
    if job.trunk is None:
        return 0.0
    hold = job.config.hold_steps
    marks = [m["step"] for m in job.trunk.metrics() if m.get("kind") == "branch" and m["step"] < hold]
    return total(job.trunk.costs(), "device_seconds", max(marks, default=-1), hold)
