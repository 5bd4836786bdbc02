"""Token shards: the same whatever cuts, processes and deaths they were made by; mapped, not held."""

import errno
import json
import os
import random
import resource
import signal
import subprocess
import time

import numpy as np
import pytest

from benchmarks.corpus_speed import make_text
from lab import python
from lab.data import DataConfig, files, jsonl, load, merge, order, parts, shards
from lab.data import corpus as corpora
from lab.draws import Draws
from lab.errors import InputError


def texts(count, seed=0):
    rng = random.Random(seed)
    words = ["".join(rng.choice("abcdefg é\r") for _ in range(rng.randint(1, 9))) for _ in range(99)]
    some = [" ".join(rng.choice(words) for _ in range(rng.randint(1, 30))) for _ in range(count - 7)]
    return [f"{text} {n}" for n, text in enumerate(some)] + [f"{some[0]} 0"] * 7


@pytest.fixture
def corpus(tmp_path):
    """One text as lines and as blocks."""
    some = texts(80)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in some))
    (tmp_path / "a.txt").write_bytes("\n \t\n\n".join(t.replace("\r", "\n") for t in some).encode())
    return tmp_path


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
@pytest.mark.parametrize("tokenizer", ["bytes", "bpe:280"])
def test_cuts_into_jobs_and_parts_change_nothing(corpus, name, tokenizer, monkeypatch):
    config = DataConfig(str(corpus / name), context=16, tokenizer=tokenizer)
    whole = load(config, corpus / "one")
    for job, part, merged in ((1000, 90, 300), (4000, 10**6, 1 << 22)):
        monkeypatch.setattr(files, "JOB_BYTES", job)
        for one in (files, jsonl):
            monkeypatch.setattr(one, "_BLOCK", 7 + part % 50)
        monkeypatch.setattr(parts, "PART_BYTES", part)
        monkeypatch.setattr(merge, "MERGED", merged)
        cut = load(config, corpus / f"cut {job}")
        assert cut.digest == whole.digest
        np.testing.assert_array_equal(cut.rows.tokens, whole.rows.tokens)
        np.testing.assert_array_equal(cut.fixed_validation.bytes_W, whole.fixed_validation.bytes_W)
        skipped = {"cache", "preparation"}
        assert {k: v for k, v in cut.facts.items() if k not in skipped} == {
            k: v for k, v in whole.facts.items() if k not in skipped
        }


def test_the_index_says_where_documents_end(corpus):
    data = load(DataConfig(str(corpus / "a.jsonl"), context=16), corpus / "cache")
    (folder,) = [path for path in (corpus / "cache" / "corpora").iterdir() if path.is_dir()]
    made = shards.read(folder)
    tokens, ends = made.tokens("train"), made.ends("train")
    assert len(ends) == data.facts["train_documents"]
    np.testing.assert_array_equal(np.flatnonzero(tokens == data.tokenizer.end) + 1, ends)
    assert isinstance(data.rows.tokens, np.memmap)
    assert tokens.dtype == np.uint16
    assert not (folder / "parts").exists()


def test_shards_that_are_torn_or_altered_are_made_again(corpus):
    config = DataConfig(str(corpus / "a.jsonl"), context=16)
    digest = load(config, corpus / "cache").digest
    (folder,) = [path for path in (corpus / "cache" / "corpora").iterdir() if path.is_dir()]
    tokens = folder / "train.tokens"
    raw = tokens.read_bytes()
    for damage in (raw[:-2], b"\0\0" + raw[2:]):
        tokens.write_bytes(damage)
        assert load(config, corpus / "cache").digest == digest
        assert tokens.read_bytes() == raw
    (folder / "facts.json").unlink()
    assert load(config, corpus / "cache").digest == digest


def test_a_large_file_is_compared_when_its_time_changed(corpus, monkeypatch):
    monkeypatch.setattr(shards, "_CHECKED", 0)
    config = DataConfig(str(corpus / "a.jsonl"), context=16)
    digest = load(config, corpus / "cache").digest
    (folder,) = [path for path in (corpus / "cache" / "corpora").iterdir() if path.is_dir()]
    tokens = folder / "train.tokens"
    raw = tokens.read_bytes()
    tokens.write_bytes(b"\0\0" + raw[2:])
    assert load(config, corpus / "cache").digest == digest
    assert tokens.read_bytes() == raw
    os.utime(tokens, (1, 1))  # a copy: as it was, at another time
    facts = (folder / "facts.json").read_bytes()
    for _ in range(2):
        assert shards.read(folder) is not None
        again = (folder / "facts.json").read_bytes()
        assert again != facts  # the new time is noted
    monkeypatch.setattr(shards.hashlib, "file_digest", None)  # and nothing is compared any more
    assert shards.read(folder) is not None


