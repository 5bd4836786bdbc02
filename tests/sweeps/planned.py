"""Plans of tiny grids, made in memory."""

from lab.data import load
from sweeps.plan import cells
from sweeps.study import loader

DATA = {"source": "synthetic", "context": 32, "val_windows": 64}


def make(*grids, **rest):
    data = {"name": "s", "batch": 8, "model": {"layers": 1, "heads": 1}, "data": DATA, **rest}
    data["optimizer"] = {"warmup_tokens": 2_000, **rest.get("optimizer", {})}
    return cells.make(
        loader.parse({**data, "grids": [{"name": f"g{i}", **g} for i, g in enumerate(grids)]}, "s"), load
    )


WIDE = {
    "sizes": [{"width": w} for w in (8, 16, 32, 64)],
    "tokens": [10_000, 20_000, 40_000, 80_000],
    "seeds": [0, 1],
}
