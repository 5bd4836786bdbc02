"""What the file system of a store offers, found by trying, before anything is trained.

Claims rest on exclusive creation, checkpoints on renaming: a store without them is refused. Hard links make
a commit exclusive and whole in one step; where there are none (object stores mounted as folders, some network
shares), :func:`put` renames what is whole, and the claim keeps others away. Without fsync a power cut may
take what was committed last.
"""

import contextlib
import errno
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from lab import files
from lab.errors import InputError

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


@dataclass(frozen=True)
class Offers:
    """Each: whether it works as it should."""

    exclusive: bool  # a file that is there cannot be created again
    link: bool  # a second name for a file, refused where the name is taken
    rename: bool  # of files over others, and of folders
    fsync: bool  # of files and folders

    def notes(self) -> list[str]:
        """What is done instead of what is missing, for the user."""
        found = []
        if not self.link:
            found.append("no hard links here: results are committed by renaming, guarded by claims alone")
        if not self.fsync:
            found.append("no fsync here: a power cut may take what was committed last")
        return found


def look(root: Path) -> Offers:
    """Tries all of it in a folder of its own below ``root``, which must exist.

    Raises:
        OSError: where the folder takes no files at all.
    """
    folder = root / f".offers.{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        one, two = folder / "one", folder / "two"
        one.write_text("1")
        two.write_text("2")
        return Offers(_is_exclusive(folder), _links(folder, one, two), _renames(folder), _flushes(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(root: Path) -> list[str]:
    """Notes on what is missing and gone without.

    Raises:
        InputError: one line, where a store cannot be kept here.
        OSError: where the folder takes no files at all.
    """
    found = look(root)
    needed = {
        "exclusive creation of files, which claims need": found.exclusive,
        "renaming of files and folders, which checkpoints need": found.rename,
    }
    if missing := [what for what, is_there in needed.items() if not is_there]:
        raise InputError(
            f"{root}: this file system lacks {' and '.join(missing)}; choose a folder on a local disk, NFS, "
            "Lustre or GPFS, and copy the store afterwards"
        )
    return [f"{root}: {note}" for note in found.notes()]


def put(staged: Path, target: Path) -> None:
    """Give a whole file its name, once. Raises FileExistsError where the name is taken."""
    try:
        os.link(staged, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(staged, target)


def _is_exclusive(folder: Path) -> bool:
    place = folder / "exclusive"
    try:
        files.create(place, b"1")
    except OSError:
        return False
    try:
        files.create(place, b"2")
    except FileExistsError:
        return True
    except OSError:
        return False
    return False


def _links(folder: Path, one: Path, two: Path) -> bool:
    target = folder / "linked"
    try:
        os.link(one, target)
    except OSError:
        return False
    try:
        os.link(two, target)
    except FileExistsError:
        return True
    except OSError:
        return False
    return False


def _renames(folder: Path) -> bool:
    old, new, place = folder / "old", folder / "new", folder / "place"
    with contextlib.suppress(OSError):
        old.write_text("old")
        new.write_text("new")
        os.replace(new, old)
        place.mkdir()
        (place / "inside").write_text("")
        os.rename(place, folder / "moved")
        return old.read_text() == "new" and not new.exists() and (folder / "moved" / "inside").exists()
    return False


def _flushes(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        for path, flags in ((folder / "one", os.O_RDWR), (folder, os.O_RDONLY)):
            handle = os.open(path, flags)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        return True
    return False
