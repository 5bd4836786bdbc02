"""Levels of equal compute: as the table has them, or made by interpolating along tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.sample import Sample

# Runs whose compute differs by less than this factor in steps belong to one level; levels lie further apart.
GAP = 1.12
# A level wider than this is no level: its runs form a continuum of compute.
WIDTH = 1.35
SIZES = 4
MADE = 8


@dataclass(frozen=True, eq=False)
class Level:
    """Runs of one compute, by rising params. rows: of the table, -1 if interpolated; clusters resample.

    spent (n,): the runs' own FLOPs, which differ a little where a table says them as they were.
    """

    flops: float
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    rows: np.ndarray
    clusters: np.ndarray
    spent: np.ndarray
    notes: tuple[Note, ...] = ()


def levels_of(rows: Sample, source: str) -> tuple[list[Level], bool, list[Note]]:
    """(levels by rising compute, whether they were interpolated, what to say). InputError without any."""
    found = _grouped(rows)
    kept = [one for one in found if sizes_of(one.params) >= SIZES]
    covered = sum(len(one.params) for one in kept)
    if len(kept) >= 2 and covered >= 0.5 * len(rows):
        said = []
        if covered < len(rows):
            taken = np.concatenate([one.rows for one in kept])
            left = shown(np.setdiff1d(rows.rows, taken))
            text = f"{len(rows) - covered} rows belong to no level of at least {SIZES} sizes: {left}"
            said.append(Note("rows_off_levels", text))
        return kept, False, said
    made = _interpolated(rows)
    if made:
        text = (
            "the table has no levels of equal compute: each size's losses were interpolated along tokens "
            f"(monotone, in logs, never beyond its runs) to {len(made)} common levels"
        )
        return made, True, [Note("interpolated", text)]
    if kept:
        return kept, False, []
    raise InputError(
        f"{source}: no compute level has {SIZES} sizes: no runs of equal flops, and too few sizes share a "
        f"range of compute to interpolate between"
    )


def shown(rows: np.ndarray) -> str:
    """The first of some rows of the table, in words; -1 is an interpolated point."""
    names = ["an interpolated one" if row < 0 else f"row {row}" for row in rows.tolist()[:8]]
    return ", ".join(names) + (", ..." if len(rows) > 8 else "")


def sizes_of(params: np.ndarray) -> int:
    return len(np.unique(np.round(np.log(params), 3)))


def _grouped(rows: Sample) -> list[Level]:
    flops = np.log(rows.inputs["flops"])
    order = np.argsort(flops, kind="stable")
    cuts = np.flatnonzero(np.diff(flops[order]) > np.log(GAP)) + 1
    levels = []
    for group in np.split(order, cuts):
        spread = float(np.exp(np.ptp(flops[group])))
        if spread > WIDTH:
            continue
        group = group[np.argsort(rows.inputs["params"][group], kind="stable")]
        notes = ()
        if spread > 1.05:
            notes = (Note("wide_level", f"the level's compute varies by a factor of {spread:.3g}"),)
        levels.append(
            Level(
                float(np.exp(flops[group].mean())),
                rows.inputs["params"][group],
                rows.inputs["tokens"][group],
                rows.loss[group],
                rows.rows[group],
                rows.clusters[group],
                rows.inputs["flops"][group],
                notes,
            )
        )
    return levels


def _interpolated(rows: Sample) -> list[Level]:
    """Common levels across sizes, where at least SIZES sizes have runs on both sides."""
    from scipy.interpolate import PchipInterpolator

    params = rows.inputs["params"]
    label = np.unique(np.round(np.log(params), 3), return_inverse=True)[1]
    curves = []
    for size in range(int(label.max()) + 1):
        at = np.flatnonzero(label == size)
        steps, index = np.unique(np.round(np.log(rows.inputs["flops"][at]), 6), return_inverse=True)
        if len(steps) < 3:
            continue
        mean, spent = (
            np.bincount(index, np.log(values[at])) / np.bincount(index)
            for values in (rows.loss, rows.inputs["tokens"])
        )
        size = float(np.exp(np.log(params[at]).mean()))
        curves.append((size, steps, PchipInterpolator(steps, mean), spent))
    if len(curves) < SIZES:
        return []
    starts, ends = np.array([c[1][0] for c in curves]), np.array([c[1][-1] for c in curves])
    low, high = np.sort(starts)[SIZES - 1], np.sort(ends)[-SIZES]
    if high <= low:
        return []
    levels = []
    for flops in np.linspace(low, high, MADE):
        inside = [i for i in range(len(curves)) if starts[i] - 1e-9 <= flops <= ends[i] + 1e-9]
        if len(inside) < SIZES:
            continue
        n = np.array([curves[i][0] for i in inside])
        kept = [(curves[i][1], curves[i][3]) for i in inside]
        loss = np.exp([float(curves[i][2](np.clip(flops, starts[i], ends[i]))) for i in inside])
        tokens = np.exp([float(np.interp(flops, steps, spent)) for steps, spent in kept])
        order = np.argsort(n)
        n, loss, tokens = n[order], loss[order], tokens[order]
        clusters = np.array(inside)[order]
        level = float(np.exp(flops))
        levels.append(Level(level, n, tokens, loss, np.full(len(n), -1), clusters, np.full(len(n), level)))
    return levels
