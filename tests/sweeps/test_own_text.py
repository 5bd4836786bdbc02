"""What a study says of a text of one's own: epochs, ranges of factors, lists; and the key that was meant."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.__main__ import main
from lab.data import DataConfig, load
from lab.errors import InputError
from sweeps.study import designs, loader

HEAD = """
name = "own"
batch = 2

[data]
source = "own.jsonl"
context = 8

[model]
width = 8
layers = 1
heads = 1
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "own.jsonl").write_text("".join(f'{{"text": "document {n}"}}\n' for n in range(60)))
    (tmp_path / "two.jsonl").write_text("".join(f'{{"text": "another {n}"}}\n' for n in range(60)))
    return tmp_path


def points(place, text):
    (place / "study.toml").write_text(HEAD + text)
    return designs.points(loader.load(place / "study.toml"))


def problems(place, text):
    with pytest.raises(InputError) as refused:
        points(place, text)
    return [problem.partition("study.toml: ")[2] for problem in refused.value.problems]


def test_epochs_are_times_through_the_unique_tokens(place):
    found = points(place, '[[grids]]\nname = "g"\nepochs = [0.5, 1, 4]\n')
    unique = load(DataConfig(str(place / "own.jsonl"), context=8)).unique_tokens
    assert [point.config.tokens for point in found] == [round(unique / 2), unique, 4 * unique]
    (line,) = problems(place, '[[grids]]\nname = "g"\nepochs = [1]\ndata = { source = "synthetic" }\n')
    assert line.startswith("grids[0].epochs: synthetic has no end")


def test_factors_have_ranges(place):
    text = """[[grids]]
name = "g"
design = "factorial"
tokens = [160]
[grids.factors]
optimizer.learning_rate = { start = 1e-3, times = 10, count = 3 }
model.width = { start = 8, stop = 32, count = 3 }
batch = { start = 2, times = 2, count = 2 }
"""
    found = points(place, text)
    assert len(found) == 3 * 3 * 2
    assert {point.config.model.width for point in found} == {8, 16, 32}
    assert {point.config.batch for point in found} == {2, 4}
    assert sorted({point.config.optimizer.learning_rate for point in found}) == pytest.approx(
        [1e-3, 1e-2, 0.1]
    )
    (line,) = problems(place, text.replace("times = 10, count = 3", "count = 3"))
    assert line.startswith("grids[0].factors.optimizer.learning_rate.stop: should be given, or times")


def test_a_list_of_sources_is_one_text_and_in_factors_they_are_several(place):
    grid = '[[grids]]\nname = "g"\ntokens = [160]\n'
    (one,) = points(place, grid + 'data = { source = ["own.jsonl", "two.jsonl"] }\n')
    assert one.config.data.source == (str(place / "own.jsonl"), str(place / "two.jsonl"))
    found = points(place, grid + 'factors = { data.source = ["own.jsonl", ["own.jsonl", "two.jsonl"]] }\n')
    assert [point.config.data.label.count("jsonl") for point in found] == [1, 2]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("lr = 1e-3\n", "lr: no such key; did you mean optimizer.learning_rate?"),
        ("[optimizer]\nlr = 1e-3\n", "optimizer.lr: no such key; did you mean learning_rate?"),
        (
            "[optimizer]\nlearning_rat = 1e-3\n",
            "optimizer.learning_rat: no such key; did you mean learning_rate?",
        ),
        ("batch_size = 3\n", "batch_size: no such key; did you mean batch?"),
        ("seq_len = 3\n", "seq_len: no such key; did you mean data.context?"),
        ("learning_rate = 3\n", "learning_rate: no such key; did you mean optimizer.learning_rate?"),
        ("seed = 3\n", "seed: no such key; did you mean grids.seeds?"),
    ],
)
def test_the_key_that_was_meant_is_named(place, text, meant):
    first, _, table = HEAD.partition("[data]")
    whole = (first + text + "[data]" + table) if "[" not in text else HEAD + text
    (place / "study.toml").write_text(whole + '[[grids]]\nname = "g"\ntokens = [160]\n')
    with pytest.raises(InputError) as refused:
        loader.load(place / "study.toml")
    assert [problem.partition("study.toml: ")[2] for problem in refused.value.problems] == [meant]


