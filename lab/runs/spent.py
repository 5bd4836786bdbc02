"""What a run cost, over all attempts: ``costs.jsonl`` in its folder, appended and never cut.

One line a stretch of time: ``attempt`` (a name of this try), ``phase`` (train, evaluate), ``step`` it
led to, ``device_seconds``, ``compile_seconds``, ``cpu_seconds`` (of this process), ``device``, ``runs`` (in
lockstep), and where counters can be read ``energy_joules`` with its source (:mod:`lab.machine.energy`).
A pack's time and energy are shared among the runs that are still in it, so that the sum over runs is what the
devices were held for. Work that a kill undid is counted, up to the second before it.
"""

import time
import uuid
from collections.abc import Iterable, Mapping

from lab.machine.energy import Meter
from lab.runs.job import Job

_EVERY_SECONDS = 1.0  # of training, at most, that a kill leaves uncounted


class Clock:
    """Books the time of one attempt on the runs of a pack."""

    def __init__(self, jobs: list[Job], devices: tuple):
        self._jobs, self._devices = jobs, devices
        self._attempt = uuid.uuid4().hex[:8]
        self._since = time.monotonic()
        self._begun: set[int] = set()
        self._meter = Meter(devices)
        self.seconds = 0.0  # of training, compilation aside

    def is_due(self) -> bool:
        return time.monotonic() - self._since > _EVERY_SECONDS

    def restart(self) -> None:
        """What went by is not a cost of devices."""
        self._since = time.monotonic()
        self._meter.look()

    def book(self, step: int, of: Iterable[int], phase: str = "train", compiled: bool = False) -> None:
        """The time since the last line, on the runs ``of``; ``compiled``: as compilation."""
        now, runs = time.monotonic(), sorted(of)
        seconds, self._since = now - self._since, now
        used = self._meter.look()
        if phase == "train" and not compiled:
            self.seconds += seconds
        for r in runs:
            line = {
                "attempt": self._attempt,
                "phase": phase,
                "step": step,
                "device_seconds": 0.0 if compiled else seconds * len(self._devices) / len(runs),
                "compile_seconds": seconds / len(runs) if compiled else 0.0,
                "cpu_seconds": used.cpu_seconds / len(runs),
                "device": self._devices[0].device_kind,
                "runs": len(runs),
            }
            if used.joules is not None:
                line |= {"energy_joules": used.joules / len(runs), "energy_source": used.source}
            # a kill may have torn the last line of the attempt before
            self._jobs[r].folder.append_costs(line, after="" if r in self._begun else "\n")
            self._begun.add(r)


def total(lines: Iterable[Mapping], what: str) -> float:
    """Sum of ``device_seconds`` or another number over lines."""
    return sum(line.get(what, 0.0) for line in lines)


def of_trunk(job: Job) -> list[dict]:
    """Lines of the part of its trunk that this budget was the first to need."""
    if job.trunk is None:
        return []
    hold = job.config.hold_steps
    marks = [m["step"] for m in job.trunk.metrics() if m.get("kind") == "branch" and m["step"] < hold]
    above = max(marks, default=-1)
    return [line for line in job.trunk.costs() if above < line["step"] <= hold]


def columns(job: Job) -> dict:
    """What the row of a run says of its costs: over all attempts, its part of the trunk included.

    ``energy_joules`` is what counters measured, in ``energy_coverage`` of the time; None where there is
    none. Compilation is the run's own alone.
    """
    own = job.folder.costs()
    lines = [*own, *of_trunk(job)]
    metered = [line for line in lines if "energy_joules" in line]
    seconds, covered = (
        total(some, "device_seconds") + total(some, "compile_seconds") for some in (lines, metered)
    )
    return {
        "device_seconds": total(lines, "device_seconds"),
        "compile_seconds": total(own, "compile_seconds"),
        "cpu_seconds": total(lines, "cpu_seconds") if all("cpu_seconds" in line for line in lines) else None,
        "energy_joules": total(metered, "energy_joules") if metered else None,
        "energy_source": "+".join(sorted({str(line.get("energy_source")) for line in metered})) or "none",
        "energy_coverage": covered / seconds if metered and seconds else 0.0,
    }
