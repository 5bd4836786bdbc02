"""Checkpoints by Orbax: atomic, verified, independent of the devices that wrote them.

A checkpoint is one run's state as host arrays (never a stacked pack, never a sharded array), so that it can
be resumed on any number of devices and in any packing. With it go the SHA-256 of the state and of each file:
a damaged checkpoint is found when it is read, named, and the one before it is used. Damage is a file that is
missing or has another digest, and nothing else: what a full table of files, a lack of memory or of
permission, or a faulty line to a file server does to a reader leaves the checkpoint as sound as it was.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import time
import uuid
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from lab import files
from lab.runs import file_digests
from lab.runs.file_digests import DamagedCheckpoint
from lab.runs.folder import completed_steps

_DIGEST = "sha256"
_COMMITTED = "commit_success.txt"  # orbax tells in it the whole path of the folder; nobody reads that
_SAID = "Checkpoint commit was successful\n"
_PAUSES = (0.1, 1.0)  # seconds before a checkpoint that cannot be read is read again
logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports each save on its own account


class UnreadCheckpoint(OSError):
    """A checkpoint that could not be read, several times, for a reason that is not in it."""


class Checkpoints:
    """The checkpoints of one run: ``folder/<step>/``.

    Leftovers of interrupted saves and deletions are removed at the next save.
    """

    def __init__(self, folder: Path, writes: bool = True):
        self.folder, self.writes = Path(folder).absolute(), writes
        # the plain tree handler takes 20 ms a save of a small run, a manager 50 to 150 ms
        if jax.distributed.is_initialized():  # orbax would wait for the other processes, which have no part
            me = jax.process_index()
            alone = ocp.options.MultiprocessingOptions(me, {me}, f"process{me}")
            handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
            self._orbax = ocp.Checkpointer(handler, multiprocessing_options=alone)
        else:
            self._orbax = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())

    def steps(self) -> list[int]:
        """Steps of the completed checkpoints, rising."""
        return completed_steps(self.folder)

    def save(self, step: int, tree) -> None:
        """Write ``tree`` (arrays of any kind) as ``step``; returns when it is durable. Replaces nothing."""
        target = self.folder / str(step)
        if target.exists() or not self.writes:
            return
        files.make_folder(self.folder, self.folder.parent)  # refused where it is a link
        for pattern in (".*.saving*", ".*.deleted", "*.orbax-checkpoint-tmp*"):
            for leftover in self.folder.glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)
        host = jax.tree.map(np.asarray, tree)
        staged = self.folder / f".{step}.{uuid.uuid4().hex}.saving"
        self._orbax.save(staged, {"tree": host, _DIGEST: _digest(host)})
        files.write_text(staged / _COMMITTED, _SAID, staged)
        file_digests.write(staged)
        os.rename(staged, target)
        files.sync_folder(self.folder, self.folder)

    def restore(self, step: int, like):
        """The tree of ``step`` as host arrays, in the structure, shapes and types of ``like``.

        Raises:
            DamagedCheckpoint: if files are missing, or if contents, shapes or types differ.
            UnreadCheckpoint: if it could not be read; it is as it was.
        """
        for pause in (*_PAUSES, None):
            try:
                return self._read(step, like)
            except DamagedCheckpoint:
                raise
            except Exception as error:
                if pause is None:
                    where = self.folder / str(step)
                    reason = str(error).splitlines()[0] if str(error) else "no message"
                    raise UnreadCheckpoint(
                        f"{where}: cannot be read, and is left as it is ({type(error).__name__}: {reason})"
                    ) from error
                time.sleep(pause)

    def _read(self, step: int, like):
        where = self.folder / str(step)
        digests = file_digests.check(where)
        wanted = jax.tree.map(lambda a: np.empty(a.shape, a.dtype), like)
        try:
            found = self._orbax.restore(
                where, args=ocp.args.PyTreeRestore({"tree": wanted, _DIGEST: np.empty(32, np.uint8)})
            )
        except Exception as error:  # orbax and tensorstore raise many kinds
            if digests or (
                isinstance(error, (OSError, MemoryError)) and not isinstance(error, FileNotFoundError)
            ):
                raise  # the files are as they were written
            raise DamagedCheckpoint(f"{where}: cannot be read ({type(error).__name__})") from error
        tree = jax.tree.map(np.asarray, found["tree"])
        leaves = zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(wanted), strict=True)
        for (path, a), b in leaves:
            if a.shape != b.shape or a.dtype != b.dtype:  # orbax casts silently
                name = jax.tree_util.keystr(path)
                raise DamagedCheckpoint(
                    f"{where}: {name} is {a.dtype}{a.shape}, should be {b.dtype}{b.shape}"
                )
        if not np.array_equal(_digest(tree), np.asarray(found[_DIGEST])):
            raise DamagedCheckpoint(f"{where}: contents do not match their digest")
        return tree

    def set_aside(self, step: int) -> str:
        """Take a damaged checkpoint out of the way; returns its new name. One that is gone is no error."""
        aside = self.folder / f"{step}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / str(step)).rename(aside)
        return aside.name

    def delete(self, step: int) -> None:
        """At once: a kill in the middle leaves no half of a checkpoint under its name."""
        if self.writes:
            going = self.folder / f".{step}.deleted"
            shutil.rmtree(going, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                (self.folder / str(step)).rename(going)
            shutil.rmtree(going, ignore_errors=True)


def _digest(tree) -> np.ndarray:
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        sha.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape} ".encode())
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return np.frombuffer(sha.digest(), np.uint8)
