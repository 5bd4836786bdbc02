"""Digests of what a store holds: two stores with the same digest have the same runs, to the last bit.

``python -m sweeps.store.digest DIR...`` prints one line a store. Trained parameters and losses enter;
how long it took, where, in how many attempts does not.
"""

import hashlib
import json
import sys
from pathlib import Path

from lab.runs.folder import RunFolder, completed_steps


def runs(root: Path) -> dict[str, tuple[str, str]]:
    """For each run with a result: the digest of its parameters, and its losses as JSON (all digits).

    Trunks have no result and are left out, like torn results. The parameters are empty where a run diverged.
    """
    found = {}
    for path in sorted((Path(root) / "runs").glob("*/result.json")):
        folder = RunFolder(path.parent, Path(root))
        result = folder.result()
        if result is None:
            continue
        row = result["row"]
        told = [row["status"], row["loss_nats"], row.get("train_loss_nats")]
        told += [[a["task"], a["metric"], a["score"]] for a in result.get("abilities") or ()]
        steps = completed_steps(folder.final)
        found[path.parent.name] = (
            _parameters(folder.final / str(steps[-1])) if steps else "",
            json.dumps(told),
        )
    return found


def of(root: Path) -> str:
    """One digest of all of :func:`runs`."""
    return hashlib.sha256(json.dumps(sorted(runs(root).items())).encode()).hexdigest()


def _parameters(folder: Path) -> str:
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    tree = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).restore(folder.absolute())
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        sha.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape} ".encode())
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{of(Path(name))}  {len(runs(Path(name)))} runs  {name}")
