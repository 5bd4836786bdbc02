"""Text: framing, packing, the split, and every kind of bad file."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.data import ByteTokenizer, DataConfig, load, packed
from lab.data.corpus import collect, split
from lab.errors import InputError

TOKENIZER = ByteTokenizer()


def write_jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


def unpack(tokens):
    """Documents of a packed stream, by the letter of the format: <start> bytes <end>."""
    documents, current = [], None
    for token in tokens.tolist():
        if token == TOKENIZER.start:
            assert current is None
            current = []
        elif token == TOKENIZER.end:
            documents.append(bytes(current))
            current = None
        else:
            current.append(token)
    assert current is None
    return documents


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_packing_frames_each_document_and_loses_nothing(texts):
    corpus = collect((text, text.encode("utf-8", "replace")) for text in texts)
    everything = np.ones(len(corpus.ends_D), bool)
    documents = unpack(packed.pack(corpus, everything, TOKENIZER))
    assert sorted(documents) == sorted({text.encode("utf-8", "replace") for text in texts})
    chosen = np.arange(len(documents)) % 2 == 0
    assert unpack(packed.pack(corpus, chosen, TOKENIZER)) == documents[::2]


@given(st.text())
def test_bytes_there_and_back(text):
    text = text.encode("utf-8", "replace").decode()
    assert TOKENIZER.decode([TOKENIZER.start, *TOKENIZER.encode(text), TOKENIZER.end]) == text


def test_an_epoch_scores_every_token_but_the_first_once():
    tokens = np.arange(1, 1 + 10 * 8 + 5, dtype=np.uint16)
    windows = packed.windows(tokens, 8, None, "numbers")
    inputs, targets = windows.take(np.arange(windows.unique))
    np.testing.assert_array_equal(inputs.reshape(-1), np.arange(1, 81))
    np.testing.assert_array_equal(targets.reshape(-1), np.arange(2, 82))


def test_training_and_validation_share_no_document(tmp_path):
    texts = [f"document {n} " + "x" * (n % 50) for n in range(500)]
    dataset = load(DataConfig(source=write_jsonl(tmp_path / "a.jsonl", [*texts, texts[3]]), context=20))
    held_out = dataset.validation()
    assert (
        len(held_out.bytes_W) < 512
    )  # all windows are in use, so they are the held-out stream without a gap
    names = {f"document {n} " for n in range(500)}
    training = b"".join(unpack(dataset.rows.tokens)).decode()
    validation = TOKENIZER.decode(held_out.inputs_WxT.reshape(-1))
    of_training = {name for name in names if name in training}
    of_validation = {name for name in names if name in validation}
    assert len(of_training) > 400
    assert len(of_validation) > 5
    assert not of_training & of_validation
    assert dataset.facts["duplicates_dropped"] == 1
    total = dataset.facts["train_bytes"] + dataset.facts["validation_bytes"]
    assert total == sum(map(len, texts))
    assert 0.03 < dataset.facts["validation_bytes"] / total <= 0.05


def test_documents_of_a_group_stay_together():
    corpus = collect((f"file {n % 40}", f"text number {n}".encode()) for n in range(400))
    held_D = split(corpus, 0.2, "files")
    for group in np.unique(corpus.group_D):
        assert len(set(held_D[corpus.group_D == group])) == 1
    assert 0.1 < held_D.mean() <= 0.2


def test_documents_of_mostly_repeated_lines_are_dropped():
    lines = [f"line {n} is long enough to count" for n in range(40)]
    texts = ["\n".join(lines[:20]), "\n".join(lines[20:]), "\n".join([*lines[:12], "short"]), "short"]
    documents = [(str(n), text.encode()) for n, text in enumerate(texts)]
    assert len(collect(documents).ends_D) == 4
    corpus = collect(documents, most_repeated=0.5)
    # Of the two that share lines, the one that comes first in the order of hashes is kept.
    assert len(corpus.ends_D) == 3
    assert corpus.near_duplicates == 1
    half = [("a", "\n".join(lines[:4]).encode()), ("b", "\n".join(lines[2:6]).encode())]
    assert collect(half, most_repeated=0.5).near_duplicates == 0
    assert collect(half, most_repeated=0.49).near_duplicates == 1


def test_the_order_of_the_files_does_not_matter(tmp_path):
    texts = [f"document {n}" for n in range(50)]
    one = load(DataConfig(source=write_jsonl(tmp_path / "a.jsonl", texts), context=8))
    two = load(DataConfig(source=write_jsonl(tmp_path / "b.jsonl", texts[::-1]), context=8))
    other = load(DataConfig(source=write_jsonl(tmp_path / "c.jsonl", [*texts, "more"]), context=8))
    assert one.digest == two.digest != other.digest


def test_what_changes_the_stream_or_validation_changes_the_digest(tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", [f"document {n}" for n in range(200)])
    base = {"source": source, "context": 8}
    changes = [{}, {"context": 9}, {"max_tokens": 80}, {"val_fraction": 0.1}, {"val_windows": 3}]
    assert len({load(DataConfig(**{**base, **change})).digest for change in changes}) == len(changes)
    # The parameters of other sources change nothing, so they must not make it another run.
    same = [{}, {"contexts": 9}, {"zipf": 3.0}, {"eval_items": 5}]
    assert len({load(DataConfig(**{**base, **change})).digest for change in same}) == 1


def test_bytes_of_validation_count_text_and_not_marks(tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", [f"é{n}" for n in range(100)])
    dataset = load(DataConfig(source=source, context=10))
    held_out = dataset.validation()
    np.testing.assert_array_equal(held_out.bytes_W, (held_out.targets_WxT < 256).sum(axis=1))
    assert held_out.bytes_W.sum() < held_out.scored == held_out.targets_WxT.size
    assert dataset.bytes_per_token == dataset.facts["train_bytes"] / dataset.facts["train_tokens"]


def test_max_tokens_caps_the_unique_tokens(tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", [f"{n:08d}" for n in range(200)])
    whole = load(DataConfig(source=source, context=8))
    capped = load(DataConfig(source=source, context=8, max_tokens=100))
    assert capped.unique_tokens == 96 < whole.unique_tokens
    inputs, _ = capped.batches(0, 1, 36)
    assert len(np.unique(inputs[0], axis=0)) == 12


def test_kinds_of_files_agree(tmp_path):
    texts = [f"Line one of {n}.\nLine two of {n}." for n in range(30)]
    write_jsonl(tmp_path / "a.jsonl", texts)
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write((tmp_path / "a.jsonl").read_text())
    (tmp_path / "c.txt").write_bytes("﻿".encode() + "\r\n\r\n\r\n".join(texts).replace("\n", "\r\n").encode())
    import pandas as pd

    pd.DataFrame({"text": texts, "n": range(30)}).to_parquet(tmp_path / "d.parquet")
    folder = tmp_path / "e"
    (folder / "sub").mkdir(parents=True)
    for n, text in enumerate(texts):
        (folder / ("sub" if n % 2 else "") / f"{n}.txt").write_text(text)
    (folder / ".hidden.txt").write_text("not read")
    (folder / "other.bin").write_bytes(b"\xff")
    names = ("a.jsonl", "b.jsonl.gz", "c.txt", "d.parquet", "e")
    digests = {load(DataConfig(source=str(tmp_path / name), context=8)).digest for name in names}
    assert len(digests) == 1


def problems_of(source, **changes):
    with pytest.raises(InputError) as caught:
        load(DataConfig(source=str(source), context=8, **changes))
    return caught.value.problems


def test_bad_lines_of_jsonl_are_all_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n\n{"body": "x"}\nnot json\n["text"]\n{"text": 3}\n')
    problems = problems_of(path)
    assert [problem.split(":")[0] for problem in problems] == [f"{path}, line {n}" for n in (3, 4, 5, 6)]
    assert "body" in problems[0]


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n\nna\xefve\n")
    (problem,) = problems_of(path)
    assert f"{path}, line 3" in problem
    assert "0xef" in problem


def test_every_bad_file_of_a_directory_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff")
    (tmp_path / "b.jsonl").write_text("{}\n")
    (tmp_path / "c.jsonl.gz").write_bytes(b"not gzip")
    (tmp_path / "d.parquet").write_bytes(b"not parquet")
    problems = problems_of(tmp_path)
    assert len(problems) == 4
    for problem, name in zip(problems, ("a.txt", "b.jsonl", "c.jsonl.gz", "d.parquet"), strict=True):
        assert name in problem


def test_files_without_enough_text_are_refused(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n\n")
    assert "no text" in problems_of(tmp_path / "empty.txt")[0]
    (tmp_path / "one.txt").write_text("a single paragraph that is long enough for a window")
    assert "held out" in problems_of(tmp_path / "one.txt")[0]
    (tmp_path / "short.txt").write_text("ab\n\ncd")
    assert "less than one sequence" in problems_of(tmp_path / "short.txt")[0]
    (tmp_path / "nothing").mkdir()
    assert ".jsonl" in problems_of(tmp_path / "nothing")[0]
    (tmp_path / "a.csv").write_text("x")
    assert "unknown kind" in problems_of(tmp_path / "a.csv")[0]


def test_all_mistakes_of_a_configuration_are_told_at_once():
    with pytest.raises(InputError) as caught:
        DataConfig(
            source="python-doc", context=-1, zipf=1, val_fraction=2, tokenizer="byte", tasks={"copy": 1}
        )
    told = "\n".join(caught.value.problems)
    for part in (
        "context: should be at least 0, is -1",
        "zipf: should",
        "val_fraction: should be at most",
        "mean python-docs?",
        "mean bytes?",
        "tasks:",
    ):
        assert part in told


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.one_of(
                st.dictionaries(
                    st.sampled_from(["text", "body"]), st.one_of(st.text(), st.none(), st.integers())
                ),
                st.integers(),
            ).map(lambda value: json.dumps(value).encode()),
            max_size=6,
        ).map(b"\n".join),
    ),
    st.sampled_from([".txt", ".jsonl", ".jsonl.gz", ".parquet"]),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(tmp_path, content, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") and len(content) % 2 else content)
    problems = ()
    try:
        dataset = load(DataConfig(source=str(path), context=2))
    except InputError as error:
        problems = error.problems
    else:
        assert dataset.batches(0, 1, 3)[0].max() <= TOKENIZER.end
    assert all(str(path) in problem for problem in problems)
