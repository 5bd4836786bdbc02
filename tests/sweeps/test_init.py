from importlib.resources import files

import pytest

from lab.errors import InputError
from sweeps.study import designs, loader
from sweeps.verbs import planning as verbs


def test_init_writes_a_study_that_is_valid_and_replaces_nothing(tmp_path, capsys):
    path = tmp_path / "study.toml"
    assert verbs.init([str(path)]) == 0
    assert f"lab plan {path}" in capsys.readouterr().out
    assert len(designs.points(loader.load(path))) == 5 * 4 * 2
    path.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        verbs.init([str(path)])
    assert path.read_text() == "mine"


def test_the_quick_start_can_be_written_anywhere(tmp_path, capsys):
    path = tmp_path / "study.toml"
    assert verbs.init([str(path), "--design", "quickstart"]) == 0
    packaged = files("sweeps") / "studies" / "quickstart.toml"
    assert path.read_text() == packaged.read_text()


def test_a_study_that_cannot_be_read_leaves_no_store(tmp_path, monkeypatch):
    from sweeps.verbs.training import run

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("name = 'a'\n")
    with pytest.raises(InputError, match=r"mime\.toml: no such file; did you mean mine\.toml\?"):
        run(["mime.toml", "--out", "runs"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
