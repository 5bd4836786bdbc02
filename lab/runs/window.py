"""The records of training: means over K steps, wherever the calls that made the steps ended.

Calls also end at the branch points of a trunk. The steps since the last multiple of K then go into the line
of the branch point, and a run that goes on from there begins its first record with them: so the records of a
branch are those of the straight run, to the last bit.
"""

import numpy as np

from lab.runs.job import Job
from lab.training.pack import STEPS_PER_CALL

_SERIES = ("loss_nats", "grad_norm")


class Window:
    """Steps of one run since the last multiple of K."""

    def __init__(self, job: Job, step: int):
        self._tokens = job.config.batch_tokens
        self._series: dict[str, list[float]] = {name: [] for name in _SERIES}
        self._last: dict = {}
        lines = job.folder.metrics() if job.trunk is None or step > job.start else job.trunk.metrics()
        for line in lines if not job.is_trunk or step < job.end else []:
            if line.get("kind") == "branch" and line["step"] == step and "since" in line:
                self._series = {name: list(line["since"][name]) for name in _SERIES}
                self._last = dict(line["since"]["last"])

    def add(self, losses, norms, **last) -> None:
        """``last``: records of the last step alone."""
        for name, values in zip(_SERIES, (losses, norms), strict=True):
            self._series[name] += [float(value) for value in values]
        self._last = last

    def line(self, step: int) -> dict:
        """The record at ``step``; the window is empty after it."""
        means = {name: float(np.mean(values)) for name, values in self._series.items()}
        self._series = {name: [] for name in _SERIES}
        return {"step": step, "tokens": step * self._tokens, **means, **self._last}

    @property
    def is_empty(self) -> bool:
        return not self._series["loss_nats"]

    @property
    def loss_nats(self) -> float:
        return float(np.mean(self._series["loss_nats"]))

    def branch(self, step: int) -> dict:
        """The line of a branch point."""
        return {"step": step, "kind": "branch", "since": {**self._series, "last": self._last}}


def is_full(step: int) -> bool:
    return step % STEPS_PER_CALL == 0


def last_loss(job: Job) -> float | None:
    """Of the last record; a branch that trains no step of its own ends with one of its trunk."""
    lines = job.folder.metrics()
    if job.trunk is not None:
        lines = [m for m in job.trunk.metrics() if m["step"] <= job.start] + lines
    losses = [line["loss_nats"] for line in lines if "loss_nats" in line and "kind" not in line]
    return losses[-1] if losses else None
