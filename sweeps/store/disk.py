"""Telling a store that takes no more files from a cell that is at fault, and a folder from another one."""

import errno
import os
import uuid
from pathlib import Path

from lab.files import Refused, create, read_json, write_json
from lab.objects import Unreachable

_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_WORDS = tuple(os.strerror(number) for number in _ERRNOS)  # as storage libraries quote them
_PROBE_BYTES = 1 << 18


class StoreFault(OSError):
    """The store cannot be written. No cell is at fault, and none is given up."""


def store_fault(error: BaseException, root: Path) -> StoreFault | None:
    """What is wrong with the store if that is what raised ``error``, else None."""
    told = error
    while told is not None:
        if isinstance(told, Unreachable):
            return StoreFault(str(told))
        number = told.errno if isinstance(told, OSError) else None
        words = next((w for w in _WORDS if w in str(told)), None)
        if number in _ERRNOS or words:
            return StoreFault(f"{root}: {words or os.strerror(number)}")
        told = told.__cause__ or told.__context__
    if not root.is_dir():  # what writes would make it anew, empty
        return StoreFault(f"{root}: {os.strerror(errno.ENOENT)}")
    try:  # libraries may hide the reason: does the store take a file?
        probe(root, _PROBE_BYTES)
    except OSError as found:
        return StoreFault(f"{root}: {found.strerror}")
    return None


def probe(root: Path, size: int = 0) -> None:
    """Whether the folder takes a file. Raises OSError with the system's reason."""
    path = root / f".probe.{uuid.uuid4().hex}"
    try:
        create(path, b"\0" * size, root)
    finally:
        path.unlink(missing_ok=True)


def identity(root: Path) -> str:
    """The name that a store was given when it was made; made now where it has none that can be read."""
    found = _identity(root)
    if found is None:
        write_json(root / "store.json", {"schema": 1, "id": uuid.uuid4().hex}, root)
        found = _identity(root)
    return found or ""


def is_seen(root: Path, name: str) -> bool:
    """Whether this machine sees the store of that identity at ``root``, and not a folder of its own."""
    return _identity(root) == name


def _identity(root: Path) -> str | None:
    try:
        found = read_json(root / "store.json", root)
    except Refused:
        return None
    return name_in(found)


def name_in(found: object) -> str | None:
    """The name that a ``store.json`` holds."""
    name = found.get("id") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None
