"""Where and with what a run was made. Recorded beside the result, never part of the run id."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pandas")


def collect() -> dict:
    """Versions, commit, device, host class and flags. Starts jax's backend."""
    import jax

    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "git_commit": git_commit(),
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.local_device_count(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def git_commit() -> str | None:
    """The commit of this source tree, marked when it has changes; None where there is none."""
    where = Path(__file__).parent
    try:
        commit = _git(where, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(where, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(where: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(where), *args], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
