"""The commands of docs/costs.md run, on files made here, in the order of the page."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from analysis.laws.named import LAWS
from analysis.report.figures import ASKED, KINDS
from lab.__main__ import main
from tests.pages import commands

LAW = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.336, "beta": 0.283}


@pytest.fixture
def folder(new_store, monkeypatch):
    """A folder with every file that the page names."""
    new_store.language(widths=(16, 24), seeds=(0,))
    store = new_store.finish()
    monkeypatch.chdir(store.parent)
    (store.parent / "runs").mkdir()
    store.rename("runs/mine")
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e8, 1e10, 4), np.geomspace(1e10, 1e12, 4)))
    loss = LAWS["chinchilla"].loss(LAW, {"params": n, "tokens": d})
    rows = [f"{a},{b},{c},{6 * a * b / 1e14}" for a, b, c in zip(n, d, loss, strict=True)]
    Path("runs.csv").write_text("\n".join(["params,tokens,loss,device_seconds", *rows]))
    people = [f"{group},{so},{said}" for group in "ab" for so in (0, 1) for said in (0, 1)]
    Path("predictions.csv").write_text("\n".join(["race,reoffended,high_risk", *people]))
    words = ["rose", "tulip", "daisy", "ant", "wasp", "moth", "love", "peace", "hatred", "ugly"]
    vectors = np.random.default_rng(0).standard_normal((len(words), 4))
    lines = [" ".join([word, *map(str, vector)]) for word, vector in zip(words, vectors, strict=True)]
    small = "python-docs", "synthetic"  # which is made in no time
    assert main(["init", "study.toml"]) == 0
    study = Path("study.toml")
    study.write_text(study.read_text().replace(*small))
    Path("vectors.txt").write_text("\n".join(lines))


def test_the_commands_of_the_page_run(folder, capsys):
    found = commands("costs.md")
    assert len(found) >= 12
    for line in found:
        arguments = shlex.split(line)[1:]
        if arguments[0] == "plot":  # which fits all that a report needs; its figures have tests of their own
            assert arguments[2] in (*KINDS, *ASKED), line
            continue
        if arguments[0] in ("compress", "run") or arguments[1] in ("small", "runs/association"):
            continue  # they need trained parameters: tests/sweeps/test_compress.py, tests/analysis/bias
        if arguments[0] == "allocate":
            arguments += ["--bootstrap", "0", "--law", "chinchilla"]
        assert main([*arguments, "--json"]) == 0, line
        assert json.loads(capsys.readouterr().out), line
