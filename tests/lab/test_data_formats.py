"""Every format that is read, made here; and what is wrong with one, said in a line with its numbers."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lab.data import DataConfig, load
from lab.errors import InputError

TEXTS = [f"Line one of {n}.\nLine two of {n}." for n in range(40)]


def lines(key="text"):
    return "".join(json.dumps({"id": n, key: text}) + "\n" for n, text in enumerate(TEXTS)).encode()


def zstd(raw):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(raw)
    return sink.getvalue().to_pybytes()


def saved(folder, texts, key="text", files=2):
    """A folder as `Dataset.save_to_disk` of the `datasets` library writes it."""
    folder.mkdir(parents=True)
    names = []
    for i in range(files):
        names.append(f"data-{i:05d}-of-{files:05d}.arrow")
        table = pa.table({key: texts[i::files], "n": list(range(len(texts[i::files])))})
        path = str(folder / names[-1])
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_all_formats_of_text_give_one_data_set(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines())
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines()))
    (tmp_path / "c.jsonl.zst").write_bytes(zstd(lines()))
    (tmp_path / "d.txt").write_text("\n\n".join(TEXTS))
    parquet.write_table(pa.table({"text": TEXTS}), tmp_path / "e.parquet", row_group_size=7)
    saved(tmp_path / "f", TEXTS)
    (tmp_path / "code" / "deep").mkdir(parents=True)
    for n, text in enumerate(TEXTS):
        (tmp_path / "code" / ("deep" if n % 3 else "") / f"{n}.{'py' if n % 2 else 'c'}").write_text(text)
    digests = {}
    for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.txt", "e.parquet", "f", "code"):
        digests[name] = load(DataConfig(str(tmp_path / name), context=8)).digest
    assert len(set(digests.values())) == 1, digests


def test_another_key_is_named_and_suggested(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines("content"))
    parquet.write_table(pa.table({"id": range(40), "content": TEXTS}), tmp_path / "b.parquet")
    saved(tmp_path / "c", TEXTS, "content")
    digests = set()
    for name in ("a.jsonl", "b.parquet", "c"):
        with pytest.raises(InputError, match=r'data\.text_field = "content" reads another'):
            load(DataConfig(str(tmp_path / name), context=8))
        digests.add(load(DataConfig(str(tmp_path / name), context=8, text_field="content")).digest)
    assert len(digests) == 1


def test_a_list_of_sources_is_one_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines())
    (tmp_path / "one.txt").write_text("\n\n".join(TEXTS[:15]))
    (tmp_path / "two.txt").write_text("\n\n".join(TEXTS[15:]))
    whole = load(DataConfig(str(tmp_path / "a.jsonl"), context=8))
    listed = load(DataConfig((str(tmp_path / "one.txt"), str(tmp_path / "two.txt")), context=8))
    assert listed.digest == whole.digest
    assert listed.config.label == f"{tmp_path / 'one.txt'}, {tmp_path / 'two.txt'}"


def test_patterns_choose_among_the_files_of_a_folder(tmp_path):
    for n, text in enumerate(TEXTS):
        (tmp_path / f"{n}.py").write_text(text)
    (tmp_path / "notes.md").write_text("about")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(InputError, match="all text is one document"):
        load(DataConfig(str(tmp_path), context=8))
    data = load(DataConfig(str(tmp_path), context=8, include=("*.py",)))
    assert data.facts["documents"] == 40
    assert "not read: 1 .md, 1 .png (data.include" in data.facts["preparation"].replace(
        "1 .png, 1 .md", "1 .md, 1 .png"
    )
    with pytest.raises(InputError, match=r"none of its 42 files is called \*\.rs"):
        load(DataConfig(str(tmp_path), context=8, include=("*.rs",)))


def test_a_saved_data_set_of_several_splits_is_not_guessed_at(tmp_path):
    for name in ("train", "test"):
        saved(tmp_path / "all" / name, TEXTS)
    (tmp_path / "all" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(InputError, match=r"holds the splits train, test; name one of them: .*train"):
        load(DataConfig(str(tmp_path / "all"), context=8))
    assert load(DataConfig(str(tmp_path / "all" / "train"), context=8)).facts["documents"] == 40


@pytest.mark.parametrize("name", ["../x.arrow", 3, None])
def test_a_saved_data_set_names_no_file_elsewhere(tmp_path, name):
    (tmp_path / "x.arrow").write_bytes(b"")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(InputError, match=r"state\.json: should list its \.arrow files"):
        load(DataConfig(str(tmp_path / "d"), context=8))


IDS = np.random.default_rng(0).integers(0, 500, 4000)
IDS[::50] = 499  # between documents


def header(ids, magic, version, dtype):
    head = np.zeros(256, "<i4")
    head[:3] = magic, version, len(ids)
    return head.tobytes() + ids.astype(dtype).tobytes()


WRITERS = {
    "nano.bin": lambda path: path.write_bytes(IDS.astype("<u2").tobytes()),
    "gpt2.bin": lambda path: path.write_bytes(header(IDS, 20240520, 1, "<u2")),
    "llama.bin": lambda path: path.write_bytes(header(IDS, 20240801, 7, "<u4")),
    "u16.npy": lambda path: np.save(path, IDS.astype(np.uint16)),
    "i64.npy": lambda path: np.save(path, IDS),
}


def test_ids_of_other_tools_are_mapped_as_they_lie(tmp_path):
    made = {}
    for name, write in WRITERS.items():
        write(tmp_path / name)
        made[name] = load(DataConfig(str(tmp_path / name), context=16, tokenizer="ids:500", mark=499))
    first = made["nano.bin"]
    assert first.vocab_size == 502
    assert {data.digest for data in made.values()} == {first.digest}
    for data in made.values():
        assert isinstance(data.rows.ids[0], np.memmap)
        np.testing.assert_array_equal(data.batches(3, 2, 4)[0], first.batches(3, 2, 4)[0])
    held = first.fixed_validation
    assert held.bytes_W.sum() == 0
    assert held.bits_per_byte(1.0) is None  # no text is known
    inputs, targets = first.batches(0, 1, first.unique_tokens // 16)
    both = np.concatenate([inputs[0], targets[0][:, -1:]], axis=1)
    assert not (both == 499).any()
    assert (both == first.tokenizer.start).any()
    stream = np.where(IDS == 499, 500, IDS)
    rows = np.stack([stream[16 * i : 16 * i + 17] for i in range(len(both))])
    assert sorted(map(tuple, both)) == sorted(map(tuple, rows))
    assert 3750 < first.facts["train_tokens"] < 3900  # 5 % of 4000 held out, from a mark on
    assert held.inputs_WxT[0, 0] == 500


def test_files_with_val_in_their_names_are_held_out(tmp_path):
    (tmp_path / "train_0001.bin").write_bytes(IDS[:1500].astype("<u2").tobytes())
    (tmp_path / "train_0002.bin").write_bytes(IDS[1500:3000].astype("<u2").tobytes())
    (tmp_path / "val_0000.bin").write_bytes(IDS[3000:].astype("<u2").tobytes())
    data = load(DataConfig(str(tmp_path), context=16, tokenizer="ids:500"))
    assert data.facts["train_tokens"] == 3000
    assert data.unique_tokens == 2 * (1499 // 16) * 16  # no window goes from one file into the next
    np.testing.assert_array_equal(data.fixed_validation.inputs_WxT[0], IDS[3000:3016])


def test_ids_with_their_tokenizer_have_bytes(tmp_path):
    made = pytest.importorskip("tokenizers")
    one = made.Tokenizer(
        made.models.BPE(
            dict(zip(sorted(made.pre_tokenizers.ByteLevel.alphabet()), range(256), strict=True)), []
        )
    )
    one.pre_tokenizer = made.pre_tokenizers.ByteLevel(add_prefix_space=False)
    one.save(str(tmp_path / "t.json"))
    np.save(tmp_path / "a.npy", (IDS % 256).astype(np.uint16))
    data = load(DataConfig(str(tmp_path / "a.npy"), context=16, tokenizer=str(tmp_path / "t.json")))
    assert data.bytes_per_token == 1
    assert (data.fixed_validation.bytes_W == 16).all()


def test_marks_of_a_tokenizer_are_no_text_in_ids(tmp_path):
    made = pytest.importorskip("tokenizers")
    letters = sorted(made.pre_tokenizers.ByteLevel.alphabet())
    one = made.Tokenizer(made.models.BPE(dict(zip(letters, range(256), strict=True)), []))
    one.pre_tokenizer = made.pre_tokenizers.ByteLevel(add_prefix_space=False)
    one.add_special_tokens(["<|endoftext|>"])
    one.save(str(tmp_path / "t.json"))
    ids = IDS % 256
    ids[::8] = 256
    np.save(tmp_path / "a.npy", ids)
    data = load(DataConfig(str(tmp_path / "a.npy"), context=16, tokenizer=str(tmp_path / "t.json")))
    assert (data.fixed_validation.bytes_W == 14).all()
    assert data.bytes_per_token == pytest.approx(7 / 8, abs=0.01)


@pytest.mark.parametrize("extra", ["w.bin", "w.npy"])
def test_a_folder_of_texts_with_an_array_beside_them_is_text(tmp_path, extra):
    for n, text in enumerate(TEXTS):
        (tmp_path / f"{n}.md").write_text(text)
    whole = load(DataConfig(str(tmp_path), context=8)).digest
    (tmp_path / extra).write_bytes(b"odd")
    assert load(DataConfig(str(tmp_path), context=8)).digest == whole
    assert load(DataConfig(str(tmp_path), context=8, include=("*.md",))).digest == whole


def test_code_beside_ids_is_read_where_it_is_asked_for(tmp_path):
    for n, text in enumerate(TEXTS):
        (tmp_path / f"{n}.py").write_text(text)
    (tmp_path / "train.bin").write_bytes(IDS.astype("<u2").tobytes())
    assert load(DataConfig(str(tmp_path), context=8, tokenizer="ids:500")).unique_tokens < 4000
    data = load(DataConfig(str(tmp_path), context=8, include=("*.py",)))
    assert data.facts["documents"] == len(TEXTS)


def bad(name, raw, problem, **config):
    return pytest.param(name, raw, config, problem, id=f"{name} {problem[:20]}")


@pytest.mark.parametrize(
    ("name", "raw", "config", "problem"),
    [
        bad("a.bin", b"abc", "has 3 bytes; uint16", tokenizer="ids:500"),
        bad("a.bin", b"", "has 0 bytes; uint16", tokenizer="ids:500"),
        bad(
            "a.bin",
            IDS.astype("<u2").tobytes(),
            r"holds the id 499; a vocabulary of 400 has 0 to 399",
            tokenizer="ids:400",
        ),
        bad(
            "a.bin",
            IDS.astype("<u4").tobytes()[:8] + b"\xff\xff" * 99,
            "are these numbers of another type",
            tokenizer="ids:500",
        ),
        bad("a.bin", IDS.astype("<u2").tobytes(), r"holds ids, the largest is 499; .*ids:N"),
        bad("a.bin", IDS.astype("<u2").tobytes(), "a vocabulary could be learned", tokenizer="bpe:300"),
        bad(
            "a.bin",
            IDS[:9].astype("<u2").tobytes(),
            "no stream in it has more tokens than one sequence of 8",
            tokenizer="ids:500",
        ),
        bad(
            "a.bin",
            header(IDS, 20240520, 1, "<u2")[:-2],
            "its header says version 1 and 4,000 tokens",
            tokenizer="ids:500",
        ),
        bad("a.bin", header(IDS, 20240522, 1, "<u2"), "holds items of an evaluation", tokenizer="ids:500"),
        bad("a.bin", header(IDS, 20240521, 1, "<u2"), "the magic number 20,240,521", tokenizer="ids:65536"),
        bad("a.bin", IDS.astype("<u4").tobytes(), "every second one is 0, as of uint32", tokenizer="ids:500"),
        bad("a.npy", b"\x93NUMPY", "no .npy file", tokenizer="ids:500"),
        bad("a.jsonl.zst", b"no zstd at all", "damaged zst file"),
        bad("a.jsonl.gz", gzip.compress(lines())[:-9], "damaged gz file"),
        bad("a.arrow", b"ARROW1 and no more", "not a readable Arrow file"),
    ],
)
def test_a_bad_file_is_refused_in_a_line(tmp_path, name, raw, config, problem):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputError, match=problem) as refused:
        load(DataConfig(str(tmp_path / name), context=8, **config))
    assert len(refused.value.problems) == 1
    assert name in refused.value.problems[0]


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (IDS.astype(float), r"holds float64 of shape \(4000,\); should be whole numbers"),
        (IDS.reshape(2, -1), r"of shape \(2, 2000\); should be whole numbers in one row"),
        (-IDS, "holds the id -499; a vocabulary of 500 has 0 to 499"),
        (np.array([{}]), "holds object"),
    ],
)
def test_arrays_of_another_kind_are_refused_in_a_line(tmp_path, array, problem):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=problem) as refused:
        load(DataConfig(str(tmp_path / "a.npy"), context=8, tokenizer="ids:500"))
    assert len(refused.value.problems) == 1


def test_a_key_that_no_line_has_is_said_once(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines("content"))
    with pytest.raises(InputError, match="no line so far has one") as refused:
        load(DataConfig(str(tmp_path / "a.jsonl"), context=8))
    assert len(refused.value.problems) == 1
