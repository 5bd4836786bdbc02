"""Subwords: learned from the study's own text or brought along; bits per byte of the raw UTF-8."""

import json

import numpy as np
import pytest

from lab import tokenizers
from lab.data import DataConfig, load
from lab.errors import InputError
from lab.tokenizers import SubwordTokenizer

made = pytest.importorskip("tokenizers")
TEXTS = [f"The größe of number {n} is {n * n}; naïve — €{n}.\n\n" for n in range(60)]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return str(path)


def word_pieces(tmp_path):
    """A tokenizer that drops case and white space, and has an unknown token."""
    one = made.Tokenizer(made.models.WordLevel({"[UNK]": 0, "the": 1, "is": 2, "number": 3}, "[UNK]"))
    one.normalizer = made.normalizers.Lowercase()
    one.pre_tokenizer = made.pre_tokenizers.Whitespace()
    one.enable_truncation(4)
    one.enable_padding(length=9)
    path = tmp_path / "tokenizer.json"
    one.save(str(path))
    return path


def test_bits_per_byte_of_a_text_counted_by_hand(tmp_path):
    """`ab é` x 40 is 200 bytes of UTF-8: a b, a space and é of two. Marks stand for none."""
    (tmp_path / "a.jsonl").write_text('{"text": "ab é"}\n{"text": "ab é ab é"}\n')
    alphabet = sorted(made.pre_tokenizers.ByteLevel.alphabet())
    merges = made.Tokenizer(
        made.models.BPE({b: i for i, b in enumerate(alphabet)} | {"ab": 256}, [("a", "b")])
    )
    merges.pre_tokenizer = made.pre_tokenizers.ByteLevel(add_prefix_space=False)
    merges.save(str(tmp_path / "tokenizer.json"))
    config = {"source": str(tmp_path / "a.jsonl"), "val_fraction": 0.5}
    in_bytes = load(DataConfig(**config, context=6))
    assert in_bytes.fixed_validation.bytes_W.tolist() == [5]  # `ab é` and <end>
    merged = load(DataConfig(**config, context=5, tokenizer=str(tmp_path / "tokenizer.json")))
    (targets,) = merged.fixed_validation.targets_WxT
    assert targets[0] == 256  # ab
    assert targets[-1] == merged.tokenizer.end == 258
    assert merged.fixed_validation.bytes_W.tolist() == [5]  # 2 + 1 + (1 + 1) + 0
    # the same nats over the same text are the same bits, however many tokens it takes
    for held in (in_bytes.fixed_validation, merged.fixed_validation):
        assert held.bits_per_byte(10 * np.log(2)) == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize("size", [256, 300, 400])
def test_bpe_of_the_own_text_loses_no_byte(source, size):
    in_bytes = load(DataConfig(source, context=4))
    data = load(DataConfig(source, context=4, tokenizer=f"bpe:{size}"))
    assert data.vocab_size == size + 2
    assert data.facts["train_bytes"] == in_bytes.facts["train_bytes"]
    assert data.facts["validation_bytes"] == in_bytes.facts["validation_bytes"]
    documents = data.tokenizer.decode(data.rows.tokens)
    assert sorted(documents.split("The")) == sorted(
        in_bytes.tokenizer.decode(in_bytes.rows.tokens).split("The")
    )
    tokens = np.asarray(data.rows.tokens).astype(int)
    assert data.tokenizer.bytes_of_token[tokens].sum() == data.facts["train_bytes"]
    assert (data.facts["train_tokens"] < in_bytes.facts["train_tokens"]) == (size > 256)
    again = load(DataConfig(source, context=4, tokenizer=f"bpe:{size}"))
    assert again.digest == data.digest != in_bytes.digest


def test_a_vocabulary_learned_twice_is_one(source, tmp_path):
    digests = {
        load(DataConfig(source, context=4, tokenizer="bpe:350"), tmp_path / str(n)).digest for n in range(2)
    }
    assert len(digests) == 1


def test_a_tokenizer_that_drops_text_counts_the_bytes_where_they_stood(source, tmp_path):
    path = word_pieces(tmp_path)
    one = tokenizers.read(path)
    assert one.bytes_of_token is None
    text = "The größe\tof  NUMBER €"
    (ids,), (spans,) = one.encode_many([text])
    assert ids.tolist() == [1, 0, 0, 3, 0]  # neither cut off at four nor filled up to nine
    assert spans.tolist() == [3, 1 + 7, 1 + 2, 2 + 6, 1 + 3]
    data = load(DataConfig(source, context=3, tokenizer=str(path), val_windows=1000))
    assert data.vocab_size == 6
    held = data.fixed_validation
    whole = data.facts["validation_bytes"]
    assert whole - 20 < held.bytes_W.sum() <= whole  # of the last window that is not whole, all or none


def test_a_tokenizer_json_is_the_vocabulary_that_was_learned(source, tmp_path):
    learned = load(DataConfig(source, context=4, tokenizer="bpe:300"))
    path = tmp_path / "own.json"
    path.write_text(json.dumps(json.loads(learned.tokenizer.json), indent=3))
    brought = load(DataConfig(source, context=4, tokenizer=str(path)))
    assert brought.digest == learned.digest
    assert isinstance(brought.tokenizer, SubwordTokenizer)


def test_dropout_of_merges_is_off(source, tmp_path):
    said = json.loads(load(DataConfig(source, context=4, tokenizer="bpe:300")).tokenizer.json)
    said["model"]["dropout"] = 0.5
    (tmp_path / "own.json").write_text(json.dumps(said))
    config = DataConfig(source, context=4, tokenizer=str(tmp_path / "own.json"))
    assert load(config, tmp_path / "a").digest == load(config, tmp_path / "b").digest


def test_bytes_of_each_token_are_compared_and_in_the_digest(source, tmp_path):
    config = DataConfig(source, context=3, tokenizer=str(word_pieces(tmp_path)), val_windows=1000)
    first = load(config, tmp_path / "cache")
    (spans,) = (tmp_path / "cache").rglob("validation.spans")
    raw = spans.read_bytes()
    spans.write_bytes(bytes(len(raw)))
    again = load(config, tmp_path / "cache")
    assert again.digest == first.digest
    assert again.fixed_validation.bytes_W.sum() == first.fixed_validation.bytes_W.sum() > 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("bpe:255", "a whole number from 256 to 65,536"),
        ("bpe:99999", "a whole number from 256 to 65,536"),
        ("bpe:four", "a whole number from 256 to 65,536"),
        ("symbols", "is written in bytes"),
        ("gpt2", "is unknown; .*tokenizer.json"),
        ("missing.json", "no such file"),
        ("ids:300", "is for ids in .bin and .npy"),
        ("bpe:9000", "the text gives only"),
    ],
)
def test_a_tokenizer_that_cannot_be_is_refused_in_a_line(source, name, problem):
    with pytest.raises(InputError, match=problem) as refused:
        load(DataConfig(source, context=4, tokenizer=name))
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": 3}', "no json", '{"version": "1.0"}'])
def test_what_is_no_tokenizer_json_is_refused_in_a_line(source, tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(InputError, match=r"t\.json: is no tokenizer\.json") as refused:
        load(DataConfig(source, context=4, tokenizer=str(tmp_path / "t.json")))
    assert len(refused.value.problems) == 1
    assert "\n" not in refused.value.problems[0]
