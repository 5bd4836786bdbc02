"""How much a packed file may hold: a small one that unpacks without end fills the disk or the memory."""

from pathlib import Path

from lab.errors import InputError

UNPACKED, RATIO = 1 << 28, 32  # a packed file may hold so many bytes, or so many times its own size


def most(path: Path) -> int:
    """Bytes that a packed file may hold."""
    return max(UNPACKED, RATIO * path.stat().st_size)


def too_large(path: Path, beyond: int, remedy: str) -> InputError:
    return InputError(f"{path}: unpacked, it has more than {beyond:,} bytes, which no text has; {remedy}")
