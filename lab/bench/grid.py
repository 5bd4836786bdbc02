"""A grid of runs three ways: as a study, as a process for each cell, and as the same in PyTorch.

All use every core, start from nothing compiled, and train the same shapes on the same numbers of tokens.
The study shares trunks, programs and processes; that is what is measured.
"""

import json
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from lab import python
from lab.bench.peer import PEER
from lab.machine.devices import available_cores

WIDTHS = (16, 24, 32, 48, 64)
TOKENS = (100_000, 200_000, 400_000, 800_000, 1_600_000)
LAYERS, BATCH, CONTEXT, VOCAB = 2, 8, 128, 256

_STUDY = f"""name = "grid"
[model]
layers = {LAYERS}
qk_norm = false
[[grids]]
name = "grid"
batch = {BATCH}
tokens = {list(TOKENS)}
data = {{ source = "synthetic", context = {CONTEXT} }}
sizes = [{", ".join(f"{{ width = {w}, heads = 1 }}" for w in WIDTHS)}]
"""


def grid(peer_python: str | None, tell=lambda text: None) -> dict:
    """Seconds of each way, and their ratios to the study's, as plain JSON values."""
    tell("the study")
    study = _study()
    tell(f"its {len(WIDTHS) * len(TOKENS)} cells, a process each, {len(available_cores())} at a time")
    cells = _processes(_cell)
    rival = None
    if peer_python:
        tell("the same cells in PyTorch, eager, a process each")
        rival = _processes(lambda *cell: _peer_cell(peer_python, *cell))
    return {
        "widths": list(WIDTHS),
        "tokens": list(TOKENS),
        "study_s": study,
        "processes_s": cells,
        "processes_ratio": cells / study,
        "peer_s": rival,
        "peer_ratio": rival / study if rival else None,
    }


def _study() -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.toml"
        path.write_text(_STUDY)
        command = python.command("-m", "lab", "run", path, "--out", f"{folder}/store")
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=_nothing_compiled(folder))
        return time.perf_counter() - started


def _processes(command_of) -> float:
    """A process for each cell, as many at a time as there are cores, largest first."""
    cores = available_cores()
    cells = sorted(product(WIDTHS, TOKENS), key=lambda cell: -cell[0] * cell[1])
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(cores)) as pool:

        def one(number: int, width: int, tokens: int) -> None:
            own = Path(folder) / str(number)
            own.mkdir()
            command = command_of(width, tokens, own)
            subprocess.run(command, check=True, capture_output=True, env=_nothing_compiled(own))

        list(pool.map(one, range(len(cells)), *zip(*cells, strict=True)))
    return time.perf_counter() - started


def _cell(width: int, tokens: int, folder: Path) -> list[str]:
    command = python.command("-m", "lab", "train", "--out", folder / "run", "--tokens", tokens)
    command += ["--batch", str(BATCH), "--data.source", "synthetic", "--data.context", str(CONTEXT)]
    command += ["--model.width", str(width), "--model.layers", str(LAYERS), "--model.heads", "1"]
    return [*command, "--model.no-qk-norm"]


def _peer_cell(peer: str, width: int, tokens: int, folder: Path) -> list[str]:
    spec = {"width": width, "layers": LAYERS, "heads": 1, "context": CONTEXT, "vocab": VOCAB, "batch": BATCH}
    steps = round(tokens / BATCH / CONTEXT)
    return [peer, str(PEER), json.dumps(spec | {"threads": 1, "compiled": False, "steps": steps})]


def _nothing_compiled(folder) -> dict:
    return python.environment() | {"XDG_CACHE_HOME": str(folder), "OMP_NUM_THREADS": "1"}


def text(found: dict) -> str:
    lines = [
        f"{len(found['widths'])} sizes x {len(found['tokens'])} budgets, nothing compiled before",
        f"as a study                    {found['study_s']:>7.1f} s",
        f"a process for each cell       {found['processes_s']:>7.1f} s  {found['processes_ratio']:.2f} x",
    ]
    if found["peer_s"]:
        lines.append(f"a process for each, PyTorch   {found['peer_s']:>7.1f} s  {found['peer_ratio']:.2f} x")
    return "\n".join(lines)
