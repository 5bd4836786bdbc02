"""A plan as people and programs read it."""

import json
from collections import Counter
from pathlib import Path

from sweeps.display import duration, short
from sweeps.plan import Plan
from sweeps.store import Store

_ROWS = 60  # longer tables are shortened in the middle; --json has them all


def states(plan: Plan, store: Store) -> dict[str, str]:
    """State of each cell by run id: done, failed, running, new."""
    found = {}
    for cell in plan.cells:
        node = store.node(cell)
        if store.is_done(node):
            found[cell.run_id] = "done"
        elif store.failure(cell.run_id) or (cell.trunk and store.failure(cell.trunk)):
            found[cell.run_id] = "failed"
        else:
            found[cell.run_id] = "running" if store.is_claimed(node) else "new"
    return found


def headline(plan: Plan, of: dict[str, str]) -> str:
    """One line: how many runs, what is left, what it costs."""
    left = [cell for cell in plan.cells if of[cell.run_id] in ("new", "running")]
    trunks = {cell.trunk for cell in left if cell.trunk}
    seconds = sum(plan.seconds(cell) for cell in left)
    seconds += sum(plan.seconds(trunk) for trunk in plan.trunks if trunk.run_id in trunks)
    counts = Counter(of.values())
    parts = [f"{counts[name]} {name}" for name in ("done", "failed", "running") if counts[name]]
    done = f" ({', '.join(parts)})" if parts else ""
    cost = f"about {duration(seconds)} of device time"
    return f"study {plan.study.name}: {len(left)} of {len(plan.cells)} runs to train{done}, {cost}"


def rows(plan: Plan, out: Path | None) -> list[dict]:
    """The table of the plan, one dictionary a cell."""
    of = states(plan, Store(out)) if out else {}
    return [
        {
            "run_id": cell.run_id,
            "grid": cell.grid,
            "state": of.get(cell.run_id, "new"),
            "width": cell.config.model.width,
            "layers": cell.config.model.layers,
            "params_total": cell.params.total,
            "tokens": cell.config.steps * cell.config.batch_tokens,
            "steps": cell.config.steps,
            "seed": cell.config.seed,
            "batch_tokens": cell.config.batch_tokens,
            "learning_rate": cell.config.optimizer.learning_rate,
            "held_out": cell.held_out,
            "flops_6nd": cell.flops["flops_6nd"],
            "flops_exact": cell.flops["flops_exact"],
            "seconds": plan.seconds(cell),
            "measured": plan.seconds_per_step[cell.run_id].measured,
            "trunk": cell.trunk,
        }
        for cell in plan.cells
    ]


def totals(plan: Plan) -> dict:
    nodes = [*plan.trunks, *plan.cells]
    spent, straight = plan.flops_spent(), plan.flops_straight()
    return {
        "cells": len(plan.cells),
        "trunks": len(plan.trunks),
        "flops": spent,
        "flops_without_trunks": straight,
        "saved": 1 - spent / straight,
        "device_seconds": sum(plan.seconds(node) for node in nodes),
        "unique_tokens": {d.config.source: d.unique_tokens for d in plan.datasets.values()},
        "warnings": warnings(plan),
    }


def warnings(plan: Plan) -> list[str]:
    """What a sceptic would say of this study before it runs."""
    found = []
    for grid in plan.study.grids:
        cells = [cell for cell in plan.cells if cell.grid == grid.name]
        if not cells:
            continue
        dataset = plan.dataset(cells[0].config)
        most = max(cell.config.tokens for cell in cells)
        if dataset.unique_tokens and most > dataset.unique_tokens:
            times, unique = most / dataset.unique_tokens, short(dataset.unique_tokens)
            found.append(f"grid {grid.name}: the largest budget is {times:.1f} times its {unique} tokens")
        is_text = not dataset.ability_sets()
        if is_text and len(cells) > 1 and (len(grid.sizes) < 4 or len(grid.tokens) < 3):
            found.append(f"grid {grid.name}: fewer than 4 sizes or 3 token budgets hardly identify a law")
    return found


def as_json(plan: Plan, out: Path | None) -> str:
    return json.dumps({"study": plan.study.name, **totals(plan), "rows": rows(plan, out)})


def as_text(plan: Plan, out: Path | None) -> str:
    table = rows(plan, out)
    shown = table if len(table) <= _ROWS else table[: _ROWS // 2] + table[-_ROWS // 2 :]
    lines = ["  ".join(_COLUMNS).format(*_COLUMN_NAMES)]
    for i, row in enumerate(shown):
        if len(shown) < len(table) and i == _ROWS // 2:
            lines.append(f"... {len(table) - len(shown)} more ...")
        lines.append("  ".join(_COLUMNS).format(*_cells(row)).rstrip())
    t = totals(plan)
    estimated = "" if all(row["measured"] for row in table) else " (~: estimated, no such shape has run here)"
    lines += [
        "",
        f"{t['cells']} runs, {t['trunks']} trunks: {t['flops']:.3g} FLOPs, "
        f"{t['saved']:.0%} less than without trunks, "
        f"about {duration(t['device_seconds'])} of device time{estimated}",
    ]
    lines += [f"warning: {text}" for text in t["warnings"]]
    return "\n".join(lines)


_COLUMN_NAMES = ("run id", "grid", "shape", "params", "tokens", "seed", "batch", "rate", "FLOPs", "seconds")
_COLUMN_NAMES += ("trunk", "state")
_COLUMNS = ("{:<12}", "{:<10.10}", "{:>6}", "{:>7}", "{:>7}", "{:>4}", "{:>6}", "{:>7}", "{:>8}", "{:>8}")
_COLUMNS += ("{:<12}", "{}")


def _cells(row: dict) -> tuple:
    return (
        row["run_id"],
        row["grid"],
        f"{row['width']}x{row['layers']}",
        short(row["params_total"]),
        short(row["tokens"]),
        row["seed"],
        short(row["batch_tokens"]),
        f"{row['learning_rate']:.4g}",
        f"{row['flops_exact']:.2e}",
        ("" if row["measured"] else "~") + f"{row['seconds']:.1f}",
        row["trunk"] or "-",
        row["state"] + (", held out" if row["held_out"] else ""),
    )
