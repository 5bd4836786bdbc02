"""What a file system lacks is found before training, and gone without or refused."""

import errno
import os

import pytest

from lab import file_system, files
from lab.errors import InputError
from lab.runs import claims
from lab.runs.folder import RunFolder


def refuse(*_, **__):
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def test_all_is_there_and_nothing_is_left_behind(tmp_path):
    assert file_system.look(tmp_path) == file_system.Offers(True, True, True, True)
    assert file_system.check(tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("broken", "note"), [("link", "no hard links here"), ("fsync", "no fsync here: a power cut")]
)
def test_what_can_be_gone_without_is_a_note(tmp_path, monkeypatch, broken, note):
    monkeypatch.setattr(os, broken, refuse)
    (line,) = file_system.check(tmp_path)
    assert line.startswith(f"{tmp_path}: {note}")
    files.write_text(tmp_path / "a", "b")
    assert (tmp_path / "a").read_text() == "b"


def test_a_store_without_exclusive_creation_or_renaming_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(files, "create", lambda path, content, root=None: path.write_bytes(content))
    with pytest.raises(InputError, match=r"exclusive creation .* and renaming") as refused:
        file_system.check(tmp_path)
    assert len(refused.value.problems) == 1
    assert not list(tmp_path.iterdir())


def test_a_claim_and_a_commit_without_links_have_one_winner(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    me = claims.Owner.me()
    claim = claims.take(tmp_path / "claim", me)
    assert claim.is_mine()
    assert claims.take(tmp_path / "claim", me, is_stale=lambda held: False) is None
    monkeypatch.setattr(claims, "read", lambda path: None)  # as two that look at one moment
    assert claims.take(tmp_path / "claim", me) is None
    monkeypatch.undo()
    monkeypatch.setattr(os, "link", refuse)
    claims._clear(claims.read(tmp_path / "claim"))
    assert not list(tmp_path.iterdir())

    staged, target = tmp_path / "staged", tmp_path / "result"
    staged.write_text("first")
    file_system.put(staged, target)
    staged.write_text("second")
    with pytest.raises(FileExistsError):
        file_system.put(staged, target)
    assert target.read_text() == "first"


def test_a_torn_result_is_replaced_without_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    folder = RunFolder(tmp_path)
    (tmp_path / "result.json").write_text('{"schema"')
    folder.commit({"schema": 1, "row": {"run_id": "x", "status": "ok"}, "abilities": []})
    assert '"run_id": "x"' in (tmp_path / "result.json").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
