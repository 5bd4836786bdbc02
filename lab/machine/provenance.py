"""Where and with what a run was made. Recorded beside the result, never part of the run id."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Literal

Detail = Literal["names", "full"]
# A path from the root or a home folder; not what stands in an address or a relative path.
_PATH = re.compile(r"(?<![\w/.:~])(?:~\w*)?/(?!/)[^\s,;=:'\"]+")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pandas")


def collect(detail: Detail = "names") -> dict:
    """Versions, commit, device, host class and flags. Starts jax's backend.

    A store is made to be shared: the command and the flags hold the last part of each whole path, and no host
    is named. `full` keeps the paths, and tells the host and the working folder.
    """
    import jax

    device = jax.devices()[0]
    tell = without_folders if detail == "names" else str
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "git_commit": git_commit(),
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.local_device_count(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "xla_flags": tell(os.environ.get("XLA_FLAGS", "")),
        "command": tell(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        **({"host": platform.node(), "folder": os.getcwd()} if detail == "full" else {}),
    }


def without_folders(text: str) -> str:
    """The text with the last part alone of each whole path: `--out /home/me/runs` is `--out runs`."""
    return _PATH.sub(lambda found: Path(found[0]).name, text)


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
