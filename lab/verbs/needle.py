"""`lab needle`: where in a context, and up to which length, a trained model finds what was said once."""

import json
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import tyro
from tyro.conf import Positional

from lab.errors import InputError
from lab.files import write_bytes
from lab.verbs.common import load_run, warn

KINDS = (".svg", ".png", ".pdf")
_STAMP = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}  # equal grids give equal bytes


def needle(argv: list[str]) -> int:
    def command(
        run: Positional[Path],
        contexts: tuple[int, ...] = (),
        depths: tuple[int, ...] = (0, 25, 50, 75, 100),
        items: int = 40,
        picture: Path | None = None,
        json: bool = False,
    ) -> int:
        """Hide a sentence in a text, at every depth and length, and ask a trained model for it.

        Args:
            run: the run's folder, such as DIR/runs/RUN_ID.
            contexts: tokens of haystack, needle and question together; a half and the whole of the trained
                context, where none is named. Of a model of symbols: symbols of the haystack.
            depths: per cent of the haystack before the needle.
            items: questions a cell.
            picture: draw the grid: a .svg, .png or .pdf.
            json: print one JSON object.
        """
        problems = [f"--contexts {one}: should be positive" for one in contexts if one < 1]
        problems += [f"--depths {one}: should lie between 0 and 100" for one in depths if not 0 <= one <= 100]
        problems += [f"--items {items}: should be at least 1"] if items < 1 else []
        if picture is not None and picture.suffix.lower() not in KINDS:
            problems.append(f"--picture {picture}: should end in {', '.join(KINDS)}")
        if problems:
            raise InputError(*problems)
        config, params, dataset = load_run(run)
        from lab.evaluation.needle import grid

        wanted = contexts or (dataset.context // 2, dataset.context)
        for one in wanted:
            if one > dataset.context:
                warn(f"contexts of {one} tokens are longer than the trained one, {dataset.context}")
        cells = grid(params, config, dataset, wanted, depths, items)
        if picture is not None:
            _draw(cells, picture)
        _print([asdict(cell) for cell in cells], json)
        return 0

    return tyro.cli(command, args=argv, prog="lab needle")


def _print(cells: list[dict], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"cells": cells}))
        return
    print("context  depth   right       nats a token   without the needle")
    for one in cells:
        without = "–" if one["nats_without"] is None else f"{one['nats_without']:.3f}"
        share = f"{one['right']} of {one['items']}"
        print(f"{one['context']:>7}  {one['depth']:>4}%   {share:<10}  {one['nats']:<13.3f}  {without}")


def _draw(cells, path: Path) -> None:
    """Exact match over depth and context; and, where it was asked, what the needle is worth."""
    import numpy as np
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    contexts = sorted({cell.context for cell in cells})
    depths = sorted({cell.depth for cell in cells})
    panels = [("right (%)", lambda cell: 100 * cell.right / cell.items, (0, 100))]
    if all(cell.nats_without is not None for cell in cells):
        panels.append(
            ("nats a token that the needle saves", lambda cell: cell.nats_without - cell.nats, None)
        )
    figure = Figure(figsize=(4.2 * len(panels), 1.6 + 0.5 * len(contexts)), layout="constrained")
    for axes, (title, value, limits) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        table = np.full((len(contexts), len(depths)), np.nan)
        for cell in cells:
            table[contexts.index(cell.context), depths.index(cell.depth)] = value(cell)
        low, high = limits or (0.0, max(float(np.nanmax(table)), 1e-6))
        axes.pcolormesh(table, cmap="viridis", vmin=low, vmax=high, edgecolors="white", linewidth=0.8)
        for row, column in np.argwhere(np.isfinite(table)):
            dark = table[row, column] < low + 0.6 * (high - low)
            said = f"{table[row, column]:.0f}" if limits else f"{table[row, column]:.2f}"
            axes.text(
                column + 0.5, row + 0.5, said, ha="center", va="center", color="white" if dark else "#1d2433"
            )
        axes.set_xticks(np.arange(len(depths)) + 0.5, [f"{depth}" for depth in depths])
        axes.set_yticks(np.arange(len(contexts)) + 0.5, [f"{context}" for context in contexts])
        axes.set(title=title, xlabel="depth (% of the haystack before the needle)", ylabel="context (tokens)")
        axes.tick_params(length=0)
    out, kind = BytesIO(), path.suffix.lower()
    with rc_context({"svg.hashsalt": "scaling-law-lab"}):
        figure.savefig(out, format=kind[1:], dpi=150, metadata=_STAMP.get(kind))
    write_bytes(path, out.getvalue())
