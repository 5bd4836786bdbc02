"""How a file is opened, and how one is written: one way each, for files of anybody's making.

A file is **opened** only if it is a regular one within a stated size, by a call that no FIFO and no device
can hold up. It is **written** as a temporary file of an unpredictable name, made exclusively in the same
folder, flushed to the disk, and then put in its place: a link there is replaced, what it led to stays.

``root`` is the folder that the user named. It may be a link itself; below it none is followed, so that
nothing outside is read or overwritten. Without a root the path itself was named: reading follows its links.

``lab/files.py`` and ``analysis/files.py`` are one text, since neither package imports the other: a test
compares them.
"""

import contextlib
import difflib
import errno
import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from analysis.errors import InputError

LIMIT = 1 << 26  # bytes of a file that is read whole, where nothing else is said
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)  # what systems say of a link that is not to be followed


class Refused(InputError):
    """A file or folder that is there and is not taken: a link, a device, too large, or torn."""


def opened(path: Path, root: Path | None = None, limit: int = LIMIT) -> BinaryIO:
    """The file, open for reading.

    Raises:
        FileNotFoundError: where there is none.
        Refused: where it is a link below ``root``, no regular file, or longer than ``limit`` bytes.
    """
    if root is None:
        handle = _taken(path, lambda: os.open(path, _READ))
    else:
        with _folder(path, root) as folder:
            name = Path(path).name
            handle = _taken(path, lambda: os.open(name, _READ | os.O_NOFOLLOW, dir_fd=folder))
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise Refused(f"{path}: is no regular file")
    if found.st_size > limit:
        os.close(handle)
        raise Refused(f"{path}: has {found.st_size} bytes; read are files of up to {limit}")
    return os.fdopen(handle, "rb")


def missing(path: Path, what: str = "no such file or folder") -> str:
    """The line of an error for a path that is not there, with the name beside it that may be meant."""
    try:
        # by stems: most files of a folder have an ending in common
        beside = {Path(name).stem: name for name in sorted(os.listdir(path.parent))}
    except (OSError, ValueError):
        beside = {}
    near = difflib.get_close_matches(path.stem, beside, n=1, cutoff=0.7)
    return f"{path}: {what}" + (f"; did you mean {path.parent / beside[near[0]]}?" if near else "")


def read_bytes(path: Path, root: Path | None = None, limit: int = LIMIT) -> bytes:
    """All of the file; raises as :func:`opened` does."""
    with opened(path, root, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:  # it grew
        raise Refused(f"{path}: has more than {limit} bytes")
    return content


def read_text(path: Path, root: Path | None = None, limit: int = LIMIT) -> str:
    """All of a file in UTF-8; raises as :func:`opened` does, and Refused where it is not UTF-8."""
    try:
        return read_bytes(path, root, limit).decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: is not UTF-8 text (byte {error.start})") from None


def read_json(path: Path, root: Path | None = None, limit: int = LIMIT) -> Any:
    """The value, or None where there is no such file; raises Refused where what is there is not JSON."""
    try:
        return json.loads(read_text(path, root, limit))
    except FileNotFoundError:
        return None
    except Refused:
        raise
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path}: is not whole JSON: {error}") from None


@contextlib.contextmanager
def writing(path: Path, root: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write (and reread), put in the place of ``path`` when all was written. Makes folders.

    Readers see the old file or the new one, also after a power cut; where writing fails, the old one.

    Raises:
        Refused: where a folder below ``root`` is a link, or a file that was named is a device or a folder.
    """
    if root is None:
        _check_named(path)
    name, temporary = Path(path).name, f".{uuid.uuid4().hex}.tmp"
    with _folder(path, root or Path(path).parent, make=True) as folder:
        with os.fdopen(os.open(temporary, _NEW, 0o666, dir_fd=folder), "w+b") as file:
            try:
                yield file
                file.flush()
                _flush(file.fileno())
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(temporary, dir_fd=folder)  # on a full disk, what is half written must go first
                raise
        _flush(folder)


def write_bytes(path: Path, content: bytes, root: Path | None = None) -> None:
    """Replace the file, as :func:`writing` does."""
    with writing(path, root) as file:
        file.write(content)


def write_text(path: Path, text: str, root: Path | None = None) -> None:
    """Replace the file by text in UTF-8, as :func:`writing` does."""
    write_bytes(path, text.encode(), root)


def write_json(path: Path, value: Any, root: Path | None = None) -> None:
    """Replace the file by a value that has no NaN, as :func:`writing` does."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n", root)


