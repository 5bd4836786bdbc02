"""The commands of docs/tables.md run, on files made here, in the order of the page."""

import json
import shlex

import numpy as np
import pytest

from lab.__main__ import VERBS
from tests.pages import commands
from tests.sweeps.foreign import MODDED, chart, event, harness, write


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with every file that the page names."""
    monkeypatch.chdir(tmp_path)
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 1e11, 4)))
    loss = 1.7 + 400 / n**0.34 + 410 / d**0.28
    rows = [f"| {a:.0f} | {b:.0f} | **{c:.4f}** |" for a, b, c in zip(n, d, loss, strict=True)]
    write(tmp_path / "runs.md", "\n".join(["| N | D | Val loss |", "|---|---|---|", *rows]))
    rows = [f"4,{np.sqrt(a / 48)},{b / 2**20},1024,1024,{c}" for a, b, c in zip(n, d, loss, strict=True)]
    write(tmp_path / "runs.csv", "\n".join(["layers,width,batch,steps,context,val/loss", *rows]))
    write(tmp_path / "curves.csv", chart([(f"gpt-{s}m - val/loss", {9: (s, s, s)}) for s in (70, 160)]))
    lines = [f"N={a:.3e} D={b:.3e} - val/loss" for a, b in zip(n, d, strict=True)]
    points = [{1: (9.0, 9.0, 9.0), 9: (c, c, c)} for c in loss]
    write(tmp_path / "chart.csv", chart(list(zip(lines, points, strict=True))))
    for name in ("gpt-70m", "gpt-160m"):
        write(tmp_path / f"{name}.json", {"config": {"lr": 1e-3}, "losses": [[1, 4.0], [2, 3.5], [3, 3.2]]})
    (tmp_path / "events" / "gpt-70m").mkdir(parents=True)
    (tmp_path / "events" / "gpt-70m" / "events.out.tfevents.1").write_bytes(event(9, val_loss=3.0))
    write(tmp_path / "main.log", MODDED)
    for size, score in (("70m", 0.26), ("160m", 0.3), ("410m", 0.4), ("1.4b", 0.5)):
        scores = {"arc_easy": (score, 0.01)}
        write(tmp_path / "results" / size / "results_1.json", harness(f"p/gpt-{size}", scores=scores))
    write(tmp_path / "a.json", harness("org/a"))
    write(tmp_path / "b.json", harness("org/b"))
    write(tmp_path / "wide.csv", "model,params,arc_easy,piqa\na,7e7,26,50\nb,1.6e8,29,55\nc,4e8,38,60\n")
    return tmp_path


def test_the_commands_of_the_page_run(folder, capsys):
    from importlib import import_module

    verbs = {name: entry[0] for group in VERBS.values() for name, entry in group.items()}
    found = commands("tables.md")
    assert len(found) >= 8
    for line in found:
        verb, *arguments = shlex.split(line)[1:]
        module, function = verbs[verb].split(":")
        if verb == "fit":
            arguments += ["--bootstrap", "0", "--law", "chinchilla"]
        assert not getattr(import_module(module), function)([*arguments, "--json"]), line
        told = json.loads(capsys.readouterr().out)
        assert told, line
        if "chart-runs.csv" in line and verb == "fit":
            assert told["params"]["alpha"] == pytest.approx(0.34, abs=0.02), "from a chart to the law planted"
        if "figures" in line:
            assert {one["task"] for one in told["series"]} == {"arc_easy"}
            assert [file for file in told["files"] if file.endswith(".svg")], "from results to a figure"