def test_what_a_cache_that_cannot_be_written_holds_is_read(corpus, monkeypatch):
    config = DataConfig(str(corpus / "a.jsonl"), context=16, tokenizer="bpe:280")
    first = load(config, corpus / "cache")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    again = load(config, corpus / "cache")
    assert again.facts["cache"] == first.facts["cache"]
    assert again.digest == first.digest


def test_what_a_killed_merge_left_is_cleared_away(corpus):
    config = DataConfig(str(corpus / "a.jsonl"), context=16)
    load(config, corpus / "cache")
    (folder,) = [path for path in (corpus / "cache" / "corpora").iterdir() if path.is_dir()]
    (folder / "facts.json").unlink()
    (folder / ".0123.tmp").write_bytes(b"half")
    load(config, corpus / "cache")
    assert not (folder / ".0123.tmp").exists()


def test_processes_that_tokenise_say_nothing_where_nothing_is_wrong(corpus, monkeypatch, capfd):
    monkeypatch.setattr(files, "JOB_BYTES", 4000)
    monkeypatch.setattr(shards, "PARALLEL", 0)
    load(DataConfig(str(corpus / "a.jsonl"), context=16), corpus / "cache")
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_names_the_folder(corpus, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parts, "write_parts", full)
    with pytest.raises(InputError, match=r"corpora.*: .*No space left on device.*SCALING_LAB_DATA"):
        load(DataConfig(str(corpus / "a.jsonl"), context=16), corpus / "cache")


def test_a_text_that_changed_is_read_again(corpus):
    path = corpus / "a.jsonl"
    first = load(DataConfig(str(path), context=16)).digest
    content = path.read_text()
    path.write_text(content.replace("a", "b"))
    assert load(DataConfig(str(path), context=16)).digest != first
    path.write_text(content)
    assert load(DataConfig(str(path), context=16)).digest == first


SCRIPT = """
import sys
from pathlib import Path
from lab.data import DataConfig, files, load, parts, shards
files.JOB_BYTES, parts.PART_BYTES, shards.PARALLEL = 1000, 900, int(sys.argv[3])
data = load(DataConfig(sys.argv[1], context=16, tokenizer=sys.argv[4]), Path(sys.argv[2]))
print(data.digest)
"""