def create(path: Path, content: bytes, root: Path | None = None) -> None:
    """Write a new file, flushed to the disk. Raises FileExistsError, and Refused as :func:`writing` does."""
    name = Path(path).name
    with _folder(path, root or Path(path).parent, make=True) as folder:
        with os.fdopen(os.open(name, _NEW, 0o666, dir_fd=folder), "wb") as file:
            try:
                file.write(content)
                file.flush()
                _flush(file.fileno())
            except BaseException:
                os.unlink(name, dir_fd=folder)
                raise
        _flush(folder)


def append(path: Path, content: bytes, root: Path | None = None) -> None:
    """Add to the end of a regular file, made where there is none. Raises Refused as :func:`writing` does."""
    name = Path(path).name
    with _folder(path, root or Path(path).parent, make=True) as folder:
        handle = _taken(path, lambda: os.open(name, _APPEND, 0o666, dir_fd=folder))
        with os.fdopen(handle, "wb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Refused(f"{path}: is no regular file")
            file.write(content)


def make_folder(path: Path, root: Path) -> None:
    """The folder, and those on the way from ``root``. Raises Refused where one of them is a link."""
    with _folder(Path(path) / "_", root, make=True):
        pass


def sync_folder(path: Path, root: Path) -> None:
    """Flush the names in a folder to the disk."""
    with _folder(Path(path) / "_", root) as folder:
        _flush(folder)


def _flush(handle: int) -> None:
    """To the disk, where the file system can; `lab run` and `lab train` tell where it cannot."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise


@contextlib.contextmanager
def _folder(path: Path, root: Path, make: bool = False) -> Iterator[int]:
    """The folder that holds ``path``, opened step by step from ``root``: no link can be put in between."""
    root, steps = Path(root), Path(path).relative_to(root).parts[:-1]
    if ".." in steps:
        raise Refused(f"{path}: leads out of {root}")
    if make:
        root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root, _FOLDER)
    try:
        for at, step in enumerate(steps, 1):
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(step, dir_fd=handle)
            outer, where = handle, os.path.join(root, *steps[:at])
            handle = _taken(where, lambda: os.open(step, _FOLDER | os.O_NOFOLLOW, dir_fd=outer))  # noqa: B023
            os.close(outer)
        yield handle
    finally:
        os.close(handle)


def _taken(path: Path | str, call) -> int:
    """What ``call`` opens; Refused in place of the errors by which systems tell of links and sockets."""
    try:
        return call()
    except OSError as error:
        if error.errno in _LINK:
            raise Refused(f"{path}: is a link or no folder; no link is followed here") from None
        if error.errno in (errno.ENXIO, errno.EISDIR):
            raise Refused(f"{path}: is no regular file") from None
        if error.filename is not None:
            error.filename = str(path)
        raise


def _check_named(path: Path) -> None:
    """Devices are not replaced by files, though their folder might allow it: `--out /dev/stdout`."""
    whole = Path(path).absolute()
    try:
        is_file = stat.S_ISREG(os.stat(whole).st_mode)
    except FileNotFoundError:
        is_file = True
    if not is_file or (whole.parts[1:2] in (("dev",), ("proc",)) and whole.parts[2:3] != ("shm",)):
        raise Refused(f"{path}: is no regular file; name one that can be replaced")
