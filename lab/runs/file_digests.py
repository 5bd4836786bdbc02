"""The SHA-256 of each file of a checkpoint, kept beside them: whether they are as written, without jax."""

import hashlib
import os
import stat
from pathlib import Path

from lab import files

_NAME = "files.json"


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be trusted; the text names the folder and what is wrong."""


def write(where: Path) -> None:
    """Keep the digests of all files in the folder of a checkpoint."""
    paths = sorted(path for path in where.rglob("*") if path.is_file())
    found = {str(path.relative_to(where)): _of(path, where) for path in paths}
    files.write_json(where / _NAME, found, where)


def check(where: Path) -> bool:
    """Whether digests are kept (they were not always).

    Raises:
        DamagedCheckpoint: where a file is missing or differs, or is a link or a device, listed or not: orbax
            would follow the one and wait for the other.
        OSError: where one cannot be read, which is no damage.
    """
    for path in (where, *where.rglob("*")):
        if os.path.lexists(path) and stat.S_IFMT(path.lstat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise DamagedCheckpoint(f"{path}: is no regular file")
    try:
        wanted = files.read_json(where / _NAME, where)
    except files.Refused as refused:
        raise DamagedCheckpoint(f"{where}: {refused}") from refused
    if wanted is None:
        return False
    if not isinstance(wanted, dict) or any(Path(name).is_absolute() for name in wanted):
        raise DamagedCheckpoint(f"{where}: {_NAME} holds no digests")
    for name, digest in wanted.items():
        try:
            found = _of(where / name, where)
        except FileNotFoundError as missing:
            raise DamagedCheckpoint(f"{where}: {name} is missing") from missing
        except files.Refused as refused:
            raise DamagedCheckpoint(str(refused)) from refused
        if found != digest:
            raise DamagedCheckpoint(f"{where}: {name} does not match its digest")
    return True


def _of(path: Path, root: Path) -> str:
    with files.opened(path, root, limit=1 << 50) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
