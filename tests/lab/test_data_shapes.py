"""Texts in the shapes that people have: nothing is lost unsaid, and what is wrong is said in a line."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lab.data import DataConfig, load
from lab.errors import InputError

TEXTS = [f"Line one of {n}.\nLine two of {n}." for n in range(40)]
IDS = np.random.default_rng(0).integers(0, 30, 4000).astype("<u2")


def lines(path, values, key="text"):
    path.write_text("".join(json.dumps({key: value}) + "\n" for value in values))
    return path


def told(place, **config):
    return load(DataConfig(str(place), context=8, **config)).facts["preparation"]


def refused(place, **config):
    with pytest.raises(InputError) as error:
        load(DataConfig(str(place), context=8, **config))
    return error.value.problems


def code(folder, count=40):
    folder.mkdir(exist_ok=True)
    for n in range(count):
        (folder / f"{n}.py").write_text(f"def f{n}(x):\n    return x + {n}\n")
    return folder


# What is empty or of another type


def test_empty_and_null_documents_are_counted_in_every_format(tmp_path):
    texts = [None if n % 10 == 0 else " \n" if n % 10 == 1 else text for n, text in enumerate(TEXTS)]
    lines(tmp_path / "a.jsonl", texts)
    parquet.write_table(pa.table({"text": texts}), tmp_path / "b.parquet")
    folder = tmp_path / "c"
    folder.mkdir()
    for n, text in enumerate(texts):
        (folder / f"{n}.txt").write_text(text or "")
    for name in ("a.jsonl", "b.parquet", "c"):
        data = load(DataConfig(str(tmp_path / name), context=8))
        assert data.facts["documents"] == 32
        assert data.facts["near_empty_dropped"] == 8
        assert data.facts["documents_read"] == 40
        assert "8 empty ones dropped" in data.facts["preparation"]
    lines(tmp_path / "d.jsonl", [None] * 5)
    (problem,) = refused(tmp_path / "d.jsonl")
    assert problem.endswith("no text in it; 5 documents, all empty")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "a number"),
        (True, "true or false"),
        (["a", "b"], "a list"),
        ([{"role": "user", "content": "x"}], "a list of messages"),
        ({"en": "x"}, "an object with the keys en"),
    ],
)
def test_a_text_of_another_type_is_named_with_what_would_be_right(tmp_path, value, said):
    path = lines(tmp_path / "a.jsonl", [*TEXTS[:7], value, *TEXTS[8:]])
    (problem,) = refused(path)
    assert problem.startswith(f"{path}, line 8: the key 'text' holds {said}, should be a string")
    (problem,) = refused(lines(path, [value] * 40))
    assert problem.endswith("and so on: no line so far has one")


def test_json_that_is_not_a_line_each_is_said_once(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps([{"text": text} for text in TEXTS], indent=1))
    (problem,) = refused(path)
    assert "one JSON value over several lines; should have an object a line" in problem
    path.write_text(json.dumps([{"text": text} for text in TEXTS]))
    (problem,) = refused(path)
    assert "is a list, should be an object" in problem


# Columns


@pytest.mark.parametrize(
    "column",
    [
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.large_string()).dictionary_encode(),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS, pa.string_view()),
    ],
    ids=lambda column: str(column.type),
)
def test_strings_of_every_type_of_a_column_are_read(tmp_path, column):
    want = load(DataConfig(str(lines(tmp_path / "a.jsonl", TEXTS)), context=8)).digest
    parquet.write_table(pa.table({"text": column}), tmp_path / "a.parquet", row_group_size=9)
    assert load(DataConfig(str(tmp_path / "a.parquet"), context=8)).digest == want
    table = pa.table({"text": column})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    assert load(DataConfig(str(tmp_path / "a.arrow"), context=8)).digest == want


# Folders of several kinds


def test_a_folder_of_code_with_some_binary_is_code(tmp_path):
    folder = code(tmp_path / "src")
    want = load(DataConfig(str(folder), context=8)).digest
    (folder / "weights.bin").write_bytes(b"\1\2" * 500)
    data = load(DataConfig(str(folder), context=8))
    assert data.digest == want
    assert "not read: 1 .bin" in data.facts["preparation"]


def test_code_in_folders_below_counts_too(tmp_path):
    code(tmp_path / "src")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "weights.npy").write_bytes(b"no array")
    assert load(DataConfig(str(tmp_path), context=8, include=("*.py",))).facts["documents"] == 40
    data = load(DataConfig(str(tmp_path), context=8))  # a README alone is about the code
    assert data.facts["documents"] == 40
    assert "left out, as they describe the data: README.md" in data.facts["preparation"]


def nano(folder):
    """A folder as a script that makes ids leaves it."""
    folder.mkdir()
    (folder / "train.bin").write_bytes(IDS[:3000].tobytes())
    (folder / "val.bin").write_bytes(IDS[3000:].tobytes())
    (folder / "prepare.py").write_text("print()")
    (folder / "meta.pkl").write_bytes(b"no pickle is read")
    (folder / "readme.md").write_text("about")
    return folder


def test_ids_are_read_where_they_are_asked_for_whatever_lies_beside(tmp_path):
    folder = nano(tmp_path / "nano")
    want = load(DataConfig(str(folder), context=8, tokenizer="ids:30")).digest
    (folder / "input.txt").write_text("\n\n".join(TEXTS))
    for include in ((), ("*.bin",)):
        data = load(DataConfig(str(folder), context=8, tokenizer="ids:30", include=include))
        assert data.digest == want
    said = data.facts["preparation"]
    assert "train.bin to train on; val.bin held out" in said
    assert "not read: 1 .md, 1 .pkl, 1 .py, 1 .txt" in said


def test_a_vocabulary_that_has_room_is_named(tmp_path):
    assert refused(nano(tmp_path / "nano"))[0].endswith('"ids:30" has room for them')


def test_text_beside_ids_says_that_they_are_not_read(tmp_path):
    folder = nano(tmp_path / "nano")
    (folder / "input.txt").write_text("one")
    problems = refused(folder)
    assert problems[-1] == f'{folder}: ids in train.bin, val.bin are read with data.tokenizer = "ids:N"'


def test_a_list_of_text_and_ids_is_refused(tmp_path):
    """Before: the text was read as if its bytes were ids."""
    np.save(tmp_path / "a.npy", IDS)
    (tmp_path / "a.txt").write_text("\n\n".join(TEXTS))
    config = DataConfig((str(tmp_path / "a.npy"), str(tmp_path / "a.txt")), context=8, tokenizer="ids:70000")
    with pytest.raises(InputError, match=r"a\.npy holds ids and .*a\.txt does not"):
        load(config)


def test_splits_of_ids_are_known_by_whole_words(tmp_path):
    for name in ("train", "interval", "shard_val_00", "test"):
        np.save(tmp_path / f"{name}.npy", IDS)
    said = told(tmp_path, tokenizer="ids:30")
    assert "interval.npy, train.npy to train on; shard_val_00.npy held out; left out: test.npy" in said
    assert "4,000 ids" in told(tmp_path / "test.npy", tokenizer="ids:30")  # alone it is what was named


def test_splits_of_somebody_are_told(tmp_path):
    for name, some in (("train", TEXTS[:30]), ("validation", TEXTS[30:35]), ("test", TEXTS[35:])):
        lines(tmp_path / f"{name}-00000-of-00001.jsonl", some)
    said = told(tmp_path)
    assert "of other splits by their names, and read with the rest" in said
    assert "test-00000-of-00001.jsonl, validation-00000-of-00001.jsonl" in said
    assert "other splits" not in told(tmp_path, include=("train*",))
    assert "other splits" not in told(code(tmp_path / "tests"))


def test_code_beside_text_is_named_with_the_key_that_reads_both(tmp_path):
    code(tmp_path / "src")
    for n in range(2):
        (tmp_path / f"{n}.md").write_text(TEXTS[n])
    assert 'not read: 40 .py (data.include = ["*.md", "*.py"] reads them too)' in told(tmp_path)


def test_a_held_out_part_far_from_what_was_asked_for_is_told(tmp_path):
    for n in range(3):
        (tmp_path / f"{n}.txt").write_text("\n\n".join(TEXTS[10 * n : 10 * n + 10]))
    said = told(tmp_path)
    assert "held out, where data.val_fraction asks for 5 %: documents stay whole" in said
    assert "documents stay whole" not in told(tmp_path, split="blank_lines")


# Names


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.json", "an object a line is .jsonl"),
        ("a.csv", "save it as .parquet or .jsonl"),
        ("a.txt.gz", "unpack it first"),
        ("a.npz", "save its array as .npy"),
        ("noending", "known: .txt"),
    ],
)
@pytest.mark.parametrize("tokenizer", ["bytes", "ids:30"])
def test_an_unknown_kind_of_file_has_a_way_on(tmp_path, name, hint, tokenizer):
    (tmp_path / name).write_text("x")
    (problem,) = refused(tmp_path / name, tokenizer=tokenizer)
    assert "unknown kind of file" in problem
    assert hint in problem


def test_a_path_that_is_not_there_is_no_misspelt_source():
    assert refused("not/synthetic.txt") == ("source: 'not/synthetic.txt': no such file or directory",)


def test_utf_16_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes("\n\n".join(TEXTS).encode("utf-16"))
    assert refused(tmp_path / "a.txt")[0].endswith("iconv -f UTF-16 -t UTF-8")


def test_a_text_shorter_than_the_context_says_what_fits(tmp_path):
    (tmp_path / "a.txt").write_text("ab\n\ncd")
    assert refused(tmp_path / "a.txt")[0].endswith("more text, or a data.context below 4")
