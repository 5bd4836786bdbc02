"""The opener and the writer: what they refuse, whatever lies in a folder; nothing else is touched."""

import json
import os
import shutil
import stat
from importlib import import_module
from pathlib import Path

import pytest

from tests.security.hold_up import at_once

BOTH = ("lab", "analysis")


@pytest.fixture(params=BOTH)
def files(request):
    return import_module(f"{request.param}.files")


@pytest.fixture
def store(tmp_path):
    """A folder with a run, beside a secret that is none of its business."""
    (tmp_path / "store" / "runs" / "a").mkdir(parents=True)
    (tmp_path / "secret").write_text('{"key": "hunter2"}')
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "result.json").write_text('{"key": "hunter2"}')
    return tmp_path / "store"


TWICE = [("lab.files", "analysis.files"), ("lab.runs.contents", "analysis.tables.contents")]


@pytest.mark.parametrize("pair", TWICE)
def test_both_packages_have_one_text(pair):
    first, second = (Path(import_module(name).__file__).read_text() for name in pair)
    assert second == first.replace("from lab.errors", "from analysis.errors")


def test_a_regular_file_is_read(files, store):
    path = store / "runs" / "a" / "result.json"
    assert files.read_json(path, store) is None
    with pytest.raises(FileNotFoundError):
        files.read_bytes(path, store)
    path.write_text('{"é": 1}')
    assert files.read_json(path, store) == {"é": 1}
    assert files.read_json(path) == {"é": 1}


@pytest.mark.parametrize(
    "plant",
    [
        lambda path, out: path.symlink_to(out / "secret"),
        lambda path, out: path.symlink_to("../../../secret"),
        lambda path, out: path.symlink_to(out / "nothing"),
        lambda path, out: (path.parent.rmdir(), path.parent.symlink_to(out / "elsewhere")),
        lambda path, out: (path.parent.rmdir(), path.parent.write_text("")),
        lambda path, out: (shutil.rmtree(path.parents[1]), path.parents[1].symlink_to("..")),
        lambda path, out: os.mkfifo(path),
        lambda path, out: path.symlink_to("/dev/zero"),
        lambda path, out: path.mkdir(),
    ],
    ids=["link", "relative", "dangling", "folder", "no folder", "runs", "fifo", "zero", "is a folder"],
)
def test_what_is_no_file_of_the_store_is_refused_in_a_line(files, store, plant):
    path = store / "runs" / "a" / "result.json"
    plant(path, store.parent)
    with at_once(), pytest.raises((files.Refused, FileNotFoundError)) as refused:
        files.read_bytes(path, store)
    assert "\n" not in str(refused.value)
    with at_once(), pytest.raises(files.Refused):
        files.append(path, b"x", store)
    assert (store.parent / "secret").read_text() == '{"key": "hunter2"}'
    assert (store.parent / "elsewhere" / "result.json").read_text() == '{"key": "hunter2"}'
    assert not (store.parent / "nothing").exists()


def test_devices_hold_nobody_up_where_they_are_named(files, tmp_path):
    os.mkfifo(tmp_path / "table.json")
    for path in (tmp_path / "table.json", Path("/dev/zero"), Path("/dev/null")):
        with at_once(), pytest.raises(files.Refused, match="is no regular file"):
            files.read_json(path)
        with at_once(), pytest.raises(files.Refused, match="is no regular file"):
            files.write_bytes(path, b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_link_that_the_user_named_is_followed_and_one_below_is_not(files, store):
    (store / "runs" / "a" / "x.json").write_text("1")
    named = store.parent / "named"
    named.symlink_to(store)
    assert files.read_json(named / "runs" / "a" / "x.json", named) == 1
    (store.parent / "mine.json").symlink_to(store / "runs" / "a" / "x.json")
    assert files.read_json(store.parent / "mine.json") == 1
    with pytest.raises(files.Refused, match="leads out"):
        files.read_json(store / "runs" / ".." / ".." / "secret", store)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"a": ', b"\xff\xfe{}", b"[" * 100_000, b"1" * 10_000, b"{} {}"],
    ids=["empty", "half", "binary", "deep", "long number", "two"],
)
def test_what_is_no_json_is_refused_in_a_line(files, tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(files.Refused, match=r"x\.json: ") as refused:
        files.read_json(tmp_path / "x.json")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_sizes_have_a_limit(files, tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(files.LIMIT + 1)
    with pytest.raises(files.Refused, match="read are files of up to"):
        files.read_bytes(tmp_path / "large")
    (tmp_path / "small").write_bytes(b"12345")
    assert files.read_bytes(tmp_path / "small", limit=5) == b"12345"
    with pytest.raises(files.Refused, match="has 5 bytes"):
        files.read_bytes(tmp_path / "small", limit=4)


def test_a_link_is_replaced_and_its_target_stays(files, store):
    for link in (store / "report.html", store / "runs" / "a" / "result.json"):
        link.symlink_to(store.parent / "secret")
        files.write_text(link, "new", store)
        assert not link.is_symlink()
        assert link.read_text() == "new"
        assert stat.S_IMODE(link.stat().st_mode) == 0o666 & ~_umask()
    named = store.parent / "out.csv"
    named.symlink_to(store.parent / "secret")
    files.write_text(named, "new")
    assert not named.is_symlink()
    assert (store.parent / "secret").read_text() == '{"key": "hunter2"}'
    assert not list(store.rglob(".*"))


@pytest.mark.parametrize("write", ["write_bytes", "append", "create"])
def test_linked_folders_are_refused(files, store, write):
    (store / "figures").symlink_to(store.parent / "elsewhere")
    with pytest.raises(files.Refused, match="figures: is a link"):
        getattr(files, write)(store / "figures" / "x.svg", b"x", store)
    with pytest.raises(files.Refused, match="figures: is a link"):
        files.make_folder(store / "figures" / "deep", store)
    assert [p.name for p in (store.parent / "elsewhere").iterdir()] == ["result.json"]
    named = store.parent / "named"
    named.symlink_to(store.parent / "elsewhere")
    getattr(files, write)(named / "x.svg", b"x")
    assert (store.parent / "elsewhere" / "x.svg").read_bytes() == b"x"


def test_folders_on_the_way_are_made(files, tmp_path):
    files.write_json(tmp_path / "new" / "a" / "b" / "x.json", [1], tmp_path / "new")
    assert json.loads((tmp_path / "new" / "a" / "b" / "x.json").read_text()) == [1]
    files.make_folder(tmp_path / "new" / "c", tmp_path)
    assert (tmp_path / "new" / "c").is_dir()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(files, tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, float("nan"))
    with pytest.raises(KeyboardInterrupt):
        _interrupted(files, path)
    assert files.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]


def test_temporary_names_cannot_be_foretold(files, tmp_path):
    seen = set()
    for _ in range(20):
        with files.writing(tmp_path / "x") as file:
            seen |= {p.name for p in tmp_path.iterdir() if p.name != "x"}
            file.write(b"x")
    assert len(seen) == 20
    assert all(len(name) > 32 for name in seen)


def test_a_new_file_replaces_nothing(files, tmp_path):
    files.create(tmp_path / "x", b"1")
    (tmp_path / "y").symlink_to(tmp_path / "z")
    for name in ("x", "y"):
        with pytest.raises(FileExistsError):
            files.create(tmp_path / name, b"2")
    assert (tmp_path / "x").read_bytes() == b"1"
    assert not (tmp_path / "z").exists()
    files.append(tmp_path / "x", b"2")
    assert (tmp_path / "x").read_bytes() == b"12"


def _interrupted(files, path):
    with files.writing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