@pytest.mark.parametrize(
    ("factor", "meant"),
    [("lr", "optimizer.learning_rate"), ("n_embd", "model.width"), ("data.seq_len", "data.context")],
)
def test_the_factor_that_was_meant_is_named(place, factor, meant):
    grid = (
        f'[[grids]]\nname = "g"\ndesign = "factorial"\ntokens = [160]\nfactors = {{ "{factor}" = [1, 2] }}\n'
    )
    assert problems(place, grid) == [f"grids[0].factors.{factor}: no such key; did you mean {meant}?"]


def test_init_writes_a_study_of_the_own_text(place, capsys, monkeypatch):
    (place / "own.jsonl").write_text("".join(f'{{"text": "document {n}"}}\n' for n in range(600)))
    monkeypatch.chdir(place)
    assert main(["init", "texts.toml", "--source", "own.jsonl"]) == 0
    said = capsys.readouterr()
    assert "600 documents of 1 .jsonl" in said.err
    assert 'source = "own.jsonl"' in (place / "texts.toml").read_text()
    study = loader.load(place / "texts.toml")
    assert study.data["source"] == str(place / "own.jsonl")
    for design in ("isoflop", "ladder", "factorial", "trunk_branch"):
        path = str(place / f"{design}.toml")
        assert main(["init", path, "--design", design, "--source", "own.jsonl"]) == 0
        assert loader.load(place / f"{design}.toml").data["source"] == str(place / "own.jsonl")
    capsys.readouterr()
    assert main(["plan", "texts.toml", "--probe", "never", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] > 1


def test_init_of_another_key_and_vocabulary(place, capsys):
    (place / "own.jsonl").write_text("".join(f'{{"content": "document {n}"}}\n' for n in range(900)))
    path = str(place / "s.toml")
    assert main(["init", path, "--source", str(place / "own.jsonl")]) == 2
    assert 'data.text_field = "content" reads another' in capsys.readouterr().err
    wanted = ["--text-field", "content", "--tokenizer", "bpe:260"]
    assert main(["init", path, "--source", str(place / "own.jsonl"), *wanted]) == 0
    study = loader.load(place / "s.toml")
    assert (study.data["text_field"], study.data["tokenizer"]) == ("content", "bpe:260")


@pytest.mark.parametrize("name", ["tokenizers", "mixture_rates", "document_mask"])
def test_the_studies_behind_the_numbers_are_studies(name, monkeypatch):
    # as if tokenized already: vocabularies of nine million bytes take longer to learn than the rest to check
    monkeypatch.setattr(designs, "_loaded", lambda key: SimpleNamespace(unique_tokens=8_000_000))
    assert loader.load(Path("benchmarks") / f"{name}.toml").name == name


def test_init_takes_every_key_that_a_message_names(place, capsys):
    (place / "one.txt").write_text("One text without a blank line.\n" * 300)
    assert main(["init", str(place / "s.toml"), "--source", str(place / "one.txt")]) == 2
    assert 'data.split = "file"' in capsys.readouterr().err
    wanted = ["--split", "file"]
    assert main(["init", str(place / "s.toml"), "--source", str(place / "one.txt"), *wanted]) == 0
    assert loader.load(place / "s.toml").data["split"] == "file"
    for n in range(40):
        (place / f"{n}.py").write_text("x = 1\n" * 200 + str(n))
    assert main(["init", str(place / "t.toml"), "--source", str(place), "--include", "*.py"]) == 0
    assert loader.load(place / "t.toml").data["include"] == ["*.py"]
