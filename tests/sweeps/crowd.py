"""A store of many synthetic run folders, and what it takes to tabulate it and to tell its state.

    python tests/sweeps/crowd.py 100000 [FOLDER]

writes the store where it is not there yet, drops nothing from the page cache (run it after a reboot, or write
/proc/sys/vm/drop_caches as root, for a cold disk), reads it in fresh processes, and prints seconds and peak
memory.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def fill(root: Path, runs: int, studies: int = 1, records: int = 1) -> None:
    """Run folders with a result each, a tenth unfinished, and the studies that list them.

    records: lines of each training log.
    """
    cells: list[dict] = []
    for i in range(runs):
        run_id = f"{i:012x}"
        folder = root / "runs" / run_id
        folder.mkdir(parents=True)
        width, tokens = 8 * (1 + i % 50), 1000 * (1 + i % 97)
        params = 12 * width**2 * 2 + 258 * width
        spec = {
            "schema": 1,
            "kind": "run",
            "run_id": run_id,
            "config": {"seed": i % 5},
            "data_digest": "0" * 12,
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        row = {
            "run_id": run_id,
            "seed": i % 5,
            "trunk": None,
            "source": "synthetic",
            "width": width,
            "layers": 2,
            "params_total": params,
            "params_embedding": 258 * width,
            "params_head": 258 * width,
            "params_matrices": 24 * width**2,
            "params_vectors": 4 * width,
            "tokens": tokens,
            "unique_tokens": None,
            "entropy_rate_nats": 1.25,
            "batch_tokens": 1024,
            "learning_rate": 0.01,
            "flops_6nd": 6.0 * params * tokens,
            "flops_exact": 6.1 * params * tokens,
            "flops_chinchilla": 6.2 * params * tokens,
            "flops_palm": 6.3 * params * tokens,
            "flops_kaplan": 6.4 * params * tokens,
            "energy_joules": None,
            "energy_source": "none",
            "git_commit": "0" * 40,
            "status": "ok",
            "loss_nats": 2 + 30 / params**0.3 + 30 / tokens**0.3,
            "loss_se": 0.001,
            "bits_per_byte": 2.9,
            "train_loss_nats": 2.5,
            "pack": "serial",
            "device": "cpu",
            "device_seconds": 1.5,
            "compile_seconds": 2.5,
        }
        if i % 10:
            result = {"schema": 1, "row": row, "abilities": []}
            (folder / "result.json").write_text(json.dumps(result, indent=1))
            (folder / "metrics.jsonl").write_text(_log(records, tokens))
            (folder / "final" / str(records * 20)).mkdir(parents=True)
        keys = ("run_id", "trunk", "seed", "source", "width", "layers", "params_total", "tokens", "flops_6nd")
        cells.append({**{key: row[key] for key in keys}, "grid": "g", "held_out": i % 100 == 1})
    (root / "studies").mkdir()
    for k in range(studies):
        study = {"schema": 1, "study": f"s{k}", "cells": cells[k::studies]}
        (root / "studies" / f"s{k}.json").write_text(json.dumps(study, indent=1))


def _log(records: int, tokens: int) -> str:
    lines = (
        {"step": 20 * i, "tokens": tokens * i // records, "loss_nats": 2.5 + 1 / i, "grad_norm": 0.123456789}
        for i in range(1, records + 1)
    )
    return "".join(json.dumps({**line, "update_ratio": 0.0012, "max_logit": 3.25}) + "\n" for line in lines)


def main(runs: int, root: Path) -> None:
    if not root.exists():
        started = time.perf_counter()
        fill(root, runs, records=50)
        print(f"{runs} run folders written to {root} in {time.perf_counter() - started:.1f} s")
    out = root / "table.csv"
    measure("table", str(root), "--out", str(out))
    print(f"{len(out.read_text().splitlines()) - 1} rows")
    measure("status", str(root))
    measure("status", str(root))


def measure(*words: str) -> None:
    """Prints what a verb takes, and the first line that it says."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-m", "lab", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"lab {words[0]}: {time.perf_counter() - started:.2f} s ({cpu:.2f} s of CPU), ", end="")
    print(f"peak memory of any so far {after.ru_maxrss / 1024:.0f} MB")
    print("".join(f"    {line}\n" for line in done.stdout.splitlines()[:3]), end="")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    folder = sys.argv[2] if len(sys.argv) > 2 else Path(tempfile.gettempdir()) / f"crowd-{count}"
    main(count, Path(folder))
