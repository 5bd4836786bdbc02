"""Folders of one user alone: caches, whose programs are executed, and job files, which are unpickled."""

import contextlib
import os
import stat
from pathlib import Path

from lab.errors import InputError


def cache_folder() -> Path:
    """The folder of compiled programs, tokenized data and measured speeds; made, and for this user alone.

    Raises:
        InputError: where it is a link or another user's.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "scaling-law-lab"
    with contextlib.suppress(OSError):  # a home that cannot be written: whoever keeps something there says so
        make_private(folder)
    return folder


def make_private(folder: Path) -> None:
    """Make the folder where there is none, and take its rights from group and others.

    Raises:
        InputError: where it is a link, a file or another user's.
        OSError: where it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise InputError(f"{folder}: should be a folder of its own, is a link")
    if found.st_uid != os.geteuid():
        raise InputError(f"{folder}: belongs to another user; what lies in it would be executed")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def changed_by_others(folder: Path) -> Path | None:
    """The nearest folder above in which another user could put something else in this one's place."""
    for above in folder.absolute().parents:
        found = above.stat()
        shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if shared or found.st_uid not in (0, os.geteuid()):
            return above
    return None
