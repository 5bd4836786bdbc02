"""Kill workers at random moments, again and again: the final bits are those of an undisturbed study.

``python -m benchmarks.kills --kills 50 --pack devices`` prints the counts.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweeps.store import digest

TINY = """
name = "tiny"
batch = 8
model = { layers = 1, heads = 1 }
optimizer = { warmup_tokens = 2_000 }
data = { source = "synthetic", context = 32, val_windows = 64 }
run = { checkpoint_seconds = 0.0, retries = 1_000 }

[[grids]]
name = "language"
tokens = [10_000, 20_000]
seeds = [0, 1]
sizes = [{ width = 8, learning_rate = 0.02 }]
"""


def kill_at_random(study: Path, root: Path, kills: int, seed: int, devices: int = 1) -> dict:
    """Two workers; one of them is killed after a little more work was done, and replaced, again and again."""
    rng, counts = random.Random(seed), {"kills": 0, "starts": 0, "taken_over": 0}
    logs = []

    def start(slot: int):
        counts["starts"] += 1
        cores = sorted(os.sched_getaffinity(0))
        command = [sys.executable, "-m", "lab", "worker", str(study), "--out", str(root)]
        logs.append(tempfile.TemporaryFile("w+"))  # noqa: SIM115  # read when all have ended
        command += ["--cores", str(cores[slot % len(cores)]), "--cpu-devices", str(devices)]
        return subprocess.Popen(command, stderr=logs[-1])

    def signs() -> int:
        found = 0
        for pattern in ("claim", "checkpoints/*", "result.json", "final/*"):
            found += len(list(root.glob(f"runs/*/{pattern}")))
        return found + sum(p.stat().st_size for p in root.glob("runs/*/metrics.jsonl")) // 100

    alive = [start(0), start(1)]
    while counts["kills"] < kills:
        moved, wanted = signs(), rng.randint(1, 6)
        while abs(signs() - moved) < wanted and all(w.poll() is None for w in alive):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        slot = rng.randrange(2)
        if any(w.poll() is not None for w in alive):
            break  # all is done
        alive[slot].kill()
        alive[slot].wait()
        counts["kills"] += 1
        alive[slot] = start(slot)
    codes = [worker.wait(timeout=300) for worker in alive]
    assert codes == [0, 0], codes
    for log in logs:
        log.seek(0)
        text = log.read()
        assert "Traceback" not in text, text
        counts["taken_over"] += text.count("taken over")
    return counts


def kill_study(kills: int, pack: str = "serial") -> str:
    """Enough work for so many kills: budgets grow with them."""
    tokens = [10_000 * max(1, kills // 2), 20_000 * max(1, kills // 2)]
    packed = TINY.replace("retries = 1_000", f'retries = 1_000, pack = "{pack}"')
    return packed.replace("[10_000, 20_000]", str(tokens))


def distances(calm: dict, other: dict) -> dict[str, float]:
    """By run: how far the losses are apart."""
    losses = [{r: json.loads(told)[1] for r, (_, told) in found.items()} for found in (calm, other)]
    return {run_id: abs(losses[1].get(run_id, 9.0) - loss) for run_id, loss in losses[0].items()}


def is_same(calm: dict, killed: dict, within: float) -> dict[str, bool]:
    """By run: the same bits, or losses within a distance where that is not zero."""
    if not within:
        return {run_id: killed.get(run_id) == found for run_id, found in calm.items()}
    return {run_id: apart < within for run_id, apart in distances(calm, killed).items()}


def main(kills: int, seed: int, pack: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "calm.toml").write_text(kill_study(kills))
        (folder / "killed.toml").write_text(kill_study(kills, pack))
        lab = [sys.executable, "-m", "lab"]
        run = [*lab, "run", folder / "calm.toml", "--out", folder / "calm"]
        subprocess.run(run, check=True, capture_output=True)
        devices, within = 1 if pack == "serial" else 2, 0.0
        if pack not in ("serial", "devices"):
            # No bits are promised, and steps at these rates make differences of rounding larger: a killed
            # run, part of it alone and part in a pack, may end as far off as one that nothing disturbed.
            study, out = folder / "killed.toml", folder / "packed"
            worker = [*lab, "worker", study, "--out", out, "--cpu-devices", "2"]
            subprocess.run(worker, check=True, capture_output=True)
            undisturbed = digest.runs(out)
            found = distances(digest.runs(folder / "calm"), undisturbed)
            within = max(1e-5, 10 * max(found.values()))
        counts = {"pack": pack} | kill_at_random(
            folder / "killed.toml", folder / "killed", kills, seed, devices
        )
        calm, killed = digest.runs(folder / "calm"), digest.runs(folder / "killed")
        counts |= {"runs": len(calm), "equal": sum(is_same(calm, killed, within).values())}
        if within:
            counts |= {"within": within, "apart": max(distances(calm, killed).values())}
            counts["apart_from_undisturbed_pack"] = max(distances(undisturbed, killed).values())
        counts["rows"] = len(list(folder.glob("killed/runs/*/result.json")))
        print(json.dumps(counts))
        assert counts["equal"] == len(calm) == len(killed)
        assert counts["kills"] == kills


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", default="devices", help="serial, devices, pmap, vmap or auto")
    main(**vars(parser.parse_args()))
