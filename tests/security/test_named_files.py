"""Studies, corpora, prompts and outputs that are named in a command: what lies there may be no plain file."""

import gzip
import hashlib
import io
import json
import os

import pyarrow
import pytest
from pyarrow import parquet

from analysis.errors import InputError as OfAnalysis
from analysis.replicate import data as published
from lab import tokenizers
from lab.data import DataConfig, columns, load, unpacked
from lab.errors import InputError
from lab.evaluation import user_tasks
from lab.verbs import generate
from sweeps.exchange import imports
from sweeps.study import overrides
from sweeps.verbs import planning
from tests.security.hold_up import at_once

ROWS = [{"params": 1e6, "tokens": 1e8, "loss": 3.0}]


def _read(path):
    return load(DataConfig(source=str(path), context=8))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("pipe", overrides.read),
        ("pipe.txt", _read),
        ("pipe.jsonl", _read),
        ("pipe.jsonl.gz", _read),
        ("pipe.jsonl.zst", _read),
        ("pipe.parquet", _read),
        ("pipe.bin", _read),
        ("pipe.npy", _read),
        ("pipe.json", tokenizers.read),
        ("pipe", generate.lines),
    ],
)
def test_a_fifo_holds_nobody_up(tmp_path, name, read):
    """Before: `lab plan`, `lab data inspect` and `lab generate` waited for ever."""
    os.mkfifo(tmp_path / name)
    with at_once(), pytest.raises(InputError, match=f"{name}: is no regular file"):
        read(tmp_path / name)


def test_a_study_that_includes_a_fifo_ends(tmp_path):
    """Before: as above."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "study.toml").write_text('include = ["pipe"]\nname = "a"\n')
    with at_once(), pytest.raises(InputError, match="pipe: is no regular file"):
        overrides.read(tmp_path / "study.toml")


def test_a_fifo_among_published_tables_is_not_opened(tmp_path):
    """Before: `lab replicate --data` waited for ever for its checksum."""
    file = published.File("runs.csv", "0" * 64)
    source = published.Source("s", "", "", (published.Variant((file,), "its own"),))
    os.mkfifo(tmp_path / "runs.csv")
    with at_once(), pytest.raises(OfAnalysis, match=r"runs\.csv: is no regular file"):
        published.Folder(tmp_path).find(source)


def _gzip(path, text):
    path.write_bytes(gzip.compress(json.dumps({"text": text}).encode() + b"\n"))


def _many_rows(path, text):
    column = pyarrow.array([text[:1000]] * (len(text) // 1000))
    parquet.write_table(pyarrow.table({"text": column}), path)


def _one_row(path, text):
    parquet.write_table(pyarrow.table({"text": [text]}), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("x.jsonl.gz", _gzip), ("x.parquet", _many_rows), ("x.parquet", _one_row)],
    ids=["gzip", "dictionary", "page"],
)
def test_a_small_corpus_is_not_unpacked_without_end(tmp_path, name, write, monkeypatch):
    """Before: 1.4 MB of gzip took 650 MB of memory, and a hundred times that had no limit either."""
    write(tmp_path / name, "a" * 10_000_000)
    assert (tmp_path / name).stat().st_size < 1_000_000
    monkeypatch.setattr(unpacked, "UNPACKED", 100_000)
    monkeypatch.setattr(unpacked, "RATIO", 2)
    with pytest.raises(InputError, match=r"unpacked, it has more than .* bytes"):
        _read(tmp_path / name)
    monkeypatch.setattr(unpacked, "UNPACKED", 11_000_000)
    with pytest.raises(InputError, match="all text is one document"):
        _read(tmp_path / name)


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string()])
@pytest.mark.parametrize("dictionary", [True, False])
def test_texts_of_parquet_are_read_in_order(tmp_path, kind, dictionary):
    texts = ["é", None, "b" * 300, " ", "é", *(f"text {n}" for n in range(5_000))]
    table = pyarrow.table({"other": range(len(texts)), "text": pyarrow.array(texts, kind)})
    parquet.write_table(table, tmp_path / "x.parquet", use_dictionary=dictionary, row_group_size=2_000)
    want = [text if text and text.strip() else "" for text in texts]  # empty ones are counted by who asks
    assert list(columns.of_parquet(tmp_path / "x.parquet", "text")) == want


@pytest.mark.parametrize("line", ["1" * 10_000, "[" * 100_000, '{"text": ' + "1" * 10_000 + "}"])
@pytest.mark.parametrize("read", [_read, user_tasks.read])
def test_lines_that_no_json_reader_takes(tmp_path, line, read):
    """Before: a number of 10,000 digits ended `lab data inspect` by a traceback."""
    (tmp_path / "x.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"x\.jsonl.*1: .*JSON") as refused:
        read(tmp_path / "x.jsonl")
    assert max(map(len, refused.value.problems)) < 300


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_table_is_not_written_through_a_link(tmp_path, name):
    """Before: `lab import --out` overwrote what a link of that name led to."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / name).symlink_to(tmp_path / "mine")
    imports.write(ROWS, tmp_path / name)
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / name).is_symlink()
    assert sorted(os.listdir(tmp_path)) == sorted(["mine", name])


def test_an_example_study_replaces_nothing_and_follows_no_link(tmp_path):
    (tmp_path / "new.toml").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="is there already"):
        planning.init([str(tmp_path / "new.toml")])
    assert not (tmp_path / "nothing").exists()
    planning.init([str(tmp_path / "study.toml")])
    assert (tmp_path / "study.toml").read_text() == planning.example("grid")


def test_a_download_is_not_written_through_a_link(tmp_path, monkeypatch):
    """Before: it lay for a moment under a name that can be foretold, and a link there was written through."""
    content = b"a,b\n"
    file = published.File("runs.csv", hashlib.sha256(content).hexdigest(), "at/runs.csv")
    source = published.Source("s", "o/r", "c", (published.Variant((file,), "its own"),))
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(content))
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "to" / "s").mkdir(parents=True)
    for name in ("runs.csv", "runs.csv.part"):
        (tmp_path / "to" / "s" / name).symlink_to(tmp_path / "mine")
    said = []
    published.download(source, tmp_path / "to", "https://a.invalid", said.append)
    assert said == ["fetching https://a.invalid/o/r/c/at/runs.csv"]
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "to" / "s" / "runs.csv").read_bytes() == content
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "s").symlink_to(tmp_path)
    with pytest.raises(OfAnalysis, match="s: is a link"):
        published.download(source, tmp_path / "linked", "https://a.invalid")