def started(source, cache, parallel, tokenizer="bytes"):
    command = python.command("-c", SCRIPT, source, cache, parallel, tokenizer)
    return subprocess.Popen(command, env=python.environment(), stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("parallel", [0, 1 << 40], ids=["processes", "alone"])
def test_what_a_killed_build_did_is_kept_and_the_digest_is_the_same(corpus, parallel):
    source = corpus / "a.jsonl"
    whole = load(DataConfig(str(source), context=16), corpus / "whole").digest
    build = started(source, corpus / "cache", parallel)
    deadline = time.monotonic() + 60
    while not (kept := list((corpus / "cache").rglob("parts/[0-9]*.json"))) and time.monotonic() < deadline:
        if build.poll() is not None:
            break
        time.sleep(0.001)
    build.send_signal(signal.SIGKILL)
    build.communicate()
    before = {path: path.stat().st_mtime_ns for path in kept if path.exists()}
    again = started(source, corpus / "cache", parallel)
    seen = dict(before)
    while again.poll() is None:  # what was done stays as it was, for as long as it is needed
        for path in before:
            try:
                seen[path] = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
        time.sleep(0.001)
    assert seen == before
    assert again.communicate()[0].strip() == whole


def test_what_is_held_out_does_not_depend_on_how_many_groups_are_summed_at_once(monkeypatch):
    draw = np.random.default_rng(0)
    for some in range(40):
        groups = draw.integers(0, 2**64 - 1, 30, dtype=np.uint64, endpoint=True)[draw.integers(0, 30, 60)]
        sizes = (draw.pareto(0.7, 60) * 10 + 1).astype(np.uint32)
        fraction = (0.01, 0.05, 0.2, 0.5)[some % 4]
        monkeypatch.setattr(corpora, "AT_ONCE", 1 << 20)
        whole = corpora.held_out(groups, sizes, fraction, "x")
        assert whole.any()
        monkeypatch.setattr(corpora, "AT_ONCE", 7)
        np.testing.assert_array_equal(corpora.held_out(groups, sizes, fraction, "x"), whole)


def test_processes_that_come_at_once_build_once_and_agree(corpus):
    source = corpus / "a.jsonl"
    whole = load(DataConfig(str(source), context=16), corpus / "whole").digest
    both = [started(source, corpus / "cache", 1 << 40) for _ in range(2)]
    assert {one.communicate()[0].strip() for one in both} == {whole}
    assert len([p for p in (corpus / "cache" / "corpora").iterdir() if p.is_dir()]) == 1


def test_bad_lines_are_named_by_every_process(corpus, monkeypatch):
    source = corpus / "a.jsonl"
    lines = source.read_text().splitlines()
    lines[50] = lines[70] = '{"body": "x"}'
    source.write_text("\n".join(lines))
    monkeypatch.setattr(files, "JOB_BYTES", 1000)
    for parallel in (0, 1 << 40):
        monkeypatch.setattr(shards, "PARALLEL", parallel)
        with pytest.raises(InputError) as refused:
            load(DataConfig(str(source), context=16), corpus / str(parallel))
        assert [p.partition(": no string")[0] for p in refused.value.problems] == [
            f"{source}, line 51",
            f"{source}, line 71",
        ]
        assert 'data.text_field = "body" reads another' in refused.value.problems[0]


@pytest.mark.parametrize("size", [1, 2, 5, 1000, 4096, 70_001])
def test_feistel_is_a_permutation_of_any_size(size):
    keys = Draws("feistel", 0, 0).raw(6)
    found = order.feistel(np.arange(size), size, keys)
    assert sorted(found.tolist()) == list(range(size))
    if size > 500:
        assert abs(np.corrcoef(found, np.arange(size))[0, 1]) < 0.15
        steps = np.diff(found)
        assert len(np.unique(steps)) > size / 3  # no stride


def test_an_epoch_beyond_what_is_kept_is_a_permutation_too(monkeypatch):
    monkeypatch.setattr(order, "MOST_KEPT", 10)
    one = order.Order(3, 101)
    epochs = one.rows(0, 202).reshape(2, 101)
    assert [sorted(epoch) for epoch in epochs] == [list(range(101))] * 2
    assert (epochs[0] != epochs[1]).mean() > 0.9
    np.testing.assert_array_equal(one.rows(90, 30), epochs.reshape(-1)[90:120])


def test_the_digest_says_which_order_a_data_set_has(corpus, monkeypatch):
    from lab.data import load as loading

    config = DataConfig(str(corpus / "a.jsonl"), context=16)
    kept = load(config).digest
    monkeypatch.setattr(order, "MOST_KEPT", 10)
    import importlib

    module = importlib.import_module("lab.data.load")
    monkeypatch.setattr(module, "MOST_KEPT", 10)
    assert loading(config).digest != kept


SPREAD = """
import sys
import numpy as np
from lab.data import packed, token_files
tokens = np.memmap(sys.argv[1], "<u2", "r")
sizes = np.ones(258, np.int64)
if sys.argv[2] == "shards":
    packed.validation(tokens, 128, 512, sizes, "x", np.memmap(sys.argv[1], "u1", "r")[: len(tokens)])
else:
    rows = token_files.rows([tokens[7:]], 128, None, None, 256, "x")
    token_files.validation(rows, 512, sizes)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_windows_spread_over_a_large_file_do_not_map_all_of_it(tmp_path):
    """Before: 512 windows of a gigabyte took 0.9 GB: a kernel may map two megabytes for each."""
    with (tmp_path / "tokens").open("wb") as out:
        for _ in range(200):
            out.write(bytes(1 << 21))
    for what in ("shards", "ids"):
        command = python.command("-c", SPREAD, tmp_path / "tokens", what)
        done = subprocess.run(command, env=python.environment(), capture_output=True, text=True, check=True)
        assert int(done.stdout) * 1024 < 200e6, what


MEASURE = """
import resource, sys
from pathlib import Path
from lab.data import DataConfig, load
data = load(DataConfig(sys.argv[1], context=128, tokenizer=sys.argv[3]), Path(sys.argv[2]))
data.batches(1000, 4, 16)
# of this process by its own status: its resource usage begins with what its parent held when it was started
own = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(data.digest, max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""


@pytest.mark.parametrize(
    ("size", "tokenizer"),
    [
        pytest.param(100_000_000, "bytes", marks=pytest.mark.slow),
        pytest.param(1_000_000_000, "bytes", marks=pytest.mark.weekly),
        pytest.param(1_000_000_000, "bpe:4096", marks=pytest.mark.weekly),
    ],
)
def test_a_large_text_takes_little_memory(tmp_path, size, tokenizer):
    """Before: 300 MB took 2.0 GB, again in each process. The most of any one process, in bytes."""
    make_text(tmp_path / "a.jsonl", size)
    peaks = []
    for _ in range(2):  # cold and warm
        command = python.command("-c", MEASURE, tmp_path / "a.jsonl", tmp_path / "cache", tokenizer)
        done = subprocess.run(command, env=python.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[1]) * 1024)
    assert peaks[0] < (400e6 if tokenizer == "bytes" else 900e6)
    assert peaks[1] < 300e6
    assert os.stat(tmp_path / "a.jsonl").st_size >= size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
