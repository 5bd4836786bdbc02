"""What goes out while runs train: their records, tokens/s and the share of the peak, to a tracker each.

What a tracker raises is told once and ends it; training goes on.
"""

from collections.abc import Callable, Iterable, Mapping

from lab.machine import chips
from lab.model import accounting
from lab.runs import trackers
from lab.runs.job import Job

Open = Callable[[Job], trackers.Tracker | None]


class Live:
    """The trackers of runs in lockstep, opened at the first record."""

    def __init__(self, jobs: list[Job], track: Open, warn: Callable[[str], None]):
        self._jobs, self._track, self._warn = jobs, track, warn
        self._open: dict[int, trackers.Tracker | None] = {}

    def log(self, r: int, lines: Iterable[Mapping], more: Mapping[str, float | None] | None = None) -> None:
        """Records of run ``r`` as they are written; ``more``: numbers that are no part of its records."""
        for line in lines:
            values = trackers.series(line)
            values |= {name: value for name, value in (more or {}).items() if value is not None}
            if values and "step" in line:
                self._do(r, lambda tracker, v=values, at=line["step"]: tracker.log(int(at), v))

    def close(self, r: int, row: Mapping, scores: Mapping[str, float]) -> None:
        self._do(r, lambda tracker: tracker.close(row, scores))
        self._open[r] = None

    def leave(self) -> None:
        """Runs that go on later, or failed."""
        for r in [r for r, tracker in self._open.items() if tracker is not None]:
            self.close(r, {}, {})

    def _do(self, r: int, what: Callable[[trackers.Tracker], None]) -> None:
        try:
            if r not in self._open:
                self._open[r] = None  # unless it opens
                self._open[r] = self._track(self._jobs[r])
            if (tracker := self._open[r]) is not None:
                what(tracker)
        except Exception as error:  # of another tool
            self._open[r] = None
            said = str(error).splitlines()[0] if str(error) else "no message"
            self._warn(f"--log: given up for this run ({type(error).__name__}: {said})")


def share_of_peak(config, vocab: int, tokens_per_s: float, kind: str, devices: int) -> float | None:
    """Of the published peak of these devices, by the model's FLOPs; None for devices without figures."""
    chip = chips.of_kind(kind)
    if chip is None:
        return None
    each = accounting.training_flops(config, vocab)["flops_exact"] / (config.steps * config.batch_tokens)
    peak = chip.flops if config.precision == "bfloat16" else chip.flops_f32
    return tokens_per_s * each / (peak * devices)
