"""A study's own texts: where its paths lead from, and what is done to the text."""

import json
import shutil

import pytest

from lab.data import DataConfig, load
from lab.errors import InputError
from sweeps.study import loader

TEXT = "\n\n".join(f"paragraph {i} says something of its own, at some length" for i in range(60))
STUDY = """
name = "own"
batch = 2
data = { source = "texts/own.txt", context = 16 }
model = { width = 8, layers = 1, heads = 1 }
[[grids]]
name = "g"
tokens = [64, 128]
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "project" / "texts").mkdir(parents=True)
    (tmp_path / "project" / "texts" / "own.txt").write_text(TEXT + "\n\n" + TEXT[: TEXT.index("\n\n")])
    (tmp_path / "project" / "own.toml").write_text(STUDY)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


def sources(path, sets=()):
    return {point.data["source"] for point in [loader.load(path, sets)]}


def test_a_source_lies_beside_the_study_that_names_it_and_the_copy_finds_it_anywhere(place, monkeypatch):
    monkeypatch.chdir(place / "elsewhere")
    text = str(place / "project" / "texts" / "own.txt")
    assert sources(place / "project" / "own.toml") == {text}
    # by a relative path to the study, and from the file it includes
    (place / "project" / "sub").mkdir()
    (place / "project" / "sub" / "part.toml").write_text(STUDY.replace("texts/", "../texts/"))
    (place / "project" / "more.toml").write_text('include = ["sub/part.toml"]\nname = "more"\n')
    assert sources(place / "elsewhere" / ".." / "project" / "more.toml") == {text}
    # workers read the copy in the store, which may move
    copy = place / "elsewhere" / "store" / "studies" / "own.toml"
    copy.parent.mkdir(parents=True)
    copy.write_text(loader.text_of(place / "project" / "own.toml"))
    assert sources(copy) == {text}
    shutil.move(place / "elsewhere" / "store", place / "moved")
    monkeypatch.chdir(place / "moved")
    assert sources(place / "moved" / "studies" / "own.toml") == {text}


def test_where_a_path_leads_changes_no_run_id(place, monkeypatch):
    from sweeps.plan import cells

    monkeypatch.chdir(place / "project")
    relative = DataConfig("texts/own.txt", context=16)
    made = cells.make(loader.load(place / "project" / "own.toml"), load)
    for cell in made.cells:
        assert cell.run_id == cell.config.run_id(load(relative).digest)


def test_a_path_meant_from_the_working_directory_is_told_how_to_be_written(place, monkeypatch):
    monkeypatch.chdir(place)
    path = place / "project" / "own.toml"
    path.write_text(STUDY.replace("texts/own.txt", "project/texts/own.txt"))
    with pytest.raises(InputError, match=r"data.source: 'project/texts/own.txt' .*'texts/own.txt' from here"):
        loader.load(path)
    path.write_text(STUDY.replace("texts/own.txt", "python-doc"))
    with pytest.raises(InputError, match="did you mean python-docs"):
        loader.load(path)


def test_a_set_source_is_meant_from_where_the_command_is_given(place, monkeypatch):
    monkeypatch.chdir(place / "elsewhere")
    (place / "elsewhere" / "other.txt").write_text(TEXT)
    path = place / "project" / "own.toml"
    assert sources(path, ("data.source=other.txt",)) == {str(place / "elsewhere" / "other.txt")}


def test_what_is_done_to_a_lone_text_is_told_in_numbers_and_can_be_turned_off(place):
    own = str(place / "project" / "texts" / "own.txt")
    plain = load(DataConfig(own, context=16))
    told = plain.facts["preparation"]
    assert "61 documents" in told
    assert "split at blank lines" in told
    assert "120 characters of white space" in told
    assert "1 duplicates dropped" in told
    assert plain.facts["documents"] == 60
    assert load(DataConfig(own, context=16, split="blank_lines")).digest == plain.digest
    kept = load(DataConfig(own, context=16, dedupe=False))
    assert kept.facts["documents"] == 61
    assert "duplicates" not in kept.facts["preparation"]


def test_a_file_kept_whole_is_trained_on_in_its_order_and_held_out_at_its_end(place):
    path = place / "project" / "texts" / "own.txt"
    whole = load(DataConfig(str(path), context=16, split="file", val_fraction=0.1))
    assert whole.facts["bytes"] == len(path.read_bytes()), "nothing stripped, nothing dropped"
    assert 0 < whole.facts["validation_bytes"] <= 0.1 * whole.facts["bytes"]
    end = path.read_text()[-whole.facts["validation_bytes"] :]
    assert end.startswith("paragraph ") or end.startswith("\n"), "cut at the end of a line"
    inputs = whole.rows.take(range(whole.rows.unique))[0].reshape(-1)
    assert path.read_text().startswith(whole.tokenizer.decode(inputs))
    lines = path.with_name("a.jsonl")
    lines.write_text(json.dumps({"text": "a b"}) + "\n" + json.dumps({"text": "c"}))
    with pytest.raises(InputError, match=r"split: is for \.txt"):
        load(DataConfig(str(lines), context=1, split="file"))


def test_what_describes_a_data_set_is_no_document_of_it(tmp_path):
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"text": f"line {i}"}) for i in range(50)))
    alone = load(DataConfig(str(tmp_path), context=4))
    (tmp_path / "README.md").write_text("# a data set\n\nof lines")
    (tmp_path / "LICENSE.txt").write_text("free")
    told = load(DataConfig(str(tmp_path), context=4))
    assert told.digest == alone.digest
    assert "left out, as they describe the data: LICENSE.txt, README.md" in told.facts["preparation"]
    # among texts, a README is a text
    (tmp_path / "train.jsonl").rename(tmp_path / "train.txt")
    assert load(DataConfig(str(tmp_path), context=4)).facts["documents"] == 3
