"""A peer in PyTorch, where there is one: which of its modes is fastest here, and how fast."""

import subprocess
from itertools import product
from pathlib import Path

PEER = Path(__file__).with_name("torch_peer.py")  # run by a Python that has torch; ours never imports it
_BATCHES = (8, 32)


def available(python: str) -> str | None:
    """Why there is no peer to measure against; None if there is."""
    try:
        found = subprocess.run(
            [python, "-c", "import torch"],
            capture_output=True,
            timeout=120,
            cwd=PEER.parent,  # which -c puts on the path, and not every torch is of a Python that knows -P
        )
    except OSError as error:
        return f"{python}: {error.strerror}"
    return f"{python} has no torch" if found.returncode else None


def modes() -> list[dict]:
    """Eager and compiled, small and large batch: what differs between the peer's candidates."""
    return [{"compiled": compiled, "batch": batch} for compiled, batch in product((False, True), _BATCHES)]


def name(mode: dict) -> str:
    return f"{'compiled' if mode['compiled'] else 'eager'}, batch {mode['batch']}"
