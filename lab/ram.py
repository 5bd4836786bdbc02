"""How much memory this machine has, and how much of it is free: the one reader of it."""

import os
from pathlib import Path
from typing import NamedTuple


class Ram(NamedTuple):
    """Bytes; None where the machine does not tell."""

    free: int | None
    total: int | None


def ram() -> Ram:
    """What Linux says is available without swapping; elsewhere all there is counts as free."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return Ram(*(int(found[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal")))
    except (OSError, KeyError, ValueError):
        pass
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return Ram(None, None)
    return Ram(total, total)
