"""A checkpoint is damaged where a file is missing or has another digest, and for no other reason."""

import errno
import json
import os

import numpy as np
import pytest

from lab.runs import checkpoint, file_digests
from lab.runs.checkpoint import Checkpoints, DamagedCheckpoint, UnreadCheckpoint

TREE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.int32(7)}


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_PAUSES", (0.0, 0.0))
    store = Checkpoints(tmp_path)
    store.save(7, TREE)
    assert store.steps() == [7]
    return store


FAULTS = [
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EMFILE, "Too many open files"),
    MemoryError(),
    PermissionError(errno.EACCES, "Permission denied"),
    ValueError("RESOURCE_EXHAUSTED: Error opening file"),  # as tensorstore says it
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("where", ["a file", "orbax"])
def test_what_lies_outside_a_checkpoint_is_tried_again_and_then_told(fault, where, saved, monkeypatch):
    calls = []

    def failing(times: int, real):
        def call(*args, **kwargs):
            calls.append(args)
            if len(calls) <= times:
                raise fault
            return real(*args, **kwargs)

        return call

    owner, name = (file_digests, "_of") if where == "a file" else (saved._orbax, "restore")
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, failing(2, real))
    np.testing.assert_array_equal(saved.restore(7, TREE)["a"], TREE["a"])
    calls.clear()
    monkeypatch.setattr(owner, name, failing(10**6, real))
    with pytest.raises(UnreadCheckpoint, match=r"7: cannot be read, and is left as it is"):
        saved.restore(7, TREE)
    assert len(calls) == 3
    assert saved.steps() == [7]


def test_a_checkpoint_tells_no_path_and_its_staged_name_cannot_be_foretold(tmp_path, monkeypatch):
    """Before: orbax wrote the folder's whole path beside each checkpoint; it was staged as `.7.saving`."""
    staged, store = [], Checkpoints(tmp_path / "a")
    real = store._orbax.save
    monkeypatch.setattr(
        store._orbax, "save", lambda path, *rest: (staged.append(path.name), real(path, *rest))
    )
    store.save(7, TREE)
    store.save(8, TREE)
    assert len({name.removeprefix(".7").removeprefix(".8") for name in staged}) == 2
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    assert [path for path in files if str(tmp_path).encode() in path.read_bytes()] == []
    np.testing.assert_array_equal(store.restore(7, TREE)["a"], TREE["a"])


@pytest.mark.parametrize(
    "plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["fifo", "link"]
)
@pytest.mark.parametrize("name", ["_METADATA", "more"])
def test_a_link_or_a_fifo_in_a_foreign_checkpoint_is_damage(saved, name, plant):
    """Before: without files.json, orbax read what a link led to, and waited for ever for a FIFO."""
    (saved.folder / "7" / "files.json").unlink()
    (saved.folder / "7" / name).unlink(missing_ok=True)
    plant(saved.folder / "7" / name)
    with pytest.raises(DamagedCheckpoint, match=f"{name}: is no regular file"):
        saved.restore(7, TREE)


def test_each_file_that_is_missing_or_changed_is_damage(saved):
    names = json.loads((saved.folder / "7" / "files.json").read_text())
    assert len(names) > 3
    for name in names:
        file = saved.folder / "7" / name
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(DamagedCheckpoint, match=f"{file.name} is missing"):
            saved.restore(7, TREE)
        file.write_bytes(content[:-1])
        with pytest.raises(DamagedCheckpoint, match="does not match its digest"):
            saved.restore(7, TREE)
        file.write_bytes(content)
    (saved.folder / "7" / "files.json").write_text("{")
    with pytest.raises(DamagedCheckpoint, match="is not whole JSON"):
        saved.restore(7, TREE)
    (saved.folder / "7" / "files.json").unlink()  # as checkpoints were written before
    assert saved.restore(7, TREE)["step"] == 7
