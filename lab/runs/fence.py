"""How the owner of a run writes, so that it cannot once another process has taken the run over.

To look at the claim and to write are two steps. A process that is stopped between them (SIGSTOP, the lid of a
laptop) wakes minutes later and writes into what another has trained and committed meanwhile. So who takes a
run over makes a folder of its own in the run's, its *fence*, and takes the fences of all before it away. A
file or folder gets its name by a rename out of the owner's fence, and loses it by a rename into it. A rename
is one step, and fails where its folder is gone: so each write of an owner comes before the take-over, or not
at all.

Logs are appended to through a file that stays open. Who takes over puts copies in their places, so that what
an owner before it has open is no file of the run any more.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

_NAME = ".fence."


class Lost(Exception):
    """The run belongs to another process by now; nothing more may be written here."""


class Fence:
    """A folder of one owner in the folder of a run, which must be there."""

    def __init__(self, folder: Path):
        self.path = folder / f"{_NAME}{uuid.uuid4().hex}"
        self.path.mkdir()

    def put(self, staged: Path, target: Path) -> None:
        """Give a whole file or folder its name; a file replaces one, a folder replaces an empty one.

        Raises:
            Lost: where the run was taken over.
            OSError: where the name is taken.
        """
        over = self.path / uuid.uuid4().hex
        with self._held():
            os.rename(staged, over)
            os.rename(over, target)

    def remove(self, target: Path) -> None:
        """Remove a file or folder, at once; one that is gone is no error. Raises Lost."""
        away = self.path / uuid.uuid4().hex
        try:
            with self._held():
                os.rename(target, away)
        except FileNotFoundError:
            return
        _erase(away)

    def clear(self) -> None:
        """The owner gives the run back."""
        _erase(self.path)

    @contextlib.contextmanager
    def _held(self):
        try:
            yield
        except FileNotFoundError as error:
            if not self.path.is_dir():
                raise Lost(f"{self.path.parent}: another process took this run over") from error
            raise


def take_over(folder: Path, patterns: tuple[str, ...], check: Callable[[], None]) -> Fence:
    """The fence of a new owner. Those of all before are gone, and what they staged under these patterns.

    Args:
        check: raises where the run belongs to yet another by now. That one's fence is then not among those
            which are taken away, and it takes this one away.
    """
    found = [path for pattern in (f"{_NAME}*", *patterns) for path in folder.glob(pattern)]
    fence = Fence(folder)
    try:
        check()
    except BaseException:
        fence.clear()
        raise
    for path in found:
        with contextlib.suppress(FileNotFoundError):
            if path.name.startswith(_NAME):  # at once, though its owner may be writing in it
                away = path.with_name(f".{uuid.uuid4().hex}.deleted")
                os.rename(path, away)
                path = away
            _erase(path)
    return fence


def _erase(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
