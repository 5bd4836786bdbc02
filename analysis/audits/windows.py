"""Earlier forecasts: the laws fitted below growing limits of compute, and what they said of the runs beyond.

Each window is the same forecast one scale earlier. What a later one takes from the earlier ones, ranks and
weights of laws, it takes from runs below its own limit alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from analysis.audits.predictions import flops_of
from analysis.errors import InputError
from analysis.fits.fitting import Settings, fit_window, without_draws
from analysis.laws.law import Law
from analysis.laws.repeated import loss_at
from analysis.tables.sample import Sample

# Each window ends at half the compute of the next. Fewer late rows say nothing; with that many windows the
# last begins at a sixty-fourth of the compute, where few tables still determine a law.
SHARE, ENOUGH, MOST = 2.0, 3, 6
# The windows that weigh a forecast's laws: the one before it. What failed further back may hold now. This
# number, `misses.MOST`, the mean there, and the power in `blend.weights_of` were chosen together on planted
# tables (`python -m benchmarks.forecast_rules`).
WEIGHING = 1
# Rows of a table up to which its past is remembered.
REMEMBERED = 2000


@dataclass(frozen=True, eq=False)
class Window:
    """early, late (n,): the rows that are fitted and those that play the future; distance: the highest late
    compute over the highest early one."""

    early: np.ndarray
    late: np.ndarray
    distance: float


def parted(rows: Sample, late: np.ndarray) -> np.ndarray:
    """The rows (n,) that may be fitted when `late` (n,) play the future: none of a cluster that reaches into
    it. Branches of one trunk share its luck, and would foretell each other's."""
    if not rows.clustered_by:
        return ~late
    reaching = np.bincount(rows.clusters, late) > 0
    return ~late & ~reaching[rows.clusters]


def windows_of(rows: Sample, split: bool = False) -> tuple[Window, ...]:
    """Windows by falling limit; those that hold the same rows as the one before, or next to none, are left
    out. split: early rows may share a trunk with late ones."""
    flops = flops_of(rows)
    found: list[Window] = []
    for step in range(1, MOST + 1):
        late = flops > flops.max() / SHARE**step
        early = ~late if split else parted(rows, late)
        if late.sum() < ENOUGH or not early.any() or (found and np.array_equal(early, found[-1].early)):
            continue
        found.append(Window(early, late, float(flops[late].max() / flops[early].max())))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Past:
    """What `laws` said from each of `windows`. logs (windows, laws, n): log losses that were predicted for
    all rows, NaN where a law could not be fitted; values: the parameters behind them, None there. split: the
    windows part trunks, since none that does not could be fitted."""

    rows: Sample
    windows: tuple[Window, ...]
    laws: tuple[Law, ...]
    logs: np.ndarray
    values: tuple[tuple[Mapping[str, float] | None, ...], ...]
    split: bool = False

    def errors(self, stage: int) -> list[float | None]:
        """Mean size of each law's errors in percent, in the windows before `stage` on the rows that `stage`
        was fitted to; stage -1 is the forecast from all rows. None without a finite one."""
        seen = np.ones(len(self.rows), bool) if stage < 0 else self.windows[stage].early
        sizes: list[list[np.ndarray]] = [[] for _ in self.laws]
        for index in range(stage + 1, min(stage + 1 + WEIGHING, len(self.windows))):
            scored = self.windows[index].late & seen
            with np.errstate(all="ignore"):
                ratio = np.exp(self.logs[index][:, scored]) / self.rows.loss[scored]
            for law, row in enumerate(ratio):
                if scored.any() and not np.isnan(self.logs[index][law]).all():
                    sizes[law].append(100 * np.abs(row - 1))
        means = [float(np.mean(np.concatenate(parts))) if parts else np.nan for parts in sizes]
        return [mean if np.isfinite(mean) else None for mean in means]


def past_of(rows: Sample, laws: Sequence[Law], settings: Settings, source: str) -> Past:
    """Every law fitted to every window, from the shortest on: each begins where the one before it ended.

    Where each size is one trunk that reaches the highest budgets, no early part is free of what comes: then
    trunks are split, as the held-out rows of such a study split them, and `Past.split` says so.
    """
    plain = without_draws(settings)
    if (
        len(rows) > REMEMBERED
        or plain.rho.scale is not None
        or not all(isinstance(x, Hashable) for x in laws)
    ):
        return _past_of(rows, laws, plain, source)
    return replace(_again(_Same(_content(rows), rows, source), tuple(laws), plain), rows=rows)


@dataclass(frozen=True)
class _Same:
    """Rows that are told apart by what a fit sees of them."""

    content: tuple
    rows: Sample = field(compare=False)
    source: str = field(compare=False)


def _content(rows: Sample) -> tuple:
    named = (*rows.inputs.items(), *rows.groups.items())
    noise = None if rows.noise is None else rows.noise.tobytes()
    arrays = rows.loss.tobytes(), rows.clusters.tobytes(), rows.held_out.tobytes(), rows.rows.tobytes()
    return *((name, values.tobytes()) for name, values in named), *arrays, noise, rows.clustered_by


@lru_cache(maxsize=16)
def _again(same: _Same, laws: tuple[Law, ...], plain: Settings) -> Past:
    """Remembered, since whoever fits, forecasts and audits a table asks for the same past each time."""
    found = _past_of(same.rows, laws, plain, same.source)
    found.logs.flags.writeable = False
    return found


def _past_of(rows: Sample, laws: Sequence[Law], plain: Settings, source: str) -> Past:
    found = _past(rows, windows_of(rows), laws, plain, source)
    if found.windows or not rows.clustered_by:
        return found
    return replace(_past(rows, windows_of(rows, split=True), laws, plain, source), split=True)


def _past(
    rows: Sample, windows: tuple[Window, ...], laws: Sequence[Law], plain: Settings, source: str
) -> Past:
    logs = np.full((len(windows), len(laws), len(rows)), np.nan)
    values: list[list[Mapping[str, float] | None]] = [[None] * len(laws) for _ in windows]
    for column, law in enumerate(laws):
        known: list[Mapping[str, float]] = []
        for index in reversed(range(len(windows))):
            try:
                fitted = fit_window(rows.where(windows[index].early), law, source, plain, known)
            except InputError:
                continue
            known = [fitted.params]
            values[index][column] = fitted.params
            with np.errstate(all="ignore"):
                logs[index, column] = np.log(loss_at(law, fitted.params, rows.inputs))
    kept = [index for index in range(len(windows)) if any(one is not None for one in values[index])]
    return Past(
        rows,
        tuple(windows[index] for index in kept),
        tuple(laws),
        logs[kept],
        tuple(tuple(values[index]) for index in kept),
    )
