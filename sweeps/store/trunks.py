"""Checkpoints of trunks, which are large and serve their branches alone: removed once none waits for them."""

from lab.runs import claims
from lab.runs.fence import Lost
from sweeps.store.store import Store


def is_needed(store: Store, trunk: str) -> bool:
    """Whether a cell of any study in the store may yet start from it: one that neither ended nor diverged."""
    there = store.names()
    for path in store.study_files():
        for cell in store.study(path)["cells"]:
            if cell.get("trunk") != trunk:
                continue
            if store.state(cell["run_id"], trunk, there) not in ("done", "diverged"):
                return True
    return False


def collect(store: Store, trunk: str, owner: claims.Owner) -> bool:
    """Remove them where nobody needs them and nobody works on the trunk; its records stay.

    A study that later asks for another budget of the size trains the trunk again.
    """
    folder = store.run(trunk)
    if not folder.steps() or is_needed(store, trunk):
        return False
    claim = store.claim(trunk, owner)
    if claim is None:
        return False
    try:
        folder.withdraw(lambda: claims.check(claim, trunk))
        for step in folder.steps():
            folder.drop(step)
    except Lost:
        return False  # who has it now trains it again, or removes them
    finally:
        folder.leave()
        claim.release()
    return True
