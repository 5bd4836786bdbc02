"""A series over two axes: cells of (params, tokens), each with its validation loss and its seeds.

The other modules see one axis, where a grid of sizes and budgets would be a cloud. Here the cells keep both,
so that one can ask whether the loss alone says the score (`collapse`), and how a threshold in tokens moves
with size (`frontier`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.thresholds import findings, null
from analysis.thresholds.likelihood import Scale
from analysis.thresholds.null import Design
from analysis.thresholds.scores import Cells, build

FEWEST_SIZES, FEWEST_BUDGETS, FEWEST_CELLS = 3, 2, 8


@dataclass(frozen=True)
class Plane:
    """One task and metric over K cells of (params, tokens); loss (K,): mean over seeds, NaN where unknown.

    design, data (C,) as the one-axis tests take them; seed_sd in logits (log nats for nats), None where it is
    unknown; freedom: degrees of freedom it was estimated with, 0 if it was given. why: what keeps the cells
    from being tested at all, empty if nothing does.
    """

    cells: Cells
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    design: Design
    data: np.ndarray
    seed_sd: float | None
    freedom: int
    why: str

    @property
    def scale(self) -> Scale:
        """The continuous scale: logits above chance, or minus log nats."""
        return null.scales_of(self.design, self.data)[0]

    def simulate(self, eta: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Tables (draws, C) from eta (K,) with the seed noise of this series."""
        return null.simulate(self.design, self.scale, eta, self.seed_sd, rng, draws)

    def profiles(self, tables: np.ndarray) -> np.ndarray:
        """Profiles (B, K, G) of tables (B, C), each with a seed sd estimated from itself."""
        return null.profiles_of(self.design, self.scale, tables, null.seed_sd_of(self.design, tables))


def planes(frame, chance: dict[str, float] | None = None, seed_sd: float | None = None) -> list[Plane]:
    """All series of a long ability table (a pandas DataFrame) that has params and tokens; none otherwise.

    chance: level by task where the table has none; seed_sd: in logits, for series without seeds. Raises
    InputError naming every bad row.
    """
    import pandas

    if not len(frame) or not {"task", "params", "tokens"} <= set(frame.columns):
        return []
    frame = frame.reset_index(drop=True).copy()
    place = frame[["params", "tokens"]].apply(pandas.to_numeric, errors="coerce").astype(float)
    if not (place > 0).all(axis=None):
        return []
    frame[["params", "tokens"]] = place
    loss = np.full(len(frame), np.nan)
    if "loss_nats" in frame:
        loss = pandas.to_numeric(frame["loss_nats"], errors="coerce").to_numpy(float)
    keys = [frame["task"], frame["params"], frame["tokens"]]
    if "grid" in frame:
        keys.append(frame["grid"].astype(str))
    # A mean rounds by the order of what it is of.
    cell_loss = pandas.Series(loss).sort_values(kind="stable").groupby(keys, dropna=False).transform("mean")
    cell_loss = cell_loss.reindex(frame.index).to_numpy()
    # A cell's number takes the place of an axis; the gates read it as "the better model comes later".
    better = np.lexsort((frame["tokens"], frame["params"], -np.nan_to_num(cell_loss, nan=np.inf)))
    number = np.empty(len(frame))
    number[better] = np.arange(1, len(frame) + 1)
    frame["flops"] = pandas.Series(number).groupby(keys, dropna=False).transform("min").to_numpy()
    at = {
        float(n): (p, t, q)
        for n, p, t, q in zip(frame["flops"], frame["params"], frame["tokens"], cell_loss, strict=True)
    }
    return [_plane(one, at, seed_sd) for one in build(frame, "flops", chance)]


def _plane(cells: Cells, at: dict[float, tuple[float, float, float]], given: float | None) -> Plane:
    params, tokens, loss = np.array([at[round(float(place))] for place in cells.place]).T
    cells = findings.check_gates(cells)
    sd, freedom = findings.own_seed_sd(cells) if not cells.faults else (None, 0)
    if sd is None:
        sd, freedom = (None if cells.continuous else given), 0
    design, data, _ = findings.design_of(cells, sd if freedom == 0 else None)
    return Plane(cells, params, tokens, loss, design, data, sd, freedom, _unfit(cells, params, tokens, sd))


def _unfit(cells: Cells, params: np.ndarray, tokens: np.ndarray, sd: float | None) -> str:
    if cells.faults:
        return f"the scores are not valid: {cells.faults[0].text}"
    budgets = np.array([np.unique(tokens[params == size]).size for size in np.unique(params)])
    if budgets.max() < FEWEST_BUDGETS:
        return "one token budget at each size: two or more, at three sizes or more, are needed"
    enough = int((budgets >= FEWEST_BUDGETS).sum())
    if enough < FEWEST_SIZES or params.size < FEWEST_CELLS:
        return (
            f"{enough} size{'s' * (enough != 1)} with two token budgets or more, {params.size} cells in all: "
            f"{FEWEST_SIZES} sizes and {FEWEST_CELLS} cells are needed"
        )
    if sd is None:
        return "no seed replicates: two seeds at three cells or more, or --seed-sd, are needed"
    return ""
