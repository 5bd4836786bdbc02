"""Checkpoints by Orbax: atomic, verified, independent of the devices that wrote them.

A checkpoint is one run's state as host arrays (never a stacked pack), so that it can be resumed on any number
of devices and in any packing. With it go the SHA-256 of the state and of each file:
a damaged checkpoint is found when it is read, named, and the one before it is used. Damage is a file that is
missing or has another digest, and nothing else: what a full table of files, a lack of memory or of
permission, or a faulty line to a file server does to a reader leaves the checkpoint as sound as it was.

A run over a mesh whose state has ``SHARDED_BYTES`` or more is saved by all its processes, each its own parts,
in the background: no process ever holds all of it. It has no digest of ours (that would be one host reading
everything); parts carry the checksums of their format. The same tree is restored onto any other mesh, or by
one process as host arrays.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from lab import files
from lab.machine import distributed
from lab.runs import file_digests
from lab.runs.fence import Fence
from lab.runs.file_digests import DamagedCheckpoint
from lab.runs.folder import completed_steps, delete_step

_DIGEST = "sha256"
_COMMITTED = "commit_success.txt"  # orbax tells in it the whole path of the folder; nobody reads that
_SAID = "Checkpoint commit was successful\n"
SHARDED_BYTES = 1 << 30
_PAUSES = (0.1, 1.0)  # seconds before a checkpoint that cannot be read is read again
logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports each save on its own account


class UnreadCheckpoint(OSError):
    """A checkpoint that could not be read, several times, for a reason that is not in it."""


class Checkpoints:
    """The checkpoints of one run: ``folder/<step>/``.

    Leftovers of interrupted saves and deletions are removed at the next save.

    Args:
        place: the shardings of a tree of shapes, for saves in parts and in the background; every process must
            then call :meth:`save` and :meth:`wait` together.
        fence: of the run's owner, who writes nothing here once the run is taken over. Of saves in parts,
            which Orbax names itself, only the beginning is held back by it.
    """

    def __init__(
        self, folder: Path, writes: bool = True, place: Callable | None = None, fence: Fence | None = None
    ):
        self.folder, self.writes, self._place, self._fence = Path(folder).absolute(), writes, place, fence
        self._under_way: int | None = None
        self._in_parts = None if place is None else ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
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
        """Write ``tree`` (arrays of any kind) as ``step``; returns when it is durable. Replaces nothing.

        In parts it returns when the parts have left the devices; it is durable, and counts, after
        :meth:`wait`, which the next save begins with.
        """
        self.wait()
        target = self.folder / str(step)
        is_there = target.exists()
        if self._place is not None:
            distributed.wait("looked for a checkpoint")  # nobody writes before all have looked
        if is_there or not (self.writes or self._place):
            return
        if self.writes:
            files.make_folder(self.folder, self.folder.parent)  # refused where it is a link
            for pattern in (".*.saving*", ".*.deleted", "*.orbax-checkpoint-tmp*"):
                for leftover in self.folder.glob(pattern):
                    shutil.rmtree(leftover, ignore_errors=True)
        if self._in_parts is not None:
            self._in_parts.save(target, args=ocp.args.PyTreeSave({"tree": tree}))
            self._under_way = step
            return
        host = jax.tree.map(np.asarray, tree)
        staged = self.folder / f".{step}.{uuid.uuid4().hex}.saving"
        try:
            self._orbax.save(staged, {"tree": host, _DIGEST: _digest(host)})
            files.write_text(staged / _COMMITTED, _SAID, staged)
            file_digests.write(staged)
            self._rename(staged, target)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        files.sync_folder(self.folder, self.folder)

    def wait(self) -> None:
        """Until what was saved in the background is durable. Raises what its writing raised."""
        if self._under_way is None:
            return
        step, self._under_way = self._under_way, None
        self._in_parts.wait_until_finished()
        said = self.folder / str(step) / _COMMITTED
        if self.writes and said.exists():
            files.write_text(said, _SAID, said.parent)
        distributed.wait("saved")

    def restore(self, step: int, like):
        """The tree of ``step`` as host arrays, in the structure, shapes and types of ``like``.

        What was saved in parts comes as arrays over the mesh, where this has one.

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
            whole = digests or _DIGEST in self._orbax.metadata(where).item_metadata.tree
            found = self._orbax.restore(where, args=self._wanted(like, wanted, whole))
        except Exception as error:  # orbax and tensorstore raise many kinds
            if digests or (
                isinstance(error, (OSError, MemoryError)) and not isinstance(error, FileNotFoundError)
            ):
                raise  # the files are as they were written
            raise DamagedCheckpoint(f"{where}: cannot be read ({type(error).__name__})") from error
        tree = found["tree"] if self._place and not whole else jax.tree.map(np.asarray, found["tree"])
        leaves = zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(wanted), strict=True)
        for (path, a), b in leaves:
            if a.shape != b.shape or a.dtype != b.dtype:  # orbax casts silently
                name = jax.tree_util.keystr(path)
                raise DamagedCheckpoint(
                    f"{where}: {name} is {a.dtype}{a.shape}, should be {b.dtype}{b.shape}"
                )
        if whole and not np.array_equal(_digest(tree), np.asarray(found[_DIGEST])):
            raise DamagedCheckpoint(f"{where}: contents do not match their digest")
        return tree

    def _wanted(self, like, host, whole: bool) -> ocp.args.PyTreeRestore:
        if whole:
            return ocp.args.PyTreeRestore({"tree": host, _DIGEST: np.empty(32, np.uint8)})
        if self._place is None:
            how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), host)
            return ocp.args.PyTreeRestore({"tree": host}, restore_args={"tree": how})
        how = jax.tree.map(lambda s: ocp.ArrayRestoreArgs(sharding=s), self._place(like))
        return ocp.args.PyTreeRestore({"tree": like}, restore_args={"tree": how})

    def set_aside(self, step: int) -> str:
        """Take a damaged checkpoint out of the way; returns its new name. One that is gone is no error."""
        aside = self.folder / f"{step}.damaged"
        with contextlib.suppress(FileNotFoundError):
            if aside.exists() and self._fence is not None:
                self._fence.remove(aside)
            shutil.rmtree(aside, ignore_errors=True)
            self._rename(self.folder / str(step), aside)
        return aside.name

    def delete(self, step: int) -> None:
        """At once: a kill in the middle leaves no half of a checkpoint under its name."""
        if self.writes:
            delete_step(self.folder, step, self._fence)

    def _rename(self, old: Path, new: Path) -> None:
        if self._fence is None:
            os.rename(old, new)
        else:
            self._fence.put(old, new)


def _digest(tree) -> np.ndarray:
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        sha.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape} ".encode())
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return np.frombuffer(sha.digest(), np.uint8)
